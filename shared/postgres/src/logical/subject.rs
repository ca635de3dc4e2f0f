//! What a statement is about, told apart as the server does it, so that a name in
//! quotes, where that says nothing, is the same as without. Pure.

use std::collections::HashSet;

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// Kinds of what may lend its owner's rights, or be lent them.
const KINDS: [&[&str]; 7] = [
    &["FUNCTION"],
    &["PROCEDURE"],
    &["ROUTINE"],
    &["TABLE"],
    &["VIEW"],
    &["FOREIGN", "TABLE"],
    &["MATERIALIZED", "VIEW"],
];

/// What statements gave to one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// What those statements end in.
    behind: [Part; 3],
    /// Kind and name; there may be very many of them.
    all: HashSet<Vec<Part>>,
}

impl Given {
    /// Nothing yet.
    pub fn to(role: String) -> Self {
        Self {
            behind: [keyword("OWNER"), keyword("TO"), Part::Name(role)],
            all: HashSet::new(),
        }
    }

    /// Notes a statement that was run, if it is `ALTER kind subject OWNER TO role`. What is
    /// written otherwise than `pg_dump` does gives nothing here.
    pub fn note(&mut self, statement: &str) {
        if !statement.starts_with("ALTER ") {
            return;
        }
        let mut parts = parts(statement);
        let gives = parts.ends_with(&self.behind)
            && KINDS.iter().any(|kind| {
                let kind = kind.iter().map(|it| keyword(it));
                parts[1..]
                    .iter()
                    .zip(kind)
                    .all(|(one, other)| *one == other)
            });
        if gives {
            parts.truncate(parts.len() - self.behind.len());
            parts.remove(0);
            self.all.insert(parts);
        }
    }

    /// Whether the subject, of one of these kinds, is the role's.
    pub(super) fn has(&self, kinds: &[&[&str]], subject: &[Part]) -> bool {
        kinds.iter().any(|kind| {
            let kind = kind.iter().map(|it| keyword(it));
            let wanted: Vec<_> = kind.chain(subject.iter().cloned()).collect();
            self.all.contains(&wanted)
        })
    }
}

fn keyword(word: &str) -> Part {
    Part::Keyword(word.to_owned())
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

    #[test]
    fn only_what_was_given_to_the_role_is_kept() {
        let mut given = Given::to("x".into());
        for statement in [
            "ALTER TABLE public.t OWNER TO x",
            "ALTER TABLE public.t OWNER TO \"x\"",
            "ALTER FOREIGN TABLE public.f OWNER TO x",
            "ALTER TABLE public.t OWNER TO y",
            "ALTER SEQUENCE public.s OWNER TO x",
            "ALTER LARGE OBJECT 7 OWNER TO x",
            "ALTER OWNER TO x",
            "ALTER ",
            "CREATE TABLE t OWNER TO x",
        ] {
            given.note(statement);
        }
        assert_eq!(given.all.len(), 2, "{given:?}");
        assert!(given.has(&[&["VIEW"], &["TABLE"]], &parts("public.t")));
        assert!(given.has(&[&["FOREIGN", "TABLE"]], &parts("public.f")));
        assert!(!given.has(&[&["TABLE"]], &parts("public.f")));
    }

    proptest! {
        #[test]
        fn a_name_in_quotes_is_that_name(name: String, text: String) {
            prop_assert_eq!(parts(&sql::identifier(&name)), vec![Part::Name(name)]);
            parts(&text);
        }
    }
}
