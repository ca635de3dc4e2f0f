//! The words of a statement of ours. Pure; comments and dollar quotes, which
//! we do not write, are not known.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a str),
    /// A name in quotes.
    Name,
    /// A text, without its quotes.
    Text(&'a str),
    /// A number or a parameter.
    Value,
    /// `::`.
    Cast,
    /// Anything made of the characters of operators.
    Operator(&'a str),
    /// A parenthesis, bracket, comma, dot, semicolon or colon.
    Mark(char),
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub(super) fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Of the manual, 4.1.3.
const OPERATORS: &str = "+-*/<>=~!@#%^&|`?";

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            first if first.is_whitespace() => {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            '\'' => {
                let length = quoted(rest, '\'');
                (Token::Text(rest[1..length].trim_end_matches('\'')), length)
            }
            '"' => (Token::Name, quoted(rest, '"')),
            '$' | '0'..='9' => {
                let value = |it: char| it.is_ascii_alphanumeric() || "$.".contains(it);
                (Token::Value, while_(rest, value))
            }
            first if first.is_alphabetic() || first == '_' => {
                let length = while_(rest, |it| it.is_alphanumeric() || "_$".contains(it));
                (Token::Word(&rest[..length]), length)
            }
            ':' if rest.starts_with("::") => (Token::Cast, 2),
            first if OPERATORS.contains(first) => {
                let length = while_(rest, |it| OPERATORS.contains(it));
                (Token::Operator(&rest[..length]), length)
            }
            other => (Token::Mark(other), other.len_utf8()),
        };
        found.push(token);
        rest = &rest[length..];
    }
    found
}

/// Bytes of a quoted piece at the start of `text`. A doubled quote is in it.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    loop {
        match text[at..].find(quote) {
            None => return text.len(),
            Some(end) if text[at + end + 1..].starts_with(quote) => at += end + 2,
            Some(end) => return at + end + 1,
        }
    }
}

fn while_(text: &str, inside: impl Fn(char) -> bool) -> usize {
    text.find(|it| !inside(it)).unwrap_or(text.len())
}
