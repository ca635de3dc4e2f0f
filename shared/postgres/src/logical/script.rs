//! A script of SQL, cut into what the protocol takes: statements, and the rows
//! of `COPY … FROM stdin`. Pure.
//!
//! `psql` would run what a script asks it to run on its own host, so it is not
//! used. What is cut here is sent to the server and can do there what the role
//! may do, and nothing anywhere else.
//!
//! Where a statement ends is decided as by `psql` (PostgreSQL
//! `src/fe_utils/psqlscan.l`): by the first semicolon that is in no text, name,
//! comment, parentheses or body of a function written in SQL.

mod error;
mod words;

use std::mem;

pub use error::ScriptError;
use words::Words;

/// Bytes of one statement at most.
const MAX_STATEMENT: usize = 64 << 20;

/// Bytes of a command of psql that an error shows.
const MAX_SHOWN: usize = 60;

/// What `pg_dump` writes in front of the statements of an entry.
const ENTRY: [&[u8]; 2] = [b"-- Name: ", b"-- Data for Name: "];

/// Bytes of a comment that are kept.
const MAX_ABOUT: usize = 400;

/// Rows are passed on in pieces of about this many bytes.
const PIECE: usize = 256 << 10;

/// The first and the last line of what `pg_dump` writes.
const HEAD: &[u8] = b"-- PostgreSQL database dump";
const FOOT: &[u8] = b"-- PostgreSQL database dump complete";

/// A part of a script, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Complete, without its semicolon.
    Statement(Statement),
    /// Rows for the statement before, whole or cut anywhere.
    Rows(Vec<u8>),
    /// There are no more of them.
    RowsEnd,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text.
    pub text: String,
    /// Where it begins, from 1.
    pub line: u64,
    /// What to do with it.
    pub kind: StatementKind,
    /// What is lost without it.
    pub effect: Effect,
    /// What `pg_dump` says in front of it: `t p; Type: POLICY; Schema: public;
    /// Owner: me`. Names only; empty in other scripts.
    pub about: String,
}

/// See [`Statement::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// Run it.
    Plain,
    /// Run it; rows follow.
    CopyIn,
    /// Gives something to a role or takes it away: what `pg_restore` leaves
    /// out with `--no-owner` and `--no-privileges`.
    Ownership,
    /// Makes a subscription or changes one: a copy must not begin to replicate
    /// by itself.
    Subscription,
}

/// See [`Statement::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A definition, or a setting.
    Definition,
    /// Rows, or bytes of large objects; or nobody knows, as of a query that
    /// calls functions. What comes behind it may build on them.
    Rows,
    /// Where a sequence goes on.
    Sequence,
}

/// Cuts a script that comes in pieces.
#[derive(Debug)]
pub struct Splitter {
    state: State,
    /// Of the statement so far.
    text: Vec<u8>,
    words: Words,
    /// Of the byte that is looked at, from 1.
    line: u64,
    /// Where the statement begins.
    start: u64,
    /// Something of a statement has been seen, not only blanks and comments.
    begun: bool,
    parentheses: u32,
    /// The byte before, where two make something: `--`, `/*`.
    before: u8,
    /// `standard_conforming_strings = off`.
    escapes: bool,
    /// The comment or command of this line, its beginning.
    aside: Vec<u8>,
    /// See [`Statement::about`].
    about: String,
    rows: Vec<u8>,
    frame: Frame,
    /// Bytes seen, up to the length of a byte order mark.
    mark: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Top,
    LineComment,
    BlockComment {
        depth: u32,
    },
    /// In a text.
    Quote {
        escapes: bool,
    },
    /// Behind a backslash in a text.
    Escaped,
    /// Behind what may be a text's end, or half of a doubled quote.
    QuoteEnd {
        escapes: bool,
    },
    Name,
    /// Behind a dollar: perhaps the opening of a text.
    DollarTag(Vec<u8>),
    /// In a text between dollars: its delimiter, and how much of it was seen.
    Dollar {
        delimiter: Vec<u8>,
        seen: usize,
    },
    /// A command of psql, to the end of the line.
    Meta,
    /// The rest of the line of a `COPY`.
    BehindCopy,
    /// At the beginning of a line of rows, or behind its backslash, that and a
    /// dot, all that and a carriage return.
    RowStart,
    RowBackslash,
    RowDot,
    RowReturn,
    /// Elsewhere in a line of rows.
    Row,
}

/// What `pg_dump` writes around a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    None,
    Open,
    Closed,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            state: State::Top,
            text: Vec::new(),
            words: Words::default(),
            line: 1,
            start: 1,
            begun: false,
            parentheses: 0,
            before: 0,
            escapes: false,
            aside: Vec::new(),
            about: String::new(),
            rows: Vec::new(),
            frame: Frame::None,
            mark: 0,
        }
    }
}

impl Splitter {
    /// What the next `bytes` complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Item>, ScriptError> {
        let mut items = Vec::new();
        let mut left = bytes;
        while let Some((&byte, rest)) = left.split_first() {
            // Nearly all of a dump: rows, copied by the line, …
            if self.state == State::Row {
                let end = memchr::memchr(b'\n', left);
                let (line, rest) = left.split_at(end.map_or(left.len(), |end| end + 1));
                self.rows.extend_from_slice(line);
                left = rest;
                if end.is_some() {
                    self.line += 1;
                    self.state = State::RowStart;
                }
                self.pass_rows(&mut items, PIECE);
                continue;
            }
            // … and texts.
            if let State::Quote { escapes: false } = self.state {
                let end = memchr::memchr(b'\'', left).unwrap_or(left.len());
                if end > 0 {
                    let (inside, rest) = left.split_at(end);
                    self.line += memchr::memchr_iter(b'\n', inside).count() as u64;
                    self.take(inside)?;
                    left = rest;
                    continue;
                }
            }
            self.step(byte, &mut items)?;
            if byte == b'\n' {
                self.line += 1;
            }
            left = rest;
        }
        Ok(items)
    }

    /// To be called behind the last piece: whether the script is whole.
    pub fn finish(mut self) -> Result<(), ScriptError> {
        let cut = |line| Err(ScriptError::CutOff { line });
        match self.state {
            State::BehindCopy
            | State::RowStart
            | State::RowBackslash
            | State::RowDot
            | State::RowReturn
            | State::Row => return Err(ScriptError::CutOffRows { line: self.start }),
            State::LineComment => self.comment(),
            State::Meta => self.meta()?,
            State::Top => {}
            _ => return cut(self.start),
        }
        if self.begun {
            return cut(self.start);
        }
        if self.frame == Frame::Open {
            return Err(ScriptError::NoFoot);
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, items: &mut Vec<Item>) -> Result<(), ScriptError> {
        match &mut self.state {
            State::Top => return self.top(byte, items),
            State::LineComment if byte == b'\n' => {
                self.comment();
                self.state = State::Top;
                self.separate(byte)?;
            }
            State::LineComment => {
                if self.aside.len() <= MAX_ABOUT {
                    self.aside.push(byte);
                }
            }
            State::BlockComment { depth } => {
                match (self.before, byte) {
                    // Nobody closes that many, and the end will not be found.
                    (b'/', b'*') => *depth = depth.saturating_add(1),
                    (b'*', b'/') => *depth -= 1,
                    _ => {
                        self.before = byte;
                        return Ok(());
                    }
                }
                self.before = 0;
                if *depth == 0 {
                    self.state = State::Top;
                    self.separate(b' ')?;
                }
            }
            State::Quote { escapes } => {
                let escapes = *escapes;
                match byte {
                    b'\'' => self.state = State::QuoteEnd { escapes },
                    b'\\' if escapes => self.state = State::Escaped,
                    _ => {}
                }
                self.take(&[byte])?;
            }
            State::Escaped => {
                self.state = State::Quote { escapes: true };
                self.take(&[byte])?;
            }
            State::QuoteEnd { escapes } => {
                if byte == b'\'' {
                    self.state = State::Quote { escapes: *escapes };
                    return self.take(&[byte]);
                }
                self.state = State::Top;
                return self.top(byte, items);
            }
            State::Name => {
                if byte == b'"' {
                    self.state = State::Top;
                }
                self.take(&[byte])?;
            }
            State::DollarTag(tag) => {
                let letter = byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
                if byte == b'$' {
                    tag.insert(0, b'$');
                    tag.push(b'$');
                    self.state = State::Dollar {
                        delimiter: mem::take(tag),
                        seen: 0,
                    };
                } else if letter || (byte.is_ascii_digit() && !tag.is_empty()) {
                    tag.push(byte);
                } else {
                    // A parameter, or nothing.
                    self.state = State::Top;
                    return self.top(byte, items);
                }
                self.take(&[byte])?;
            }
            State::Dollar { delimiter, seen } => {
                // Dollars are at the delimiter's ends only, so that what did
                // not fit can begin it at most with the last byte.
                *seen = match delimiter.get(*seen) {
                    Some(next) if *next == byte => *seen + 1,
                    _ => usize::from(byte == b'$'),
                };
                if *seen == delimiter.len() {
                    self.state = State::Top;
                }
                self.take(&[byte])?;
            }
            State::Meta if byte == b'\n' => {
                self.meta()?;
                self.state = State::Top;
            }
            State::Meta => {
                if self.aside.len() < MAX_SHOWN {
                    self.aside.push(byte);
                }
            }
            State::BehindCopy => match byte {
                b'\n' => self.state = State::RowStart,
                b' ' | b'\t' | b'\r' => {}
                _ => return Err(ScriptError::BehindCopy { line: self.line }),
            },
            State::RowStart if byte == b'\\' => self.state = State::RowBackslash,
            State::RowBackslash if byte == b'.' => self.state = State::RowDot,
            State::RowDot if byte == b'\r' => self.state = State::RowReturn,
            State::RowDot | State::RowReturn if byte == b'\n' => {
                self.pass_rows(items, 1);
                items.push(Item::RowsEnd);
                self.state = State::Top;
            }
            State::RowStart | State::RowBackslash | State::RowDot | State::RowReturn => {
                let held: &[u8] = match self.state {
                    State::RowBackslash => b"\\",
                    State::RowDot => b"\\.",
                    State::RowReturn => b"\\.\r",
                    _ => b"",
                };
                self.rows.extend_from_slice(held);
                self.rows.push(byte);
                self.state = match byte {
                    b'\n' => State::RowStart,
                    _ => State::Row,
                };
                // Lines may all be as short as this.
                self.pass_rows(items, PIECE);
            }
            // `feed` copies it by the line.
            State::Row => self.rows.push(byte),
        }
        Ok(())
    }

    /// Outside of everything that hides a semicolon.
    fn top(&mut self, byte: u8, items: &mut Vec<Item>) -> Result<(), ScriptError> {
        if self.mark < 3 {
            let mark = b"\xef\xbb\xbf".get(self.mark) == Some(&byte);
            self.mark = if mark { self.mark + 1 } else { 3 };
            if mark {
                return Ok(());
            }
        }
        let before = mem::replace(&mut self.before, byte);
        if self.words.letter(byte) {
            return self.put(byte);
        }
        let escapes = self.words.is(b"e") || self.escapes;
        self.words.end(self.parentheses == 0);
        match (before, byte) {
            (b'-', b'-') => {
                self.text.pop();
                self.settle();
                self.before = 0;
                self.aside = b"--".to_vec();
                self.state = State::LineComment;
            }
            (b'/', b'*') => {
                self.text.pop();
                self.settle();
                self.before = 0;
                self.state = State::BlockComment { depth: 1 };
            }
            (_, b'\\') => {
                if self.begun {
                    return Err(ScriptError::Backslash { line: self.line });
                }
                self.aside = b"\\".to_vec();
                self.state = State::Meta;
            }
            (_, b';') if self.parentheses == 0 && !self.words.in_body() => {
                return self.end(items);
            }
            (_, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => return self.separate(byte),
            _ => {
                match byte {
                    b'(' => self.parentheses += 1,
                    b')' => self.parentheses = self.parentheses.saturating_sub(1),
                    b'\'' => self.state = State::Quote { escapes },
                    b'"' => self.state = State::Name,
                    b'$' => self.state = State::DollarTag(Vec::new()),
                    _ => {}
                }
                return self.put(byte);
            }
        }
        Ok(())
    }

    /// A byte of the statement.
    fn put(&mut self, byte: u8) -> Result<(), ScriptError> {
        if !self.begun {
            self.begun = true;
            self.start = self.line;
        }
        self.take(&[byte])
    }

    /// Between two words.
    fn separate(&mut self, byte: u8) -> Result<(), ScriptError> {
        if self.begun {
            self.take(&[byte])?;
        }
        Ok(())
    }

    /// The first half of a comment's opening was no part of a statement.
    fn settle(&mut self) {
        self.begun = !self.text.is_empty();
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ScriptError> {
        if self.text.len() + bytes.len() > MAX_STATEMENT {
            return Err(ScriptError::TooLong { line: self.start });
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// At a statement's semicolon.
    fn end(&mut self, items: &mut Vec<Item>) -> Result<(), ScriptError> {
        let words = mem::take(&mut self.words);
        self.before = 0;
        if !mem::take(&mut self.begun) {
            return Ok(());
        }
        let line = self.start;
        let mut text = mem::take(&mut self.text);
        text.truncate(text.trim_ascii_end().len());
        if text.contains(&0) {
            return Err(ScriptError::Nul { line });
        }
        let text = String::from_utf8(text).map_err(|_| ScriptError::Encoding { line })?;
        let kind = words.kind();
        if let Some((setting, value)) = words.setting(&text) {
            match setting {
                words::Setting::Encoding if !words::is_utf8(&value) => {
                    return Err(ScriptError::ClientEncoding {
                        line,
                        value: words::name_of_encoding(&value),
                    });
                }
                words::Setting::Encoding => {}
                words::Setting::ConformingStrings => self.escapes = words::is_off(&value),
            }
        }
        if kind == StatementKind::CopyIn {
            self.state = State::BehindCopy;
        }
        let about = self.about.clone();
        items.push(Item::Statement(Statement {
            text,
            line,
            kind,
            effect: words.effect(),
            about,
        }));
        Ok(())
    }

    /// At a comment's end: the lines that frame a dump are comments.
    fn comment(&mut self) {
        let comment = mem::take(&mut self.aside);
        let comment = comment.trim_ascii_end();
        match comment {
            HEAD => self.frame = Frame::Open,
            FOOT => self.frame = Frame::Closed,
            _ => {}
        }
        let of_entry = ENTRY.iter().find_map(|it| comment.strip_prefix(*it));
        if let Some(about) = of_entry {
            self.about = String::from_utf8_lossy(about).into_owned();
        }
    }

    /// At the end of a command of psql.
    fn meta(&mut self) -> Result<(), ScriptError> {
        let command = mem::take(&mut self.aside);
        let text = String::from_utf8_lossy(command.trim_ascii_end()).into_owned();
        let name = text.split_whitespace().next().unwrap_or_default();
        match name {
            // They frame what newer versions of pg_dump write, and forbid psql
            // what is not done here in any case.
            "\\restrict" | "\\unrestrict" => Ok(()),
            "\\connect" | "\\c" => Err(ScriptError::Connect { line: self.line }),
            _ => Err(ScriptError::Meta {
                line: self.line,
                command: name_of_command(name),
            }),
        }
    }

    fn pass_rows(&mut self, items: &mut Vec<Item>, least: usize) {
        if self.rows.len() >= least {
            items.push(Item::Rows(mem::take(&mut self.rows)));
        }
    }
}

/// The command alone: what follows it, and what only looks like one, may be a
/// secret.
fn name_of_command(word: &str) -> String {
    let letters = word.trim_start_matches('\\');
    let known = letters == "!" || letters == "?" || is_plain(letters);
    if known {
        word.to_owned()
    } else {
        "\\…".to_owned()
    }
}

/// Of letters, and no more of them than a command of psql has.
fn is_plain(word: &str) -> bool {
    (1..=16).contains(&word.len())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests;
