//! Who watches a server that is restored into: replicas, and Sentinels.
//!
//! While it is restored a server is a replica of ours. A Sentinel takes a
//! primary that says so for lost, after `down-after-milliseconds` and two
//! rounds of `INFO`, and promotes a replica of it, which holds the old data;
//! the restored server is then emptied to follow that one
//! (`sentinelCheckSubjectivelyDown` and `sentinelRefreshInstanceInfo` in
//! `sentinel.c`).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::behind::Restored;
use crate::{
    Client, Info, RedisError, Refusal, Reply, SocketName,
    rights::{self, Try},
};

/// Every Sentinel listens here on each server that it watches.
const HELLO: &[u8] = b"__sentinel__:hello";
/// A Sentinel that has promoted another asks the old primary within 10 s, and
/// tells it to follow within 10 s more.
const ROUNDS: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Who was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watchers {
    /// Replicas.
    pub replicas: Vec<SocketName>,
    /// How many Sentinels.
    pub sentinels: u64,
}

impl Watchers {
    /// Nobody.
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty() && self.sentinels == 0
    }

    /// Those that were not in `before`.
    fn new_since(&self, before: &Self) -> Self {
        let is_new = |replica: &&SocketName| !before.replicas.contains(replica);
        Self {
            replicas: self.replicas.iter().filter(is_new).cloned().collect(),
            sentinels: self.sentinels.saturating_sub(before.sentinels),
        }
    }

    /// `the replicas 10.0.0.7:6379, … and 3 Sentinels`
    fn show(&self) -> String {
        let replicas: Vec<String> = self
            .replicas
            .iter()
            .take(5)
            .map(ToString::to_string)
            .collect();
        let more = match self.replicas.len() {
            ..=5 => String::new(),
            all => format!(" and {} more", all - 5),
        };
        let replicas = match self.replicas.len() {
            0 => None,
            1 => Some(format!("the replica {}", replicas[0])),
            _ => Some(format!("the replicas {}{more}", replicas.join(", "))),
        };
        let sentinels = match self.sentinels {
            0 => None,
            1 => Some("a Sentinel".to_owned()),
            count => Some(format!("{count} Sentinels")),
        };
        let parts: Vec<String> = replicas.into_iter().chain(sentinels).collect();
        parts.join(" and ")
    }
}

/// What a failover would do.
const FAILOVER: &str = "while it loads, the server is a replica of the agent; whoever takes that \
                        for a failure promotes a replica, which holds the old data, and what was \
                        restored is wiped for it";

/// Looks; an error where Sentinels may be and the user may not see them.
pub(super) async fn look(client: &mut Client, info: &Info) -> Result<Watchers, RedisError> {
    let replicas = info.replicas.clone();
    let sentinels = sentinels(client, info).await?;
    Ok(Watchers {
        replicas,
        sentinels,
    })
}

async fn sentinels(client: &mut Client, info: &Info) -> Result<u64, RedisError> {
    // Where nobody listens to anything, no Sentinel does.
    if info.channels == 0 {
        return Ok(0);
    }
    let ask: &[&[u8]] = &[b"PUBSUB", b"NUMSUB", HELLO];
    let answer = match client.command(ask).await {
        Ok(answer) => answer,
        Err(error) if error.is_refusal(Refusal::NoPermission) => {
            return Err(rights::lacking(client, &[RULE], &[]));
        }
        Err(error) => return Err(error),
    };
    match answer {
        Reply::Array(Some(fields)) => match fields.get(1) {
            Some(Reply::Integer(count)) => Ok(u64::try_from(*count).unwrap_or(0)),
            _ => Err(client.protocol("PUBSUB NUMSUB gives no number")),
        },
        _ => Err(client.protocol("PUBSUB NUMSUB is no list")),
    }
}

const RULE: &str = "pubsub|numsub";

/// Whether the user may look for Sentinels.
pub(super) const RIGHT: Try<'static> = Try::new(&[b"PUBSUB", b"NUMSUB", HELLO], RULE);

/// Why a server is not restored into, unless it is asked for; to be read behind
/// its name.
pub(super) fn refusal(watchers: &Watchers) -> Option<String> {
    (!watchers.is_empty()).then(|| {
        format!(
            "is followed or watched by {}: {FAILOVER}. Stop the Sentinels' watch for the time of \
             the restore (SENTINEL REMOVE, then MONITOR), or detach the replicas; or restore all \
             the same (--allow-replicas, `allow_replicas`)",
            watchers.show()
        )
    })
}

/// What a restore that was asked for says of them.
pub fn note(watchers: &Watchers) -> Option<String> {
    (!watchers.is_empty()).then(|| {
        format!(
            "it is followed or watched by {}: {FAILOVER}; replicas fetch everything anew",
            watchers.show()
        )
    })
}

/// Looks again behind a restore, where Sentinels are for as long as they take
/// by themselves to act. An error: the server is not the primary any more that
/// it was made. Gives who was not there `before`.
pub(super) async fn look_again(
    server: &mut Restored<'_>,
    before: &Watchers,
) -> Result<Watchers, RedisError> {
    let begun = Instant::now();
    loop {
        let now = server.ask().await?;
        let looked = match look(server.client(), &now).await {
            // Nobody saw any before, and it was asked for.
            Err(RedisError::Rights { .. }) => Ok(Watchers {
                replicas: now.replicas.clone(),
                sentinels: before.sentinels,
            }),
            looked => looked,
        };
        if let Some(watchers) = server.unless_broken(looked)?
            && (watchers.sentinels == 0 || begun.elapsed() > ROUNDS)
        {
            return Ok(watchers.new_since(before));
        }
        sleep(PAUSE).await;
    }
}

/// What a restore says at its end where Sentinels watch: a failover goes on for
/// as long as they were told, and none of them tells the server before its end.
pub fn later(before: &Watchers, appeared: &Watchers) -> Option<String> {
    (before.sentinels + appeared.sentinels > 0).then(|| {
        "it was looked at for half a minute more. A failover that a Sentinel had begun before \
         that may still come, for as long as its failover-timeout (three minutes unless it is \
         configured): look then at whether it still is the primary (SENTINEL \
         GET-MASTER-ADDR-BY-NAME), and restore again if it is not"
            .to_owned()
    })
}

/// What a warning says of those that came meanwhile.
pub fn warning(appeared: &Watchers) -> Option<String> {
    (!appeared.is_empty()).then(|| {
        format!(
            "{} came while it was restored into: {FAILOVER}. Look at whether it still is the \
             primary that clients use",
            appeared.show()
        )
    })
}

pub(super) fn taken_over(client: &Client, host: &str, port: u16) -> RedisError {
    RedisError::TakenOver {
        address: client.address().to_owned(),
        by: format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(port: u16) -> SocketName {
        SocketName {
            host: "10.0.0.7".into(),
            port,
        }
    }

    #[test]
    fn who_watches_is_named() {
        assert_eq!(refusal(&Watchers::default()), None);
        for (replicas, sentinels, wanted) in [
            (1, 0, "watched by the replica 10.0.0.7:1: "),
            (0, 1, "watched by a Sentinel: "),
            (
                2,
                3,
                "the replicas 10.0.0.7:1, 10.0.0.7:2 and 3 Sentinels: ",
            ),
            (7, 0, "10.0.0.7:5 and 2 more: "),
        ] {
            let watchers = Watchers {
                replicas: (1..=replicas).map(replica).collect(),
                sentinels,
            };
            let said = refusal(&watchers).unwrap();
            assert!(said.contains(wanted), "{said}");
            assert!(said.contains("--allow-replicas") && said.contains("promotes a replica"));
        }
    }

    #[test]
    fn who_came_meanwhile_is_told_from_who_was_there() {
        let before = Watchers {
            replicas: vec![replica(1)],
            sentinels: 1,
        };
        assert!(before.new_since(&before).is_empty());
        let now = Watchers {
            replicas: vec![replica(2), replica(1)],
            sentinels: 3,
        };
        let appeared = now.new_since(&before);
        assert_eq!(appeared.replicas, [replica(2)]);
        assert_eq!(appeared.sentinels, 2);
        assert!(Watchers::default().new_since(&before).is_empty());
    }

    #[test]
    fn where_sentinels_watch_a_failover_may_come_later() {
        let watched = Watchers {
            replicas: Vec::new(),
            sentinels: 1,
        };
        let nobody = Watchers::default();
        assert_eq!(later(&nobody, &nobody), None);
        for (before, appeared) in [(&watched, &nobody), (&nobody, &watched)] {
            assert!(
                later(before, appeared)
                    .unwrap()
                    .contains("failover-timeout")
            );
        }
    }
}
