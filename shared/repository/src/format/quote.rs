//! How restic writes names into JSON: Go's `strconv.Quote` without its
//! quotes, then as a JSON string with Go's escapes.
//!
//! Source: Go `strconv/quote.go` and `encoding/json/encode.go` of Go 1.19,
//! which Debian's restic 0.14 is built with.

use std::borrow::Cow;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `name` as Go's `strconv.Quote` gives it, without the quotes.
pub(super) fn quote(name: &[u8], out: &mut String) {
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_char(character, out);
        }
        for byte in chunk.invalid() {
            push_hex(out, 'x', u32::from(*byte), 2);
        }
    }
}

fn quote_char(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        ' '..='~' => out.push(character),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\0'..='\x7f' => push_hex(out, 'x', u32::from(character), 2),
        _ if is_print(character) => out.push(character),
        ..'\u{10000}' => push_hex(out, 'u', u32::from(character), 4),
        _ => push_hex(out, 'U', u32::from(character), 8),
    }
}

fn push_hex(out: &mut String, marker: char, value: u32, digits: u32) {
    out.push('\\');
    out.push(marker);
    for digit in (0..digits).rev() {
        out.push(char::from(HEX[(value >> (4 * digit) & 0xf) as usize]));
    }
}

/// Go's `strconv.IsPrint` for what is not ASCII: letters, marks, numbers,
/// punctuation, symbols. The standard library escapes the complement (the
/// categories C and Z) in `str::escape_debug`, which spares combining marks
/// except in first place. The two may disagree on characters that Unicode
/// assigned lately; restic reads both forms.
fn is_print(character: char) -> bool {
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = 1 + character.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..length])
        .is_ok_and(|text| text.escape_debug().nth(1) == Some(character))
}

/// The bytes of a name that was quoted without its quotes; `None` for what
/// Go's `strconv.Unquote` refuses.
pub(super) fn unquote(quoted: &str) -> Option<Cow<'_, [u8]>> {
    if !quoted.contains(['\\', '"', '\n']) {
        return Some(Cow::Borrowed(quoted.as_bytes()));
    }
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        name.extend_from_slice(plain.as_bytes());
        rest = unquote_escape(special.strip_prefix('\\')?, &mut name)?;
    }
    name.extend_from_slice(rest.as_bytes());
    Some(Cow::Owned(name))
}

/// Reads what stands behind a backslash; gives the rest.
fn unquote_escape<'a>(text: &'a str, name: &mut Vec<u8>) -> Option<&'a str> {
    let marker = text.chars().next()?;
    let rest = &text[marker.len_utf8()..];
    let simple = match marker {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (value, rest) = digits(rest, 2, 16)?;
            name.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        '0'..='7' => {
            let (value, rest) = digits(text, 3, 8)?;
            name.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (value, rest) = digits(rest, if marker == 'u' { 4 } else { 8 }, 16)?;
            let character = char::from_u32(value)?;
            name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    name.push(simple);
    Some(rest)
}

fn digits(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.chars().try_fold(0_u32, |sum, digit| {
        Some(sum * radix + digit.to_digit(radix)?)
    })?;
    Some((value, rest))
}

/// Appends `text` as a JSON string, quotes included, as Go's `json.Marshal`
/// does: bytes that are not UTF-8 become U+FFFD.
pub(super) fn json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        json_escape(chunk.valid(), out);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn json_escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let mut unicode = *b"\\u0000";
        let (escape, length): (&[u8], usize) = match byte {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            b'\t' => (b"\\t", 1),
            ..0x20 | b'<' | b'>' | b'&' => {
                unicode[4] = HEX[usize::from(byte >> 4)];
                unicode[5] = HEX[usize::from(byte & 0xf)];
                (&unicode, 1)
            }
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => (b"\\u2028", 3),
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => (b"\\u2029", 3),
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(escape);
        written = at + length;
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(name: &[u8]) -> String {
        let mut out = String::new();
        quote(name, &mut out);
        out
    }

    fn json(text: &[u8]) -> String {
        let mut out = Vec::new();
        json_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    // The right-hand sides were printed by Go.
    #[test]
    fn quotes_as_go_does() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain name", "plain name"),
            (b"\"\\'`", "\\\"\\\\'`"),
            (b"\x07\x08\x0c\n\r\t\x0b", "\\a\\b\\f\\n\\r\\t\\v"),
            (b"\x00\x1f\x7f", "\\x00\\x1f\\x7f"),
            (b"n\xff\xe2\x80\x8b\xc3\xa4", "n\\xff\\u200bä"),
            (
                "\u{ad}\u{a0}\u{3000}\u{feff}".as_bytes(),
                "\\u00ad\\u00a0\\u3000\\ufeff",
            ),
            ("e\u{301}\u{301}日本😀".as_bytes(), "e\u{301}\u{301}日本😀"),
            (
                "\u{301}\u{e000}\u{10ffff}\u{e0001}".as_bytes(),
                "\u{301}\\ue000\\U0010ffff\\U000e0001",
            ),
            ("\u{fffd}".as_bytes(), "\u{fffd}"),
            ("\u{2028}".as_bytes(), "\\u2028"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ];
        for (name, expected) in cases {
            assert_eq!(quoted(name), *expected);
        }
    }

    #[test]
    fn unquotes_what_go_unquotes() {
        let cases: &[(&str, &[u8])] = &[
            ("\\101\\x41\\u0041\\U00000041", b"AAAA"),
            ("\\377", b"\xff"),
            ("a\u{200b}", "a\u{200b}".as_bytes()),
        ];
        for (text, expected) in cases {
            assert_eq!(unquote(text).as_deref(), Some(*expected));
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "\\",
            "a\"b",
            "a\nb",
            "\\'",
            "\\x4",
            "\\xg0",
            "\\400",
            "\\08",
            "\\u12",
            "\\ud800",
            "\\U00110000",
            "\\q",
            "\\ä",
            "\\x+1",
            "\\xä",
        ] {
            assert_eq!(unquote(text), None, "{text:?}");
        }
    }

    #[test]
    fn escapes_json_as_go_does() {
        assert_eq!(
            json("<a>&\"\\\u{2028}\u{2029}\u{202a}\u{1}\u{8}\u{c}\n\r\t\u{7f}ä".as_bytes()),
            "\"\\u003ca\\u003e\\u0026\\\"\\\\\\u2028\\u2029\u{202a}\\u0001\\u0008\\u000c\\n\\r\\t\u{7f}ä\""
        );
        assert_eq!(json(b"a\xff\xe2\x80"), "\"a\\ufffd\\ufffd\\ufffd\"");
    }

    proptest! {
        #[test]
        fn names_round_trip(name: Vec<u8>) {
            prop_assert_eq!(unquote(&quoted(&name)).unwrap().into_owned(), name);
        }

        #[test]
        fn text_names_round_trip(name: String) {
            let quoted = quoted(name.as_bytes());
            prop_assert_eq!(unquote(&quoted).unwrap().into_owned(), name.into_bytes());
        }

        #[test]
        fn json_strings_round_trip(text: String) {
            let parsed: String = serde_json::from_str(&json(text.as_bytes())).unwrap();
            prop_assert_eq!(parsed, text);
        }

        #[test]
        fn unquote_never_panics(text: String) {
            let _ = unquote(&text);
            let _ = unquote(&format!("\\{text}"));
        }
    }
}
