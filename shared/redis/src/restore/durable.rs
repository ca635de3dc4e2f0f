//! Whether a restored server would hold its data after a crash.
//!
//! A server that has loaded an RDB from its primary has it in memory. What it
//! finds when it starts again is its append-only file, which it writes anew
//! behind such a load, or its last RDB, which it saves when it is told to
//! (`restartAOFAfterSYNC` and `readSyncBulkPayload` in `replication.c`: only a
//! server that loads from its disk has the file there already).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::behind::Restored;
use crate::{
    Client, Info, Persistence, RedisError, Refusal, Reply,
    rights::{self, Try},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a rewrite that had failed before the restore may take to begin.
const STALE: Duration = Duration::from_secs(15);
/// Saves that are begun before it is given up.
const SAVES: u32 = 5;
/// A little more, so that the next save ends in another one.
const SECOND: Duration = Duration::from_millis(1100);

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
pub(super) async fn settle(server: &mut Restored<'_>, keeps: &Keeps) -> Result<(), RedisError> {
    match keeps {
        Keeps::AppendOnly => rewritten(server).await,
        Keeps::Snapshots => saved(server).await,
        Keeps::Nothing | Keeps::Unknown { .. } => Ok(()),
    }
}

async fn rewritten(server: &mut Restored<'_>) -> Result<(), RedisError> {
    let begun = Instant::now();
    let mut ran = false;
    loop {
        let now = server.ask().await?.persistence;
        if !now.append_only {
            return Err(not_kept(
                server,
                "its append-only file was switched off meanwhile",
                "CONFIG SET appendonly yes",
            ));
        }
        // A failure that was there before says nothing of this time, until a
        // rewrite was seen to run or should have been.
        let before = &server.before().persistence;
        let news = ran || before.rewrite_ok || begun.elapsed() > STALE;
        match (now.rewrite_ok, now.rewriting) {
            (true, false) => return Ok(()),
            (false, _) if news && !now.rewrite_runs => {
                return Err(not_kept(
                    server,
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

/// A save that somebody ends with SIGUSR1, as the server itself does at
/// `FLUSHALL`, leaves the status as it was: only the time of the last one that was
/// written says that it went well (`backgroundSaveDoneHandlerDisk` in `rdb.c`;
/// `rdb_saves` counts those that begin).
async fn saved(server: &mut Restored<'_>) -> Result<(), RedisError> {
    for _ in 0..SAVES {
        // One that is under way may have begun before the load.
        let before = until_saved(server).await?;
        begin_save(server).await?;
        let now = until_saved(server).await?;
        if !now.save_ok {
            return Err(not_kept(
                server,
                "its RDB could not be saved (rdb_last_bgsave_status is err)",
                "BGSAVE",
            ));
        }
        if now.saved_at != before.saved_at {
            return Ok(());
        }
        // The one before may have been of the same second.
        sleep(SECOND).await;
    }
    Err(not_kept(
        server,
        "each BGSAVE was ended by somebody before it was done (a signal, FLUSHALL, …)",
        "BGSAVE",
    ))
}

async fn until_saved(server: &mut Restored<'_>) -> Result<Persistence, RedisError> {
    loop {
        let now = server.ask().await?.persistence;
        if !now.saving {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}

async fn begin_save(server: &mut Restored<'_>) -> Result<(), RedisError> {
    loop {
        let begun = server.client().command(&[b"BGSAVE"]).await;
        match server.unless_broken(begun) {
            // Where the connection broke, the next look says whether it runs.
            Ok(_) => return Ok(()),
            // Another one, of an RDB, of its append-only file or a module's,
            // was faster.
            Err(error) if is_busy(&error) => {
                server.ask().await?;
                sleep(PAUSE).await;
            }
            Err(error) => {
                // Whoever made it follow another, or started it again, is to
                // blame before its disk is.
                server.ask().await?;
                let problem = format!("its RDB could not be saved ({error})");
                return Err(not_kept(server, &problem, "BGSAVE"));
            }
        }
    }
}

fn is_busy(error: &RedisError) -> bool {
    error.is_refusal(Refusal::Other)
        && (error.says("in progress") || error.says("child process is active"))
}

fn not_kept(server: &mut Restored<'_>, problem: &str, command: &str) -> RedisError {
    RedisError::NotKept {
        address: server.client().address().to_owned(),
        problem: problem.into(),
        command: command.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_work_already_is_waited_for() {
        for (said, busy) in [
            ("ERR Background save already in progress", true),
            (
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
              SCHEDULE in order to schedule a BGSAVE whenever possible.",
                true,
            ),
            (
                "ERR An AOF log rewriting in progress: can't BGSAVE right now.",
                true,
            ),
            (
                "NOPERM User x has no permissions to run the 'bgsave' command",
                false,
            ),
            ("ERR", false),
        ] {
            let error = RedisError::Refused {
                address: "redis://h:1".into(),
                command: "BGSAVE".into(),
                user: "x".into(),
                reason: Refusal::of(said),
                message: said.into(),
            };
            assert_eq!(is_busy(&error), busy, "{said}");
        }
    }
}
