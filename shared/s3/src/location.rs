//! The location: a bucket of an S3 service, or a part of one.

use std::{fmt, str::FromStr};

use url::Url;

/// A bucket, and a prefix in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// Scheme, host, port.
    endpoint: Url,
    bucket: String,
    /// Without slashes at its ends; empty is the whole bucket.
    prefix: String,
    addressing: Addressing,
}

/// Where the bucket stands in a request's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`
    Path,
    /// `https://bucket.host/key`
    VirtualHost,
}

/// Services that take buckets in front of their host, and some of them nowhere
/// else. All others are asked in path style, which most know.
const VIRTUAL_HOSTS: [&str; 8] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "aliyuncs.com",
    "myqcloud.com",
    "myhuaweicloud.com",
    "volces.com",
    "bcebos.com",
    "ksyuncs.com",
];

impl Addressing {
    fn guess(endpoint: &Url, bucket: &str) -> Self {
        let host = endpoint.domain().unwrap_or_default();
        let known = |service: &str| {
            host.strip_suffix(service)
                .is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        // No certificate is valid for a bucket with dots.
        if VIRTUAL_HOSTS.iter().any(|service| known(service)) && !bucket.contains('.') {
            Self::VirtualHost
        } else {
            Self::Path
        }
    }
}

/// A text that does not say where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no S3 location: {problem}; write s3:https://HOST[:PORT]/BUCKET[/PREFIX]")]
pub struct ParseLocationError {
    text: String,
    problem: String,
}

impl FromStr for S3Location {
    type Err = ParseLocationError;

    /// As restic writes it, `s3:ENDPOINT/BUCKET/PREFIX`; without a scheme the
    /// endpoint is reached over HTTPS.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Credentials in it, which do not belong there, are not shown.
        let shown = match text
            .split_once("://")
            .unwrap_or(("", text))
            .1
            .rsplit_once('@')
        {
            Some((_, behind)) => format!("s3:…@{behind}"),
            None => text.to_owned(),
        };
        let wrong = |problem: &str| ParseLocationError {
            text: shown.clone(),
            problem: problem.into(),
        };
        let place = text
            .strip_prefix("s3:")
            .ok_or_else(|| wrong("it does not begin with `s3:`"))?;
        let url = if place.starts_with("http://") || place.starts_with("https://") {
            place.to_owned()
        } else {
            format!("https://{place}")
        };
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err(wrong("it names no bucket"));
        }
        let prefix = prefix.trim_matches('/');
        if [bucket]
            .into_iter()
            .chain(prefix.split('/'))
            .any(|part| part == "." || part == "..")
        {
            return Err(wrong("`.` and `..` mean nothing in S3"));
        }
        let endpoint: Url = format!("{scheme}://{host}/")
            .parse()
            .map_err(|error: url::ParseError| wrong(&error.to_string()))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(wrong("credentials do not belong in it"));
        }
        // What stands behind them would be no part of any request's path.
        if host.contains(['?', '#', '\\']) {
            return Err(wrong("`?`, `#` and `\\` belong to no host"));
        }
        Ok(Self {
            addressing: Addressing::guess(&endpoint, bucket),
            endpoint,
            bucket: bucket.into(),
            prefix: prefix.into(),
        })
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3:{}{}", self.endpoint, self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl S3Location {
    /// Addresses the bucket in this way, and not as was guessed by the host.
    pub fn addressed(mut self, addressing: Addressing) -> Result<Self, ParseLocationError> {
        if addressing == Addressing::VirtualHost && self.endpoint.domain().is_none() {
            return Err(ParseLocationError {
                text: self.to_string(),
                problem: "no bucket can stand in front of an address: use path style, or the \
                          host's name"
                    .into(),
            });
        }
        self.addressing = addressing;
        Ok(self)
    }

    /// `host[:port]`, as in the `Host` header.
    pub fn host(&self) -> String {
        let mut host = self.endpoint.host_str().unwrap_or_default().to_owned();
        if self.addressing == Addressing::VirtualHost {
            host = format!("{}.{host}", self.bucket);
        }
        match self.endpoint.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The URL of the object at this key of the bucket. Every byte of it counts,
    /// dots and slashes too.
    pub fn object_url(&self, key: impl AsRef<[u8]>) -> String {
        format!("{}/{}", self.bucket_url(), encode(key.as_ref(), true))
    }

    /// The URL of the bucket, without a slash at its end.
    pub fn bucket_url(&self) -> String {
        match self.addressing {
            Addressing::Path => {
                format!("{}{}", self.endpoint, encode(self.bucket.as_bytes(), false))
            }
            Addressing::VirtualHost => format!("{}://{}", self.endpoint.scheme(), self.host()),
        }
    }

    /// The key of what lies at `path` below the prefix.
    pub fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.prefix)
        }
    }
}

/// Percent-encodes as AWS Signature Version 4 asks: everything but letters,
/// digits, `-`, `.`, `_`, `~` and, in paths, `/`.
pub fn encode(bytes: &[u8], is_path: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match *byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte));
            }
            b'/' if is_path => out.push('/'),
            _ => {
                out.push('%');
                out.push_str(&data_encoding::HEXUPPER.encode(&[*byte]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> S3Location {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_restic_reads() {
        for (text, shown, host) in [
            (
                "s3:https://s3.example.org/b",
                "s3:https://s3.example.org/b",
                "s3.example.org",
            ),
            (
                "s3:s3.example.org/b/p/q/",
                "s3:https://s3.example.org/b/p/q",
                "s3.example.org",
            ),
            (
                "s3:http://127.0.0.1:9000/b/p",
                "s3:http://127.0.0.1:9000/b/p",
                "127.0.0.1:9000",
            ),
            (
                "s3:http://[::1]:9000/b",
                "s3:http://[::1]:9000/b",
                "[::1]:9000",
            ),
        ] {
            let location = location(text);
            assert_eq!(location.to_string(), shown);
            assert_eq!(location.host(), host);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, problem) in [
            ("/srv/backup", "s3:"),
            ("s3:https://host", "no bucket"),
            ("s3:https://host//p", "no bucket"),
            ("s3:https://", "no bucket"),
            ("s3:https://key:secret@host/b", "credentials"),
            ("s3:https://host/b/../c", "mean nothing"),
            ("s3:https://ho st/b", "invalid"),
            ("s3:https://host#x/b", "no host"),
            ("s3:host?x/b", "no host"),
            ("s3:host\\x/b", "no host"),
        ] {
            let error = text.parse::<S3Location>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn credentials_are_not_repeated() {
        for text in [
            "s3:https://key:hush@host/b",
            "s3:key:hush@host",
            "https://key:hush@host/b",
        ] {
            let error = text.parse::<S3Location>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn the_bucket_stands_where_the_service_wants_it() {
        let url = |text: &str| {
            let location = location(text);
            location.object_url(location.key("config"))
        };
        for (text, wanted) in [
            (
                "s3:https://s3.eu-central-1.amazonaws.com/b/p",
                "https://b.s3.eu-central-1.amazonaws.com/p/config",
            ),
            (
                "s3:https://oss-cn-hangzhou.aliyuncs.com:444/b",
                "https://b.oss-cn-hangzhou.aliyuncs.com:444/config",
            ),
            (
                "s3:s3.amazonaws.com/b.c",
                "https://s3.amazonaws.com/b.c/config",
            ),
            (
                "s3:https://notamazonaws.com/b",
                "https://notamazonaws.com/b/config",
            ),
            ("s3:http://192.0.2.1/b", "http://192.0.2.1/b/config"),
        ] {
            assert_eq!(url(text), wanted);
        }
        let own = location("s3:https://s3.example.org:9000/b/p");
        let own = own.addressed(Addressing::VirtualHost).unwrap();
        assert_eq!(own.host(), "b.s3.example.org:9000");
        assert_eq!(
            own.object_url(own.key("config")),
            "https://b.s3.example.org:9000/p/config"
        );
        assert_eq!(own.to_string(), "s3:https://s3.example.org:9000/b/p");
        let amazon = location("s3:s3.amazonaws.com/b").addressed(Addressing::Path);
        assert_eq!(amazon.unwrap().bucket_url(), "https://s3.amazonaws.com/b");
        let address = location("s3:http://192.0.2.1/b").addressed(Addressing::VirtualHost);
        let error = address.unwrap_err().to_string();
        assert!(error.contains("in front of an address"), "{error}");
    }

    #[test]
    fn odd_prefixes_are_encoded() {
        let location = location("s3:https://host/b/a b+c/ä(!)");
        let url = location.object_url(location.key("config"));
        assert_eq!(url, "https://host/b/a%20b%2Bc/%C3%A4%28%21%29/config");
    }

    #[test]
    fn a_key_stays_as_it_is() {
        let location = location("s3:https://host/b");
        for (key, url) in [
            (&b"/a//../b/."[..], "https://host/b//a//../b/."),
            (b"", "https://host/b/"),
            (
                b"a%2Fb?c#d\\\n\xff",
                "https://host/b/a%252Fb%3Fc%23d%5C%0A%FF",
            ),
        ] {
            assert_eq!(location.object_url(key), url);
        }
    }
}
