//! Where a server listens, as a libpq-style URL says it.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where Debian's servers have their sockets.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const PORT: u16 = 5432;
/// Every cluster has it.
const DATABASE: &str = "postgres";

/// One server and who is asking. Names are as the server knows them, not
/// escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where it listens.
    pub host: Host,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database for what concerns no database in particular.
    pub database: String,
}

/// See [`Address::host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name or an IP address (without brackets).
    Tcp(String),
    /// The directory of a unix socket.
    Unix(PathBuf),
}

impl Host {
    /// As libpq reads it: a path is a socket's directory.
    pub fn new(text: &str) -> Self {
        if text.starts_with('/') {
            Self::Unix(text.into())
        } else {
            Self::Tcp(text.to_owned())
        }
    }

    /// The usual socket.
    pub fn local() -> Self {
        Self::Unix(SOCKET_DIRECTORY.into())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) if host.contains(':') => write!(f, "[{host}]"),
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(directory) => write!(f, "{}", directory.display()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} as {:?}", self.host, self.port, self.user)
    }
}

/// A text that is not the address of a server. Never shows the text: there
/// may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another kind of URL, or none.
    #[error("not a PostgreSQL URL: write postgres://USER@HOST:PORT/DATABASE")]
    Scheme,
    /// Passwords have their own keys.
    #[error(
        "a password does not belong in the URL, where logs and error messages would show it: put \
         it into a file of mode 0600 and name that with password_file, or name an environment \
         variable with password_env"
    )]
    Password,
    /// No user.
    #[error("the URL names no user: write postgres://USER@HOST:PORT/DATABASE")]
    NoUser,
    /// Not a port.
    #[error("{0:?} is not a port")]
    Port(String),
    /// Several servers.
    #[error("the URL names several hosts: a connection is one server, give each its own")]
    SeveralHosts,
    /// Percent signs that encode nothing.
    #[error("the URL has a percent sign that encodes no byte of UTF-8: write %25 for one")]
    Encoding,
    /// What libpq knows and we do not, or what has a key of its own.
    #[error(
        "the URL's parameter {0:?} is not understood: host, port, user and dbname are; TLS has \
         keys of its own (sslmode, ca_file, cert_file, key_file)"
    )]
    Parameter(String),
    /// A NUL or nothing.
    #[error("the URL has an empty or impossible {0}")]
    Impossible(&'static str),
}

impl FromStr for Address {
    type Err = AddressError;

    /// `postgres://user@host:port/database?host=/directory`, as in the
    /// PostgreSQL manual, 34.1.1.2. Host, port and database have defaults.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(AddressError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut parts = Parts::default();
        let host_port = match authority.rsplit_once('@') {
            None => authority,
            Some((user, host_port)) => {
                if user.contains(':') {
                    return Err(AddressError::Password);
                }
                parts.user = given(user)?;
                host_port
            }
        };
        parts.host_port(host_port)?;
        parts.database = given(path)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = given(value)?;
            match key {
                "host" => parts.host = value,
                "port" => parts.port = value,
                "user" => parts.user = value,
                "dbname" => parts.database = value,
                "password" | "passfile" => return Err(AddressError::Password),
                other => return Err(AddressError::Parameter(other.chars().take(40).collect())),
            }
        }
        parts.finish()
    }
}

/// What was given of an address.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
}

impl Parts {
    fn host_port(&mut self, text: &str) -> Result<(), AddressError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest
                    .split_once(']')
                    .ok_or(AddressError::Impossible("host"))?;
                let port = match port.strip_prefix(':') {
                    None if !port.is_empty() => return Err(AddressError::Port(port.into())),
                    port => port,
                };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        self.host = given(host)?;
        self.port = port.map_or(Ok(None), given)?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Address, AddressError> {
        let host = match self.host {
            None => Host::local(),
            Some(host) if host.contains(',') => return Err(AddressError::SeveralHosts),
            Some(host) => Host::new(&host),
        };
        let port = match self.port {
            None => PORT,
            Some(port) if port.contains(',') => return Err(AddressError::SeveralHosts),
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(AddressError::Port(port)),
                Ok(port) => port,
            },
        };
        let address = Address {
            host,
            port,
            user: self.user.ok_or(AddressError::NoUser)?,
            database: self.database.unwrap_or_else(|| DATABASE.into()),
        };
        for (what, text) in [("user", &address.user), ("database", &address.database)] {
            if text.contains('\0') {
                return Err(AddressError::Impossible(what));
            }
        }
        if address.host.to_string().contains('\0') {
            return Err(AddressError::Impossible("host"));
        }
        Ok(address)
    }
}

/// Decoded; `None` for nothing.
fn given(text: &str) -> Result<Option<String>, AddressError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = behind
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits
            .filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .ok_or(AddressError::Encoding)?;
        bytes.push(byte);
        rest = &behind[2..];
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| AddressError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let tcp = |host: &str| Host::Tcp(host.into());
        for (text, host, port, user, database) in [
            ("postgres://u@h", tcp("h"), 5432, "u", "postgres"),
            ("postgresql://u@h:1/d", tcp("h"), 1, "u", "d"),
            ("postgres://u@[::1]:2/d", tcp("::1"), 2, "u", "d"),
            ("postgres://u@[::1]", tcp("::1"), 5432, "u", "postgres"),
            (
                "postgres://u@%2Frun%2Fpg:3/d",
                Host::new("/run/pg"),
                3,
                "u",
                "d",
            ),
            ("postgres://u@/d", Host::local(), 5432, "u", "d"),
            (
                "postgres:///d?host=/tmp&user=u&port=4",
                Host::new("/tmp"),
                4,
                "u",
                "d",
            ),
            (
                "postgres://a%40b@h/my%20d%25%3F",
                tcp("h"),
                5432,
                "a@b",
                "my d%?",
            ),
            ("postgres://u@h?dbname=x", tcp("h"), 5432, "u", "x"),
        ] {
            let expected = Address {
                host,
                port,
                user: user.into(),
                database: database.into(),
            };
            assert_eq!(address(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_without_showing_passwords() {
        for (text, wanted) in [
            ("mysql://u@h", "postgres://USER@HOST"),
            ("u@h", "postgres://USER@HOST"),
            ("postgres://u:hush@h/d", "password_file"),
            ("postgres://u:@h/d", "password_file"),
            ("postgres://u@h/d?password=hush", "password_env"),
            ("postgres://h/d", "names no user"),
            ("postgres://u@h:0", "not a port"),
            ("postgres://u@h:99999", "not a port"),
            ("postgres://u@[::1]9", "not a port"),
            ("postgres://u@[::1", "host"),
            ("postgres://u@a,b/d", "several hosts"),
            ("postgres://u@a:1,b:2/d", "several hosts"),
            ("postgres://u@h/d%", "%25"),
            ("postgres://u@h/%ff", "%25"),
            ("postgres://u@h/%+f", "%25"),
            ("postgres://u@h/a%00b", "database"),
            ("postgres://u@h/d?sslmode=require", "keys of its own"),
        ] {
            let error = address(text).map(|found| panic!("{text}: {found:?}"));
            let error = error.unwrap_or_else(|error| error).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains("hush"), "{text}: {error}");
        }
    }
}
