//! Why a server cannot be asked, in words that say what to do next.

use std::error::Error as _;

use tokio_postgres::error::{Error as Driver, SqlState};

use super::tls::TlsError;
use crate::server_words;

/// A failed connection or query. Every variant names the connection or the
/// place. Of a server's words only what holds no values: see [`crate::said`].
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nobody answers.
    #[error(
        "cannot reach PostgreSQL at {place}: {cause}; is the server running there, and does a \
         firewall let this host in?"
    )]
    Unreachable {
        /// Host, port and user.
        place: String,
        /// Why.
        cause: String,
    },
    /// It starts, stops or recovers.
    #[error("PostgreSQL at {place} takes no connections now: {cause}")]
    NotReady {
        /// Host, port and user.
        place: String,
        /// In its words.
        cause: String,
    },
    /// No slot is free.
    #[error(
        "PostgreSQL at {place} has no connection left: {cause}; raise {}, or close others",
        limit(cause)
    )]
    TooMany {
        /// Host, port and user.
        place: String,
        /// In its words.
        cause: String,
    },
    /// The password is not accepted.
    #[error(
        "PostgreSQL at {place} refuses the password: {cause}; look at password_file or \
         password_env of the connection in agent.toml"
    )]
    Password {
        /// Host, port and user.
        place: String,
        /// In its words.
        cause: String,
    },
    /// The server wants a password and there is none.
    #[error(
        "PostgreSQL at {place} asks for a password and the connection has none: set password_file \
         or password_env in agent.toml"
    )]
    NoPassword {
        /// Host, port and user.
        place: String,
    },
    /// pg_hba.conf or the role says no.
    #[error(
        "PostgreSQL at {place} does not let this connection in: {cause}; look at pg_hba.conf on \
         the server, and whether the role exists and may log in"
    )]
    Refused {
        /// Host, port and user.
        place: String,
        /// In its words.
        cause: String,
    },
    /// No such database.
    #[error("there is no database {database:?} on PostgreSQL at {place}")]
    NoDatabase {
        /// Host, port and user.
        place: String,
        /// Its name.
        database: String,
    },
    /// TLS does not come about.
    #[error(
        "no TLS with PostgreSQL at {place}: {cause}; look at sslmode and ca_file of the connection \
         in agent.toml, and at ssl on the server"
    )]
    Handshake {
        /// Host, port and user.
        place: String,
        /// Why.
        cause: String,
    },
    /// TLS cannot be set up on this side.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The role lacks a right.
    #[error("PostgreSQL refuses to {what}: {cause}; grant the connection's role the right")]
    Privilege {
        /// What was tried.
        what: String,
        /// In the server's words.
        cause: String,
    },
    /// The connection broke.
    #[error("the connection to PostgreSQL broke while trying to {what}: {cause}")]
    Broken {
        /// What was tried.
        what: String,
        /// Why.
        cause: String,
    },
    /// A statement failed.
    #[error("PostgreSQL cannot {what}: {cause}")]
    Query {
        /// What was tried.
        what: String,
        /// In the server's words.
        cause: String,
        /// The SQLSTATE, when the server gave one.
        state: Option<String>,
    },
    /// Something in between that shares sessions among its clients.
    #[error(
        "a connection pooler (such as PgBouncer) answers at {place}, and not PostgreSQL itself: it \
         withholds what a session is told at its start, and lends the same session to others; give \
         the connection in agent.toml the address of the server itself (often port 5432 of its \
         host)"
    )]
    Pooler {
        /// Host, port and user.
        place: String,
    },
    /// The server is older than what is supported.
    #[error("PostgreSQL at {place} is version {found}: 13 is the oldest that is supported")]
    TooOld {
        /// Host, port and user.
        place: String,
        /// Its version.
        found: String,
    },
}

/// What limits connections, by the server's words.
fn limit(cause: &str) -> &'static str {
    if cause.contains("for role") {
        "the role's limit (ALTER ROLE … CONNECTION LIMIT)"
    } else if cause.contains("for database") {
        "the database's limit (ALTER DATABASE … CONNECTION LIMIT)"
    } else {
        "max_connections (max_wal_senders for replication)"
    }
}

impl ServerError {
    /// Of making a connection.
    pub(super) fn connecting(place: &str, database: &str, error: &Driver) -> Self {
        let (place, cause) = (place.to_owned(), words(error));
        let Some(state) = error.code() else {
            return match error.to_string() {
                _ if cause.contains("password missing") => Self::NoPassword { place },
                text if text.contains("TLS") => Self::Handshake { place, cause },
                _ => Self::Unreachable { place, cause },
            };
        };
        Self::refused(&place, database, state, cause)
    }

    /// Of a server that answers, and does not let the connection in.
    pub(crate) fn refused(place: &str, database: &str, state: &SqlState, cause: String) -> Self {
        let place = place.to_owned();
        match *state {
            SqlState::INVALID_PASSWORD => Self::Password { place, cause },
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION | SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::Refused { place, cause }
            }
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase {
                place,
                database: database.to_owned(),
            },
            SqlState::TOO_MANY_CONNECTIONS => Self::TooMany { place, cause },
            // As PgBouncer refuses the startup parameter `options`.
            SqlState::PROTOCOL_VIOLATION => Self::Pooler { place },
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                Self::NotReady { place, cause }
            }
            _ => Self::Query {
                what: format!("be connected to at {place}"),
                cause,
                state: Some(state.code().to_owned()),
            },
        }
    }

    /// Of a query; `what` completes "cannot …".
    pub fn query(what: impl Into<String>, error: &Driver) -> Self {
        let (what, cause) = (what.into(), words(error));
        let state = error.code();
        if error.is_closed() || state.is_none() && error.to_string().contains("communicating") {
            return Self::Broken { what, cause };
        }
        match state {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::Privilege { what, cause },
            Some(
                &(SqlState::ADMIN_SHUTDOWN
                | SqlState::CRASH_SHUTDOWN
                | SqlState::CANNOT_CONNECT_NOW),
            ) => Self::Broken { what, cause },
            state => Self::Query {
                what,
                cause,
                state: state.map(|state| state.code().to_owned()),
            },
        }
    }

    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NotReady { .. }
                | Self::TooMany { .. }
                | Self::Broken { .. }
        )
    }

    /// The SQLSTATE of a failed statement.
    pub fn state(&self) -> Option<&str> {
        match self {
            Self::Query { state, .. } => state.as_deref(),
            _ => None,
        }
    }
}

/// What may be shown of the server's words, or the whole chain of causes.
pub(crate) fn words(error: &Driver) -> String {
    if let Some(said) = error.as_db_error() {
        return server_words::error(said);
    }
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let shown = cause.to_string();
        if !text.contains(&shown) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&shown);
        }
        source = cause.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    text
}
