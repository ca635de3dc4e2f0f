//! Where the coordinator listens for agents.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// The agents' port of a coordinator that was not told another.
const DEFAULT_PORT: u16 = 7443;

/// Host and port, as in `backup.example.org:7443` or `[::1]:7443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A DNS name or an IP address (without brackets).
    pub host: String,
    /// TCP.
    pub port: u16,
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of a coordinator: write HOST:PORT, such as \
     backup.example.org:7443"
)]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        split(text)
            .filter(|address| {
                rustls::pki_types::ServerName::try_from(address.host.as_str()).is_ok()
            })
            .ok_or_else(|| ParseAddressError(text.into()))
    }
}

fn split(text: &str) -> Option<Address> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':')?)),
            }
        }
        // A bare IPv6 address has no port.
        None if text.matches(':').count() > 1 => (text, None),
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => DEFAULT_PORT,
    };
    Some(Address {
        host: host.into(),
        port,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_port() {
        for (text, shown) in [
            ("backup.example.org", "backup.example.org:7443"),
            ("localhost:1", "localhost:1"),
            ("127.0.0.1:7443", "127.0.0.1:7443"),
            ("[::1]:8", "[::1]:8"),
            ("[::1]", "[::1]:7443"),
            ("::1", "[::1]:7443"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:b",
            "[::1",
            "[a]:1",
            "a b:1",
            "https://a:1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{text}");
        }
    }
}
