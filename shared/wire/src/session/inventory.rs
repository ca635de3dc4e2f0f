//! What an agent finds at the connections of its `agent.toml`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_proto::v1;

use crate::{
    InvalidMessage,
    field::{Reader, into_all},
};

/// How many connections a host may have.
pub const MAX_CONNECTIONS: usize = 256;
/// How many databases of a server are named.
const MAX_DATABASES: usize = 10_000;

/// A connection of `agent.toml` and what answers there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `postgres` or `redis`.
    pub kind: String,
    /// Its name in `agent.toml`.
    pub name: String,
    /// Whether restores into it are allowed.
    pub restore: bool,
    /// When the agent looked.
    pub checked_at: Timestamp,
    /// What answers, or why it cannot be used.
    pub state: Result<Server, String>,
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Server {
    /// `PostgreSQL`, `Redis`, `Valkey`.
    pub product: String,
    /// As it calls itself.
    pub version: String,
    /// `primary`, `standby` or `replica`.
    pub role: String,
    /// What it holds.
    pub databases: Vec<Database>,
    /// What else operators want to know, in the order to be shown.
    pub facts: Vec<Fact>,
}

/// A database of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Of a Redis server its number.
    pub name: String,
    /// Its size; 0: not known.
    pub bytes: u64,
    /// Keys of a Redis database; else 0.
    pub keys: u64,
    /// Of PostgreSQL: it allows no connections, so that nothing can read it.
    #[serde(default)]
    pub closed: bool,
}

/// Something worth knowing about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Like `wal_level`.
    pub name: String,
    /// Like `replica`.
    pub value: String,
}

impl TryFrom<v1::Connection> for Connection {
    type Error = InvalidMessage;

    fn try_from(value: v1::Connection) -> Result<Self, InvalidMessage> {
        let read = Reader("Connection");
        let state = match read.required("state", value.state)? {
            v1::connection::State::Server(server) => Ok(server.try_into()?),
            v1::connection::State::Problem(problem) => Err(problem),
        };
        let checked_at = value.checked_at.parse().map_err(|_| {
            let problem = format!("{:?} is not an RFC 3339 time", value.checked_at);
            read.invalid("checked_at", problem)
        })?;
        Ok(Self {
            kind: read.text("kind", value.kind)?,
            name: read.text("name", value.name)?,
            restore: value.restore,
            checked_at,
            state,
        })
    }
}

impl From<Connection> for v1::Connection {
    fn from(value: Connection) -> Self {
        Self {
            kind: value.kind,
            name: value.name,
            restore: value.restore,
            checked_at: value.checked_at.to_string(),
            state: Some(match value.state {
                Ok(server) => v1::connection::State::Server(server.into()),
                Err(problem) => v1::connection::State::Problem(problem),
            }),
        }
    }
}

impl TryFrom<v1::Server> for Server {
    type Error = InvalidMessage;

    fn try_from(value: v1::Server) -> Result<Self, InvalidMessage> {
        Reader("Server").at_most("databases", MAX_DATABASES, &value.databases)?;
        Ok(Self {
            product: value.product,
            version: value.version,
            role: value.role,
            databases: into_all(value.databases),
            facts: into_all(value.facts),
        })
    }
}

impl From<Server> for v1::Server {
    fn from(mut value: Server) -> Self {
        value.databases.truncate(MAX_DATABASES);
        Self {
            product: value.product,
            version: value.version,
            role: value.role,
            databases: into_all(value.databases),
            facts: into_all(value.facts),
        }
    }
}

impl From<v1::Database> for Database {
    fn from(value: v1::Database) -> Self {
        Self {
            name: value.name,
            bytes: value.bytes,
            keys: value.keys,
            closed: value.closed,
        }
    }
}

impl From<Database> for v1::Database {
    fn from(value: Database) -> Self {
        Self {
            name: value.name,
            bytes: value.bytes,
            keys: value.keys,
            closed: value.closed,
        }
    }
}

impl From<v1::Fact> for Fact {
    fn from(value: v1::Fact) -> Self {
        Self {
            name: value.name,
            value: value.value,
        }
    }
}

impl From<Fact> for v1::Fact {
    fn from(value: Fact) -> Self {
        Self {
            name: value.name,
            value: value.value,
        }
    }
}
