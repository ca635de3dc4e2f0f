//! Connection services: sections of a `pg_service.conf` (PostgreSQL manual,
//! 34.17). LDAP look-ups are not done.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{
    address::{Address, AddressError, Parts},
    tls::{ParseSslModeError, SslMode, Tls},
};

/// What a service says.
pub struct Service {
    /// Where the server is.
    pub address: Address,
    /// Of the file, which then had better be a secret.
    pub password: Option<Zeroizing<String>>,
    /// How it is encrypted.
    pub tls: Tls,
}

/// A service that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No section of that name.
    #[error("there is no [{0}] in it")]
    Missing(String),
    /// Not `key=value`.
    #[error("its line {0} is not KEY=VALUE")]
    Line(usize),
    /// A key that would change the connection, and that we cannot obey.
    #[error(
        "its line {line} has {key:?}, which is not understood: host, port, user, dbname, password, \
         sslmode, sslrootcert, sslcert and sslkey are"
    )]
    Key {
        /// Counts from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value that makes no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Not an sslmode.
    #[error(transparent)]
    SslMode(#[from] ParseSslModeError),
}

/// Harmless for what we do; libpq's business.
const IGNORED: [&str; 9] = [
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "client_encoding",
];

impl Service {
    /// Finds the service `name` in a file's text.
    pub fn find(text: &str, name: &str) -> Result<Self, ServiceError> {
        let mut found = false;
        let mut inside = false;
        let mut parts = Parts::default();
        let mut password = None;
        let mut tls = Tls::default();
        let (mut cert, mut key_file) = (None, None);
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(section) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                // The first of that name counts, as with libpq.
                inside = section == name && !found;
                found |= inside;
                continue;
            }
            if !inside {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(ServiceError::Line(number))?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "host" => parts.host = Some(value.to_owned()),
                "port" => parts.port = Some(value.to_owned()),
                "user" => parts.user = Some(value.to_owned()),
                "dbname" => parts.database = Some(value.to_owned()),
                "password" => password = Some(Zeroizing::new(value.to_owned())),
                "sslmode" => tls.mode = value.parse::<SslMode>()?,
                "sslrootcert" => tls.ca_file = Some(PathBuf::from(value)),
                "sslcert" => cert = Some(PathBuf::from(value)),
                "sslkey" => key_file = Some(PathBuf::from(value)),
                ignored if IGNORED.contains(&ignored) => {}
                other => {
                    return Err(ServiceError::Key {
                        line: number,
                        key: other.to_owned(),
                    });
                }
            }
        }
        if !found {
            return Err(ServiceError::Missing(name.to_owned()));
        }
        tls.client = cert.zip(key_file);
        Ok(Self {
            address: parts.finish()?,
            password,
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\n[other]\nhost=elsewhere\nuser=o\nldap://x\n\n\
        [orders]\nhost=db.example.org\nport = 5433\nuser=backup\ndbname=my orders\n\
        password=hush\nsslmode=verify-full\nsslrootcert=/etc/ca.pem\nconnect_timeout=3\n\
        [orders]\nhost=second\n";

    #[test]
    fn a_service_is_the_first_section_of_its_name() {
        let service = Service::find(FILE, "orders").ok().unwrap();
        assert_eq!(service.address.host.to_string(), "db.example.org");
        assert_eq!(service.address.port, 5433);
        assert_eq!(service.address.database, "my orders");
        assert_eq!(service.password.unwrap().as_str(), "hush");
        assert_eq!(service.tls.mode, SslMode::VerifyFull);
        assert_eq!(service.tls.ca_file.unwrap(), PathBuf::from("/etc/ca.pem"));
    }

    #[test]
    fn services_that_cannot_be_obeyed_are_refused() {
        for (text, wanted) in [
            ("[a]\nhost=x", "[orders]"),
            ("[orders]\nhost", "line 2"),
            ("[orders]\nuser=x\nrequirepeer=postgres", "requirepeer"),
            ("[orders]\nhost=x", "names no user"),
            ("[orders]\nuser=x\nhost=a,b", "several hosts"),
            ("[orders]\nuser=x\nsslmode=allow", "sslmode"),
        ] {
            let error = Service::find(text, "orders").err().unwrap().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
