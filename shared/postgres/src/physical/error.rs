//! Why the backup API could not be used.

use tokio_postgres::error::{DbError, SqlState};

use super::{NEWEST_MAJOR, OLDEST_MAJOR, label::InvalidLabel, position::InvalidPosition};
use crate::{
    connection::{ServerError, words},
    rights::MissingRights,
    server_words,
};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum PhysicalError {
    /// A version whose files we do not know.
    #[error(
        "the server is PostgreSQL {0}; physical backups are made of versions {OLDEST_MAJOR} to {NEWEST_MAJOR}"
    )]
    Version(u32),
    /// `wal_level` is `minimal`.
    #[error(
        "the server's wal_level is {0:?}, which does not log enough for a physical backup: \
         set wal_level = replica in postgresql.conf and restart the server"
    )]
    WalLevel(String),
    /// Not allowed, and all that it would take.
    #[error(transparent)]
    Rights(#[from] MissingRights),
    /// The server cannot be asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Not allowed, although nothing was missing before.
    #[error("the connection's role may not {doing}: {message}; run as a superuser: {remedy}")]
    Privilege {
        /// What was tried.
        doing: &'static str,
        /// What the server said.
        message: String,
        /// SQL.
        remedy: String,
    },
    /// Something that only superusers and members of a role see is not shown.
    #[error(
        "the server does not tell the connection's role its {0}; run as a superuser: \
         GRANT pg_read_all_settings TO that role"
    )]
    Hidden(&'static str),
    /// The server refused, or the connection broke.
    #[error("cannot {doing}: {cause}")]
    Sql {
        /// What was tried.
        doing: &'static str,
        /// Why not. The driver's error is not kept: it has the server's words
        /// in full.
        cause: String,
    },
    /// The server's answer is not understood.
    #[error("the server's answer is not understood: {0}")]
    Position(#[from] InvalidPosition),
    /// The server's label is not understood.
    #[error("the server's answer is not understood: {0}")]
    Label(#[from] InvalidLabel),
}

impl PhysicalError {
    pub(super) fn sql(
        doing: &'static str,
        remedy: impl FnOnce() -> String,
    ) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| match source.as_db_error() {
            Some(error) if lacks_privilege(error) => Self::Privilege {
                doing,
                message: server_words::error(error),
                remedy: remedy(),
            },
            _ => Self::Sql {
                doing,
                cause: explain(&source),
            },
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Sql { .. } => true,
            Self::Server(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// Whether it is the role that may not; the server has the same code for files
/// that it may not open itself.
fn lacks_privilege(error: &DbError) -> bool {
    *error.code() == SqlState::INSUFFICIENT_PRIVILEGE && !error.message().starts_with("could not ")
}

/// What may be shown of the server's words, which the error's own text leaves
/// out.
fn explain(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        return if error.is_closed() {
            "the connection to the server was lost".into()
        } else {
            words(error)
        };
    };
    format!(
        "{} (SQLSTATE {})",
        server_words::error(said),
        said.code().code()
    )
}
