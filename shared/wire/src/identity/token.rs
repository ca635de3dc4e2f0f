//! Join tokens: one string that lets one host enrol once.
//!
//! `srj_<id>_<secret>_<fingerprint>`: the id names the token in the catalog,
//! the secret proves that its bearer was invited, and the fingerprint (SHA-256
//! of the CA's certificate, 64 lowercase hex digits) tells the agent which
//! coordinator to trust before it has ever spoken to it. Ids are ASCII letters,
//! digits and `-`; secrets may hold `_` too (base64url): the first `_` ends the
//! id and the last begins the fingerprint.

use std::{fmt, str::FromStr};

use strongroom_layout::ObjectId;
use zeroize::Zeroizing;

const PREFIX: &str = "srj_";

/// A join token, whole. `Display` gives the string to hand to the host, the
/// secret included: print it once and nowhere else. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Public half; names the token in the catalog and the audit log.
    pub id: String,
    /// Secret half.
    pub secret: Zeroizing<String>,
    /// SHA-256 of the CA's certificate (DER).
    pub ca_fingerprint: [u8; 32],
}

/// A text that is not a join token. Never holds the text, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// Not of the form at all.
    #[error(
        "this is not a join token: it should read srj_<id>_<secret>_<fingerprint>; \
         copy the whole line that `strongroom agents invite` printed"
    )]
    Shape,
    /// The id is empty or holds other characters.
    #[error("the join token's id is damaged; copy the whole line again")]
    Id,
    /// The secret is empty or holds other characters.
    #[error("the join token's secret is damaged; copy the whole line again")]
    Secret,
    /// The fingerprint is cut or holds other characters.
    #[error(
        "the join token's fingerprint is damaged (64 lowercase hex digits expected); \
         copy the whole line again"
    )]
    Fingerprint,
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let (id, secret, fingerprint) = text
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .and_then(|(id, rest)| rest.rsplit_once('_').map(|(a, b)| (id, a, b)))
            .ok_or(ParseTokenError::Shape)?;
        if !is_word(id, b"-") {
            return Err(ParseTokenError::Id);
        }
        if !is_word(secret, b"-_") {
            return Err(ParseTokenError::Secret);
        }
        let fingerprint: ObjectId = fingerprint
            .parse()
            .map_err(|_| ParseTokenError::Fingerprint)?;
        Ok(Self {
            id: id.into(),
            secret: Zeroizing::new(secret.into()),
            ca_fingerprint: fingerprint.0,
        })
    }
}

/// Whether `text` is not empty and of letters, digits and `extra` only.
fn is_word(text: &str, extra: &[u8]) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = ObjectId(self.ca_fingerprint);
        let secret = self.secret.as_str();
        write!(f, "{PREFIX}{}_{secret}_{fingerprint}", self.id)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .field("ca_fingerprint", &ObjectId(self.ca_fingerprint))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_round_trip(
            id in "[A-Za-z0-9-]{1,40}",
            secret in "[A-Za-z0-9_-]{1,60}",
            ca_fingerprint: [u8; 32],
        ) {
            let token = JoinToken { id, secret: Zeroizing::new(secret), ca_fingerprint };
            prop_assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in ".{0,200}") {
            let _ = text.parse::<JoinToken>();
        }
    }

    #[test]
    fn says_which_part_is_damaged() {
        let hex = "ab".repeat(32);
        for (text, error) in [
            (String::new(), ParseTokenError::Shape),
            (format!("srx_a_b_{hex}"), ParseTokenError::Shape),
            (format!("srj_a_{hex}"), ParseTokenError::Shape),
            (format!("srj_a_b_{hex}_c"), ParseTokenError::Fingerprint),
            (format!("srj__b_{hex}"), ParseTokenError::Id),
            (format!("srj_a__{hex}"), ParseTokenError::Secret),
            (format!("srj_a_b+c_{hex}"), ParseTokenError::Secret),
            (
                format!("srj_a_b_{}", &hex[1..]),
                ParseTokenError::Fingerprint,
            ),
            (
                format!("srj_a_b_{}", hex.to_uppercase()),
                ParseTokenError::Fingerprint,
            ),
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(error), "{text}");
        }
    }

    #[test]
    fn debug_leaves_the_secret_out() {
        let token: JoinToken = format!("srj_id1_verysecret_{}", "ab".repeat(32))
            .parse()
            .unwrap();
        let shown = format!("{token:?}");
        assert!(shown.contains("id1") && !shown.contains("verysecret"));
    }
}
