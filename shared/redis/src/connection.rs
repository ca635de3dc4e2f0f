//! How to reach a server, and as whom.

use std::{fmt, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

use crate::Address;

/// How to reach a server, and as whom.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where it listens.
    pub address: Address,
    /// The ACL user; `None`: `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// For addresses with TLS.
    pub tls: Tls,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl Connection {
    /// Without a user, a password, or anything special.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            username: None,
            password: None,
            tls: Tls::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// Whom the server knows us as.
    pub(crate) fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("default")
    }
}

/// A password; wiped when dropped, never shown.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes it over.
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Files and names for TLS.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Whom to trust (PEM); `None`: what the host trusts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate; `None`: the address's host.
    pub server_name: Option<String>,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a command.
    pub answer: Duration,
    /// For the next sign of life during a transfer. A primary sends one every
    /// `repl-ping-replica-period` (10 s) while it prepares.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_mins(1),
            silence: Duration::from_mins(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let mut connection = Connection::new("redis://h".parse().unwrap());
        connection.password = Some(Password::new("hunter2"));
        assert!(!format!("{connection:?}").contains("hunter2"));
        assert_eq!(connection.password.unwrap().bytes(), b"hunter2");
    }
}
