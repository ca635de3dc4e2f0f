//! What a statement is about, told apart as the server does it, so that a name in
//! quotes, where that says nothing, is the same as without. Pure.

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A word that is written in capitals, without quotes: `pg_dump` and the server write
    /// keywords so, and no name.
    Keyword(String),
    /// A name, without its quotes, or the word of a type.
    Name(String),
    /// Anything else, such as a dot or a parenthesis.
    Mark(char),
}

/// The parts of a statement. `IN` before an argument is none: only newer servers say it.
pub fn parts(statement: &str) -> Vec<Part> {
    let mut all = Vec::new();
    let mut rest = statement.trim_start();
    while let Some(first) = rest.chars().next() {
        let (part, length) = match first {
            '"' => quoted(rest),
            first if is_letter(first) => {
                let length = rest.find(|it| !is_letter(it)).unwrap_or(rest.len());
                let word = rest[..length].to_owned();
                let capital = |it: char| it.is_ascii_uppercase();
                let keyword =
                    word.contains(capital) && word.chars().all(|it| capital(it) || it == '_');
                let part = if keyword {
                    Part::Keyword(word)
                } else {
                    Part::Name(word)
                };
                (part, length)
            }
            other => (Part::Mark(other), other.len_utf8()),
        };
        let begins = matches!(all.last(), Some(Part::Mark('(' | ',')));
        if !(begins && part == Part::Keyword("IN".into())) {
            all.push(part);
        }
        rest = rest[length..].trim_start();
    }
    all
}

/// Whether a statement is `ALTER kind subject OWNER TO role`, of one of these kinds.
pub(super) fn gives(statement: &[Part], kinds: &[&[&str]], subject: &[Part], role: &str) -> bool {
    let word = |it: &str| Part::Keyword(it.to_owned());
    let behind = [word("OWNER"), word("TO"), Part::Name(role.to_owned())];
    let rest = statement.strip_suffix(&behind);
    let rest = rest.and_then(|it| it.strip_prefix(&[word("ALTER")]));
    rest.is_some_and(|rest| {
        kinds.iter().any(|kind| {
            let kind: Vec<_> = kind.iter().map(|it| word(it)).collect();
            rest.strip_prefix(kind.as_slice()) == Some(subject)
        })
    })
}

fn is_letter(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_' || it == '$' || !it.is_ascii()
}

/// A name in quotes at the beginning of `rest`, and its length there.
fn quoted(rest: &str) -> (Part, usize) {
    let mut name = String::new();
    let mut at = 1;
    loop {
        let Some(end) = rest[at..].find('"') else {
            name.push_str(&rest[at..]);
            return (Part::Name(name), rest.len());
        };
        name.push_str(&rest[at..at + end]);
        at += end + 1;
        if !rest[at..].starts_with('"') {
            return (Part::Name(name), at);
        }
        name.push('"');
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql;

    #[test]
    fn quotes_say_nothing_where_they_need_not_be() {
        for (one, other) in [
            ("public.f(a integer)", "\"public\" . \"f\"(\"a\" integer)"),
            ("f(IN a text, IN b text)", "f(a text,b text)"),
            ("f(OUT a text)", "f( OUT  a text )"),
            ("caf\u{e9}", "\"caf\u{e9}\""),
            ("_.a_1", "\"_\".\"a_1\""),
        ] {
            assert_eq!(parts(one), parts(other), "{one}");
        }
        for (one, other) in [
            ("a.b", "\"a.b\""),
            ("f(\"IN\" text)", "f(IN text)"),
            ("f(\"OUT\" text)", "f(OUT text)"),
            ("f(a b)", "f(\"a b\")"),
            ("f(text)", "f(text[])"),
            ("\"a\"\"b\"", "a\"b"),
        ] {
            assert_ne!(parts(one), parts(other), "{one}");
        }
    }

    proptest! {
        #[test]
        fn a_name_in_quotes_is_that_name(name: String, text: String) {
            prop_assert_eq!(parts(&sql::identifier(&name)), vec![Part::Name(name)]);
            parts(&text);
        }
    }
}
