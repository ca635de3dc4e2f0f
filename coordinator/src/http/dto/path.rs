//! A path as it is on a host: mostly, but not always, UTF-8.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A path of a host or snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RawPath {
    /// The path; what is not UTF-8 is replaced by U+FFFD.
    pub text: String,
    /// The exact bytes in base64, when `text` is not exact.
    pub base64: Option<String>,
}

impl From<&[u8]> for RawPath {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                base64: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                base64: Some(BASE64.encode(bytes)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_bytes_of_what_is_not_utf8() {
        assert_eq!(RawPath::from(&b"/a"[..]).base64, None);
        let odd = RawPath::from(&b"/a\xff"[..]);
        assert_eq!(odd.text, "/a\u{fffd}");
        assert_eq!(odd.base64.as_deref(), Some("L2H/"));
    }
}
