//! From what `agent.toml` says to a session, or to the environment of the
//! programs that come with PostgreSQL.

pub mod address;
mod environment;
mod error;
mod names;
mod rows;
mod service;
mod session;
mod startup;
mod tls;

use std::fmt;

use zeroize::Zeroizing;

pub use address::{Address, AddressError, Host};
pub use environment::Environment;
pub use error::ServerError;
pub(crate) use error::words;
pub use rows::RowsIn;
pub use service::{Service, ServiceError};
pub(crate) use session::CONNECT_TIMEOUT;
pub use session::{APPLICATION_NAME, Session, default_search_path};
pub(crate) use startup::with_path;
pub use startup::{SEARCH_PATH, TEXTS};
pub use tls::{ParseSslModeError, SslMode, Tls, TlsError};

/// A server and how to be let in. Never prints its password.
#[derive(Clone)]
pub struct Connection {
    /// Where, and as whom.
    pub address: Address,
    /// Absent: the server asks for none (peer, trust, certificates).
    pub password: Option<Zeroizing<String>>,
    /// Encryption.
    pub tls: Tls,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
