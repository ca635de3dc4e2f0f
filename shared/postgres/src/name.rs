//! Names are bytes.
//!
//! In a database of the encoding `SQL_ASCII`, and in the catalogs that all
//! databases share, a name may be any bytes. Here they are text in which a byte
//! that is no UTF-8 stands as one of 128 characters at the very end of Unicode,
//! U+10FF80 to U+10FFFF: those are for private use, and where a name really
//! holds one, its bytes are written so, one by one. So every name is some text,
//! no two are the same, and all but odd ones are themselves.
//!
//! People are shown, and may write, `\xE9` for such a byte.

use std::{borrow::Cow, ffi::OsString, fmt::Write as _, os::unix::ffi::OsStringExt};

use tokio_postgres::types::{FromSql, Type};

/// What byte 0 would be.
const FIRST: u32 = 0x10_FF00;
/// What byte 128 is.
const FIRST_USED: u32 = FIRST + 0x80;

fn stands_for(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for, if it does.
fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    (code >= FIRST_USED).then(|| u8::try_from(code - FIRST).ok())?
}

/// A name's text.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if byte(character).is_some() {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).bytes();
                text.extend(bytes.map(stands_for));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stands_for));
    }
    text
}

/// The bytes of a name.
pub fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The bytes of a name, for a program's environment or arguments.
pub fn os(text: &str) -> OsString {
    OsString::from_vec(encode(text))
}

/// Whether it is text as it is.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(|character| byte(character).is_none())
}

/// A text for people: what is no UTF-8 as `\xE9`.
pub fn shown(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 4);
    for character in text.chars() {
        match byte(character) {
            Some(byte) => {
                let _infallible = write!(shown, "\\x{byte:02X}");
            }
            None => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The name among `known` that people mean who write `text`: that very one, or
/// the one that is shown so.
pub fn meant<'a>(text: &str, mut known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let exact = known.clone().find(|name| *name == text);
    exact.or_else(|| known.find(|name| !is_plain(name) && shown(name) == text))
}

/// A value of a text's or a name's type, whatever its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(
        _kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(decode(raw)))
    }

    fn accepts(kind: &Type) -> bool {
        <&str as FromSql>::accepts(kind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_bytes_are_shown_and_understood() {
        let name = decode(b"caf\xe9");
        assert_eq!(encode(&name), b"caf\xe9");
        assert_eq!(shown(&name), "caf\\xE9");
        assert!(!is_plain(&name) && is_plain("caf\u{e9}"));
        let plain = "caf\\xE9".to_owned();
        let known = || [name.as_str(), plain.as_str()].into_iter();
        assert_eq!(meant("caf\\xE9", known()), Some(plain.as_str()));
        assert_eq!(meant("caf\\xE9", known().take(1)), Some(name.as_str()));
        assert_eq!(meant("cafe", known()), None);
    }

    proptest! {
        #[test]
        fn every_name_is_a_text_of_its_own(bytes: Vec<u8>, text: String) {
            prop_assert_eq!(encode(&decode(&bytes)), bytes);
            prop_assert_eq!(encode(&decode(text.as_bytes())), text.as_bytes());
        }
    }

    #[test]
    fn characters_that_stand_for_bytes_are_written_byte_by_byte() {
        let name = "\u{10FFE9}x";
        let text = decode(name.as_bytes());
        assert_ne!(text, name);
        assert_eq!(encode(&text), name.as_bytes());
    }
}
