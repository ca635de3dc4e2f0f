//! The words of a statement outside of texts, names in quotes and comments:
//! what it is, and whether it is a function whose body is SQL.

use std::mem;

use super::{Effect, StatementKind};

/// How many of the first words are kept.
const FIRST: usize = 5;

/// Longer words are none that mean something here.
const LONGEST: usize = 32;

/// How statements begin that change rows, or may.
const MAKES_ROWS: [&[u8]; 12] = [
    b"insert",
    b"update",
    b"delete",
    b"merge",
    b"truncate",
    b"copy",
    b"with",
    b"do",
    b"call",
    b"execute",
    b"values",
    b"table",
];

/// `CREATE FOREIGN TABLE`, `CREATE PUBLICATION … FOR TABLE`, and functions, whose
/// rows a word `TABLE` describes.
const OTHERS_WITH_TABLE: [&[u8]; 7] = [
    b"foreign",
    b"publication",
    b"function",
    b"view",
    b"rule",
    b"cast",
    b"or",
];

/// What `pg_dump` calls that makes nothing: settings, and statistics.
const ONLY_SETS: [&[u8]; 3] = [
    b"set_config",
    b"pg_restore_relation_stats",
    b"pg_restore_attribute_stats",
];

/// A parameter that decides how a script is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Encoding,
    ConformingStrings,
}

/// Words outside of parentheses that say that a table is made of a query:
/// `CREATE TABLE t AS`, `SELECT … INTO t`.
#[derive(Debug, Default)]
struct Query {
    has_as: bool,
    has_into: bool,
}

/// In lower case.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The one that is being read; empty between two.
    word: Vec<u8>,
    first: Vec<Vec<u8>>,
    last: Vec<u8>,
    from_stdin: bool,
    owner_to: bool,
    query: Query,
    /// Open `BEGIN ATOMIC` and `CASE` in a function's body.
    depth: u32,
}

impl Words {
    /// Takes a byte if it belongs to a word.
    pub(super) fn letter(&mut self, byte: u8) -> bool {
        let begins = byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        let inside = !self.word.is_empty() && (byte.is_ascii_digit() || byte == b'$');
        // A number is no word, but what follows it is not the next one's start.
        let number = self.word.is_empty() && byte.is_ascii_digit();
        if !(begins || inside || number) {
            return false;
        }
        if self.word.len() <= LONGEST {
            self.word.push(byte.to_ascii_lowercase());
        }
        true
    }

    /// Whether the word so far is `word`.
    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.word == word
    }

    /// Behind a word, or anywhere else between two; `outside`: of parentheses.
    pub(super) fn end(&mut self, outside: bool) {
        if self.word.is_empty() {
            return;
        }
        let word = mem::take(&mut self.word);
        if outside {
            if self.makes_function() {
                match word.as_slice() {
                    b"begin" => self.depth += 1,
                    b"case" if self.depth > 0 => self.depth += 1,
                    b"end" => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
            self.from_stdin |= self.last == b"from" && word == b"stdin";
            self.query.has_as |= word == b"as";
            self.query.has_into |= word == b"into";
            self.owner_to |= self.last == b"owner" && word == b"to";
        }
        if self.first.len() < FIRST {
            self.first.push(word.clone());
        }
        self.last = word;
    }

    /// Whether this is within a body that has semicolons of its own.
    pub(super) fn in_body(&self) -> bool {
        self.depth > 0
    }

    fn begins_with(&self, words: &[&str]) -> bool {
        self.first.len() >= words.len()
            && words
                .iter()
                .zip(&self.first)
                .all(|(word, first)| word.as_bytes() == first.as_slice())
    }

    fn makes_function(&self) -> bool {
        [
            &["create", "function"][..],
            &["create", "procedure"],
            &["create", "or", "replace", "function"],
            &["create", "or", "replace", "procedure"],
        ]
        .iter()
        .any(|words| self.begins_with(words))
    }

    /// What the complete statement is.
    pub(super) fn kind(&self) -> StatementKind {
        if self.begins_with(&["copy"]) && self.from_stdin {
            return StatementKind::CopyIn;
        }
        let ownership = self.begins_with(&["grant"])
            || self.begins_with(&["revoke"])
            || self.begins_with(&["alter", "default", "privileges"])
            || self.begins_with(&["set", "session", "authorization"])
            || self.begins_with(&["set", "role"])
            || self.begins_with(&["alter"]) && self.owner_to && !self.begins_with_rename();
        let subscription = ["create", "alter", "drop"]
            .iter()
            .any(|verb| self.begins_with(&[verb, "subscription"]));
        if subscription {
            StatementKind::Subscription
        } else if ownership {
            StatementKind::Ownership
        } else {
            StatementKind::Plain
        }
    }

    /// What the complete statement leaves behind.
    pub(super) fn effect(&self) -> Effect {
        let Some(first) = self.first.first() else {
            return Effect::Definition;
        };
        match first.as_slice() {
            b"select" => self.effect_of_select(),
            b"create" => {
                // `CREATE UNLOGGED TABLE t AS`, `CREATE GLOBAL TEMPORARY TABLE`.
                let kind = || self.first.iter().skip(1).map(Vec::as_slice);
                let table = kind().take(3).any(|it| it == b"table");
                let other = kind().take(2).any(|it| OTHERS_WITH_TABLE.contains(&it));
                if table && self.query.has_as && !other {
                    Effect::Rows
                } else {
                    Effect::Definition
                }
            }
            first if MAKES_ROWS.contains(&first) => Effect::Rows,
            _ => Effect::Definition,
        }
    }

    fn effect_of_select(&self) -> Effect {
        if self.query.has_into {
            return Effect::Rows;
        }
        let mut called = self.first[1..].iter().map(Vec::as_slice);
        let called = called.find(|it| ![&b"from"[..], b"pg_catalog"].contains(it));
        match called {
            Some(b"setval") => Effect::Sequence,
            Some(called) if ONLY_SETS.contains(&called) => Effect::Definition,
            _ => Effect::Rows,
        }
    }

    /// `ALTER TABLE t RENAME owner TO holder`.
    fn begins_with_rename(&self) -> bool {
        self.first.iter().any(|word| word == b"rename")
    }

    /// The parameter that `text`, this statement, sets, and to what.
    pub(super) fn setting(&self, text: &str) -> Option<(Setting, String)> {
        let setting = if self.begins_with(&["set", "client_encoding"]) {
            Setting::Encoding
        } else if self.begins_with(&["set", "standard_conforming_strings"]) {
            Setting::ConformingStrings
        } else {
            return None;
        };
        // `SET name = value` or `SET name TO value`.
        let mut parts = text.split(|c: char| c.is_whitespace() || c == '=');
        let value = parts.rfind(|part| !part.is_empty())?;
        Some((setting, value.trim_matches('\'').to_lowercase()))
    }
}

pub(super) fn is_utf8(encoding: &str) -> bool {
    let letters = encoding.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.collect();
    // Bytes as they are: each statement is looked at for itself.
    ["utf8", "unicode", "sqlascii"].contains(&name.as_str())
}

/// For messages: what is no name of an encoding is not shown.
pub(super) fn name_of_encoding(value: &str) -> String {
    let families = [
        "latin", "iso", "win", "euc", "koi8", "sjis", "shift", "big5", "gb", "johab", "uhc", "mule",
    ];
    let plain = |it: char| it.is_ascii_alphanumeric() || "_-".contains(it);
    let known = families.iter().any(|family| value.starts_with(family));
    if known && value.len() <= 20 && value.chars().all(plain) {
        value.to_owned()
    } else {
        "…".to_owned()
    }
}

pub(super) fn is_off(value: &str) -> bool {
    ["off", "false", "no", "0"].contains(&value)
}
