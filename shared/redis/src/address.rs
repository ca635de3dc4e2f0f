//! Where a server listens, as a URL says it.

use std::{fmt, path::PathBuf, str::FromStr};

/// The port of a server that was not told another.
const DEFAULT_PORT: u16 = 6379;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `redis://HOST[:PORT]`, or with TLS `rediss://HOST[:PORT]`.
    Tcp {
        /// A DNS name or an IP address (without brackets).
        host: String,
        /// TCP.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// `unix:///run/redis/redis.sock`.
    Unix(PathBuf),
}

/// A text that is not the URL of a server. Never holds the text itself: a
/// password may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// Another scheme, or none.
    #[error(
        "the URL must begin with redis://, with rediss:// for TLS, or with unix:// for a socket"
    )]
    Scheme,
    /// User or password in it.
    #[error(
        "the URL must not hold user or password: put the user into `username` and the password \
         into a file that only the agent can read, named by `password_file` (or into an \
         environment variable, named by `password_env`)"
    )]
    Credentials,
    /// A database or options.
    #[error(
        "the URL must end behind the port: a backup takes all databases, and options have keys \
         of their own"
    )]
    Rest,
    /// No host, or an impossible one.
    #[error("the URL must name a host, as in redis://127.0.0.1:6379")]
    Host,
    /// Not a port.
    #[error("the port in the URL must be a number from 1 to 65535")]
    Port,
    /// Not an absolute path.
    #[error("the path of a socket must be absolute, as in unix:///run/redis/redis.sock")]
    Path,
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(ParseAddressError::Scheme)?;
        match scheme {
            "redis" => tcp(rest, false),
            "rediss" => tcp(rest, true),
            "unix" | "redis+unix" => unix(rest),
            _ => Err(ParseAddressError::Scheme),
        }
    }
}

fn unix(path: &str) -> Result<Address, ParseAddressError> {
    if path.contains('@') {
        return Err(ParseAddressError::Credentials);
    }
    if path.contains('?') {
        return Err(ParseAddressError::Rest);
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(ParseAddressError::Path);
    }
    Ok(Address::Unix(path.into()))
}

fn tcp(rest: &str, tls: bool) -> Result<Address, ParseAddressError> {
    if rest.contains('@') {
        return Err(ParseAddressError::Credentials);
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(ParseAddressError::Rest);
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(ParseAddressError::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| ParseAddressError::Host)?;
            match port {
                "" => (host, None),
                port => (
                    host,
                    Some(port.strip_prefix(':').ok_or(ParseAddressError::Port)?),
                ),
            }
        }
        None => rest
            .split_once(':')
            .map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    if rustls::pki_types::ServerName::try_from(host).is_err() {
        return Err(ParseAddressError::Host);
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(ParseAddressError::Port)?,
    };
    Ok(Address::Tcp {
        host: host.into(),
        port,
        tls,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_sockets() {
        for (text, shown) in [
            ("redis://127.0.0.1:6380", "redis://127.0.0.1:6380"),
            ("redis://db.example.org", "redis://db.example.org:6379"),
            ("rediss://db.example.org/", "rediss://db.example.org:6379"),
            ("rediss://[::1]:7", "rediss://[::1]:7"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("unix:///run/redis/r.sock", "unix:///run/redis/r.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        use ParseAddressError as E;
        for (text, error) in [
            ("", E::Scheme),
            ("127.0.0.1:6379", E::Scheme),
            ("http://a", E::Scheme),
            ("redis://", E::Host),
            ("redis://:6379", E::Host),
            ("redis://[::1", E::Host),
            ("redis://[a]", E::Host),
            ("redis://a b", E::Host),
            ("redis://a:0", E::Port),
            ("redis://a:", E::Port),
            ("redis://[::1]7", E::Port),
            ("redis://a:65536", E::Port),
            ("redis://a/1", E::Rest),
            ("redis://a?db=1", E::Rest),
            ("redis://:secret@a", E::Credentials),
            ("redis://u:secret@a:1/2", E::Credentials),
            ("unix://run/r.sock", E::Path),
            ("unix:///run/", E::Path),
            ("unix://u@/run/r.sock", E::Credentials),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
