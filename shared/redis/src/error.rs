//! What can go wrong with a server, and what to do about it.

use std::{io, time::Duration};

use crate::{ParseAddressError, rdb::RdbError};

/// Something went wrong with a server. Says which, at what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Not the URL of a server.
    #[error(transparent)]
    Address(#[from] ParseAddressError),
    /// Nobody answers.
    #[error(
        "cannot connect to {address}: {source}; is the server up, and does it listen there \
         (`bind`, `port`, `unixsocket`)?"
    )]
    Connect {
        /// The server.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("{address}: {problem}")]
    Tls {
        /// The server.
        address: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Silence.
    #[error("{address} did not answer {doing} within {} s", after.as_secs())]
    Timeout {
        /// The server.
        address: String,
        /// A command's name, or what was awaited.
        doing: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to {address} broke during {doing}: {source}")]
    Lost {
        /// The server.
        address: String,
        /// A command's name, or what was at work.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended the transfer.
    #[error(
        "{address} closed the connection after {bytes} bytes of its data: it ended, its RDB could \
         not be written (no memory for a child, a key that it cannot store in one), or it dropped \
         us as a replica; its log says which. If that is `client-output-buffer-limit`, raise the \
         limit of class replica; if it is a timeout, raise `repl-timeout`: the backup was slower \
         than the server would wait for"
    )]
    Cut {
        /// The server.
        address: String,
        /// What had come.
        bytes: u64,
    },
    /// The server did not take what it was sent.
    #[error(
        "{address} closed the connection after {sent} of {length} bytes of its new data were \
         sent: it could not take or load them; its log says why (no room in its `dir`, \
         `repl-timeout`, a format that it does not know)"
    )]
    NotTaken {
        /// The server.
        address: String,
        /// What had been sent, in bytes.
        sent: u64,
        /// Of how much.
        length: u64,
    },
    /// An answer that makes no sense.
    #[error("{address} does not speak as a Redis server does: {problem}")]
    Protocol {
        /// The server.
        address: String,
        /// What it said.
        problem: String,
    },
    /// The server said no.
    #[error("{address} refuses {command}: {message}{}", remedy(*reason, command, user))]
    Refused {
        /// The server.
        address: String,
        /// The command's name, in capitals.
        command: String,
        /// Whom we came as.
        user: String,
        /// What kind of no.
        reason: Refusal,
        /// The server's words.
        message: String,
    },
    /// The user may not do what is needed; found before anything was changed.
    #[error(
        "{address}: user {user} may not run {}; on the server, allow it: {grant}",
        missing.join(", ")
    )]
    Rights {
        /// The server.
        address: String,
        /// Whom we came as.
        user: String,
        /// Commands, in capitals.
        missing: Vec<String>,
        /// `ACL SETUSER …`, for all of them.
        grant: String,
    },
    /// Somebody made the server follow another than us.
    #[error(
        "{address} was told to follow {by} while it was restored into: a Sentinel, or somebody, \
         took it for lost. It was left so: what was restored into it is gone, or going. Stop the \
         Sentinels' watch (SENTINEL REMOVE, later MONITOR), make it a primary (REPLICAOF NO ONE), \
         and restore again"
    )]
    TakenOver {
        /// The server.
        address: String,
        /// Whom it follows now.
        by: String,
    },
    /// The server holds everything, in memory only.
    #[error(
        "{address} holds all of the snapshot, but a crash would lose it: {problem}. Its log says \
         why; is the disk of its `dir` full? When that is mended, run {command} there and look \
         whether it ends well, or restore again"
    )]
    NotKept {
        /// The server.
        address: String,
        /// What did not end well.
        problem: String,
        /// What tries it again.
        command: String,
    },
    /// The server holds everything, and cannot be asked whether it stays.
    #[error(
        "{address} took all of the snapshot, and then could not be asked whether it is on its \
         disk ({source}): look there whether it is a primary (INFO replication), run BGSAVE or \
         BGREWRITEAOF, or restore again"
    )]
    Unproven {
        /// The server.
        address: String,
        /// Why not.
        #[source]
        source: Box<RedisError>,
    },
    /// The data is not what it should be.
    #[error("{address}: {source}")]
    Rdb {
        /// The server, or what else it came from.
        address: String,
        /// What is wrong.
        #[source]
        source: RdbError,
    },
    /// The server is not one that this can be done with.
    #[error("{address} {problem}")]
    Unfit {
        /// The server.
        address: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The data to be restored could not be read.
    #[error("cannot read what is to be restored: {0}")]
    Source(#[source] io::Error),
    /// Cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A server may have been left as a replica of the agent.
    #[error(
        "{address} could not be told to be a primary again ({source}){}; run there: \
         REPLICAOF NO ONE",
        because(cause.as_deref())
    )]
    NotDetached {
        /// The server.
        address: String,
        /// Why not.
        #[source]
        source: Box<RedisError>,
        /// What had gone wrong before.
        cause: Option<Box<RedisError>>,
    },
}

fn because(cause: Option<&RedisError>) -> String {
    cause
        .map(|cause| format!(" after the restore had failed: {cause}"))
        .unwrap_or_default()
}

/// Kinds of refusals, by the first word of the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `NOAUTH`: no password was given.
    NoPassword,
    /// `WRONGPASS`: user or password are wrong.
    WrongPassword,
    /// `NOPERM`: the ACL does not allow it.
    NoPermission,
    /// `LOADING`: the server reads its own data.
    Loading,
    /// `MASTERDOWN`, `NOMASTERLINK`: a replica without its primary.
    NoPrimary,
    /// `READONLY`: a replica does not take writes.
    ReadOnly,
    /// `OOM`: above `maxmemory`.
    Memory,
    /// `BUSY`: a script runs.
    Busy,
    /// The server does not know the command.
    Unknown,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Of an answer without its `-`.
    pub(crate) fn of(message: &str) -> Self {
        let code = message.split(' ').next().unwrap_or_default();
        match code {
            "NOAUTH" => Self::NoPassword,
            "WRONGPASS" => Self::WrongPassword,
            "NOPERM" => Self::NoPermission,
            "LOADING" => Self::Loading,
            "MASTERDOWN" | "NOMASTERLINK" => Self::NoPrimary,
            "READONLY" => Self::ReadOnly,
            "OOM" => Self::Memory,
            "BUSY" => Self::Busy,
            // Redis 5 has no code for these.
            "ERR" if message.contains("invalid password") => Self::WrongPassword,
            "ERR" if message.contains("without any password") => Self::WrongPassword,
            "ERR" if message.contains("unknown command") => Self::Unknown,
            _ => Self::Other,
        }
    }
}

fn remedy(reason: Refusal, command: &str, user: &str) -> String {
    match reason {
        Refusal::NoPassword => {
            "; name the file with the password in `password_file`, and the ACL user in \
             `username`, of this connection in agent.toml"
                .into()
        }
        Refusal::WrongPassword => {
            "; check `username` and the contents of `password_file` (or `password_env`) of this \
             connection in agent.toml"
                .into()
        }
        Refusal::NoPermission => format!(
            "; on the server, allow it: ACL SETUSER {user} +{}",
            command.to_lowercase()
        ),
        Refusal::Loading => "; it is reading its own data: try again when it is done".into(),
        Refusal::NoPrimary => {
            "; it is a replica that has lost its primary: back up the primary, or wait until \
             master_link_status is up"
                .into()
        }
        Refusal::ReadOnly => "; it is a replica: restore into its primary".into(),
        Refusal::Memory => "; raise `maxmemory` on the server, or make room".into(),
        Refusal::Busy => "; a script is running there: wait, or SCRIPT KILL".into(),
        Refusal::Unknown => {
            "; it may be renamed or disabled there, as managed services do: without it this \
             cannot be done"
                .into()
        }
        Refusal::Other => String::new(),
    }
}

impl RedisError {
    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Cut { .. }
            | Self::Rdb { .. } => true,
            Self::Unproven { source, .. } => source.is_retryable(),
            Self::Refused { reason, .. } => matches!(
                reason,
                Refusal::Loading | Refusal::NoPrimary | Refusal::Busy | Refusal::Memory
            ),
            _ => false,
        }
    }

    /// Whether the server refused with words that contain these.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains(words))
    }

    /// Whether the server refused for this reason.
    pub fn is_refusal(&self, wanted: Refusal) -> bool {
        matches!(self, Self::Refused { reason, .. } if *reason == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        for (message, wanted) in [
            ("NOAUTH Authentication required.", "password_file"),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "username",
            ),
            ("ERR invalid password", "password_file"),
            (
                "NOPERM User x has no permissions to run the 'psync' command",
                "ACL SETUSER x +psync",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                "when it is done",
            ),
            (
                "NOMASTERLINK Can't SYNC while not connected with my master",
                "lost its primary",
            ),
            ("MASTERDOWN Link with MASTER is down", "lost its primary"),
            (
                "ERR unknown command `PSYNC`, with args beginning with: ",
                "managed services",
            ),
        ] {
            let error = RedisError::Refused {
                address: "redis://h:1".into(),
                command: "PSYNC".into(),
                user: "x".into(),
                reason: Refusal::of(message),
                message: message.into(),
            };
            let shown = error.to_string();
            assert!(shown.contains(wanted), "{shown}");
            assert!(shown.starts_with("redis://h:1 refuses PSYNC: "), "{shown}");
        }
    }
}
