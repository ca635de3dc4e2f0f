//! Patterns of keys as Redis matches them: `*`, `?`, `[abc]`, `[^a-z]` and `\`
//! before a byte that stands for itself.
//!
//! Source: `stringmatchlen` in Redis' `util.c`, whose oddities are kept: a
//! class without an end ends with the pattern, and a range may be written
//! backwards. The time is bounded by pattern × key.

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Byte(u8),
    Class {
        not: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Byte(own) => *own == byte,
            Self::Class { not, ranges } => {
                let within = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&byte));
                within != *not
            }
        }
    }
}

impl Pattern {
    /// Any bytes are a pattern.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern.as_ref();
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            let token = match first {
                b'*' if tokens.last() == Some(&Token::Any) => continue,
                b'*' => Token::Any,
                b'?' => Token::One,
                b'[' => class(&mut rest),
                b'\\' => match rest.split_first() {
                    Some((&escaped, behind)) => {
                        rest = behind;
                        Token::Byte(escaped)
                    }
                    None => Token::Byte(b'\\'),
                },
                byte => Token::Byte(byte),
            };
            tokens.push(token);
        }
        Self(tokens)
    }

    /// Whether all of `key` matches.
    pub fn matches(&self, key: &[u8]) -> bool {
        let tokens = &self.0;
        let (mut token, mut at) = (0, 0);
        // The last star, and how much of the key it has taken.
        let mut star: Option<(usize, usize)> = None;
        while at < key.len() {
            match tokens.get(token) {
                Some(Token::Any) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(next) if next.takes(key[at]) => {
                    token += 1;
                    at += 1;
                }
                _ => match &mut star {
                    // Earlier stars need not be tried again: what matched
                    // between them would match there as well.
                    Some((place, taken)) => {
                        *taken += 1;
                        (token, at) = (*place + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        tokens[token..].iter().all(|rest| *rest == Token::Any)
    }
}

/// What stands behind a `[`; moves `rest` behind the `]`.
fn class(rest: &mut &[u8]) -> Token {
    let mut inside = *rest;
    let not = inside.first() == Some(&b'^');
    if not {
        inside = &inside[1..];
    }
    let mut ranges = Vec::new();
    loop {
        match inside {
            [] => break,
            [b'\\', byte, behind @ ..] => {
                ranges.push((*byte, *byte));
                inside = behind;
            }
            [b']', behind @ ..] => {
                inside = behind;
                break;
            }
            [first, b'-', last, behind @ ..] => {
                ranges.push((*first.min(last), *first.max(last)));
                inside = behind;
            }
            [byte, behind @ ..] => {
                ranges.push((*byte, *byte));
                inside = behind;
            }
        }
    }
    *rest = inside;
    Token::Class { not, ranges }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern).matches(key.as_bytes())
    }

    #[test]
    fn patterns_as_the_manual_of_keys_has_them() {
        for (pattern, yes, no) in [
            (
                "h?llo",
                &["hello", "hallo", "h?llo"][..],
                &["hllo", "heello"][..],
            ),
            ("h*llo", &["hllo", "heeeello", "h*llo"], &["hell", "xhello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello", "hllo"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h\\*llo", &["h*llo"], &["hello", "h\\*llo"]),
            ("h[\\]a]llo", &["h]llo", "hallo"], &["hbllo"]),
            ("h[a\\-c]llo", &["hallo", "h-llo", "hcllo"], &["hbllo"]),
            ("*", &["", "a", "\n"], &[]),
            ("**a**", &["a", "ba", "aab"], &["", "b"]),
            ("", &[""], &["a"]),
            ("a", &["a"], &["", "A", "aa"]),
            ("a*b*c", &["abc", "aXbYc", "abcbc"], &["ab", "acb"]),
            (
                "user:*:cart",
                &["user:1:cart", "user::cart"],
                &["user:1:cart2"],
            ),
            ("[", &[], &["[", "a", ""]),
            ("[^", &["a"], &["", "ab"]),
            ("x[ab", &["xa", "xb"], &["xc", "x", "xab"]),
            ("[a-]", &["]", "a", "^"], &["b", "-"]),
            ("\\", &["\\"], &["", "a"]),
            ("[]a]", &[], &["a", "]a]", "]"]),
        ] {
            for key in yes {
                assert!(matches(pattern, key), "{pattern:?} {key:?}");
            }
            for key in no {
                assert!(!matches(pattern, key), "{pattern:?} {key:?}");
            }
        }
    }

    #[test]
    fn any_byte_can_be_matched() {
        let pattern = Pattern::new([b'[', 0, b'-', 9, b']', 0xff]);
        assert!(pattern.matches(&[5, 0xff]));
        assert!(!pattern.matches(&[10, 0xff]));
    }

    /// `stringmatchlen` of before 7.0.12 took hours for this one.
    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::new("a*".repeat(40) + "b");
        assert!(!pattern.matches("a".repeat(4000).as_bytes()));
    }

    /// The plain recursion of `stringmatchlen`.
    fn reference(tokens: &[Token], key: &[u8]) -> bool {
        match (tokens.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((Token::Any, rest)), _) => {
                (0..=key.len()).any(|taken| reference(rest, &key[taken..]))
            }
            (Some((token, rest)), Some((byte, key))) => token.takes(*byte) && reference(rest, key),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_star_is_enough(
            pattern in "[ab*?\\[\\]\\\\^-]{0,10}", key in "[ab]{0,12}",
        ) {
            let pattern = Pattern::new(&pattern);
            prop_assert_eq!(pattern.matches(key.as_bytes()), reference(&pattern.0, key.as_bytes()));
        }

        #[test]
        fn nothing_panics(pattern: Vec<u8>, key: Vec<u8>) {
            let _ = Pattern::new(pattern).matches(&key);
        }
    }
}
