//! Whether a restored server would hold its data after a crash.
//!
//! A server that has loaded an RDB from its primary has it in memory. What it
//! finds when it starts again is its append-only file, which it writes anew
//! behind such a load, or its last RDB, which it saves when it is told to
//! (`restartAOFAfterSYNC` and `readSyncBulkPayload` in `replication.c`: only a
//! server that loads from its disk has the file there already).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Client, Info, Persistence, RedisError, Refusal, Reply,
    rights::{self, Try},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a rewrite that had failed before the restore may take to begin.
const STALE: Duration = Duration::from_secs(15);

/// How a server keeps what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeps {
    /// In an append-only file.
    AppendOnly,
    /// In an RDB that it saves.
    Snapshots,
    /// Nowhere: neither `appendonly` nor `save` is set.
    Nothing,
    /// Nobody may know, or have it saved: the statement that would allow it.
    Unknown {
        /// `ACL SETUSER …`; none where the server has no such command.
        grant: Option<String>,
    },
}

impl Keeps {
    /// What does not survive a crash of the server, and what to do; `None`: all
    /// does, once [`settle`] has said so.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::AppendOnly | Self::Snapshots => None,
            Self::Nothing => Some(
                "the server keeps nothing on disk (neither appendonly nor save is set): what was \
                 restored is gone when it restarts"
                    .into(),
            ),
            Self::Unknown { grant } => {
                let remedy = match grant {
                    Some(grant) => format!("allow the agent to see to it: {grant}"),
                    None => "see to it with BGSAVE there".to_owned(),
                };
                Some(format!(
                    "whether the server keeps on disk what was restored is not known, and it may \
                     be gone when it restarts; {remedy}"
                ))
            }
        }
    }
}

/// What it takes to know how a server without an append-only file keeps what
/// it holds, and to have it saved.
pub(super) const RIGHTS: [Try<'static>; 2] = [
    Try::new(&[b"CONFIG", b"GET", b"save"], "config|get"),
    // No such argument: it says so, and saves nothing.
    Try::new(&[b"BGSAVE", b"strongroom"], "bgsave"),
];

/// How a server that says `info` keeps what it holds. Changes nothing.
pub(super) async fn look(client: &mut Client, info: &Info) -> Result<Keeps, RedisError> {
    if info.persistence.append_only {
        return Ok(Keeps::AppendOnly);
    }
    match rights::missing(client, &RIGHTS).await {
        Ok(rules) if rules.is_empty() => {}
        Ok(rules) => {
            let grant = Some(rights::statement(client.user(), &rules));
            return Ok(Keeps::Unknown { grant });
        }
        Err(error) if error.is_refusal(Refusal::Unknown) => {
            return Ok(Keeps::Unknown { grant: None });
        }
        Err(error) => return Err(error),
    }
    let Some(Reply::Array(Some(answer))) =
        client.try_command(&[b"CONFIG", b"GET", b"save"]).await?
    else {
        return Ok(Keeps::Unknown { grant: None });
    };
    Ok(match answer.get(1) {
        Some(Reply::Bulk(Some(points))) if points.is_empty() => Keeps::Nothing,
        Some(Reply::Bulk(Some(_))) => Keeps::Snapshots,
        _ => Keeps::Unknown { grant: None },
    })
}

/// Waits until a server has written what it holds; an error when it could not.
/// `before` is what it said before anything was restored.
pub(super) async fn settle(
    client: &mut Client,
    keeps: &Keeps,
    before: &Info,
) -> Result<(), RedisError> {
    match keeps {
        Keeps::AppendOnly => rewritten(client, before).await,
        Keeps::Snapshots => saved(client, before).await,
        Keeps::Nothing | Keeps::Unknown { .. } => Ok(()),
    }
}

/// Asks the same run of a server: one that has started again holds what its
/// disk held.
async fn ask(client: &mut Client, before: &Info) -> Result<Persistence, RedisError> {
    let info = Info::ask(client).await?;
    if info.run_id != before.run_id {
        return Err(client.unfit(
            "was restarted before what was restored was on its disk: it may hold old data; \
             restore again",
        ));
    }
    Ok(info.persistence)
}

async fn rewritten(client: &mut Client, before: &Info) -> Result<(), RedisError> {
    let begun = Instant::now();
    let mut ran = false;
    loop {
        let now = ask(client, before).await?;
        if !now.append_only {
            return Err(not_kept(
                client,
                "its append-only file was switched off meanwhile",
                "CONFIG SET appendonly yes",
            ));
        }
        // A failure that was there before says nothing of this time, until a
        // rewrite was seen to run or should have been.
        let news = ran || before.persistence.rewrite_ok || begun.elapsed() > STALE;
        match (now.rewrite_ok, now.rewriting) {
            (true, false) => return Ok(()),
            (false, _) if news && !now.rewrite_runs => {
                return Err(not_kept(
                    client,
                    "its append-only file could not be written anew (aof_last_bgrewrite_status \
                     or aof_last_write_status is err)",
                    "BGREWRITEAOF",
                ));
            }
            _ => {}
        }
        ran |= now.rewrite_runs;
        sleep(PAUSE).await;
    }
}

async fn saved(client: &mut Client, before: &Info) -> Result<(), RedisError> {
    // One that is under way may have begun before the load.
    while ask(client, before).await?.saving {
        sleep(PAUSE).await;
    }
    loop {
        match client.command(&[b"BGSAVE"]).await {
            Ok(_) => break,
            // Another one, of an RDB or of its append-only file, was faster.
            Err(error) if error.is_refusal(Refusal::Other) && error.says("in progress") => {
                sleep(PAUSE).await;
            }
            Err(error) => {
                let problem = format!("its RDB could not be saved ({error})");
                return Err(not_kept(client, &problem, "BGSAVE"));
            }
        }
    }
    loop {
        let now = ask(client, before).await?;
        match (now.saving, now.save_ok) {
            (true, _) => sleep(PAUSE).await,
            (false, true) => return Ok(()),
            (false, false) => {
                return Err(not_kept(
                    client,
                    "its RDB could not be saved (rdb_last_bgsave_status is err)",
                    "BGSAVE",
                ));
            }
        }
    }
}

fn not_kept(client: &Client, problem: &str, command: &str) -> RedisError {
    RedisError::NotKept {
        address: client.address().to_owned(),
        problem: problem.into(),
        command: command.into(),
    }
}
