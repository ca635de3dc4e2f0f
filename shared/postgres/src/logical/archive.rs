//! The rows in a dump of `pg_dump`'s custom format, summed while the dump goes
//! by. Pure.
//!
//! The format (PostgreSQL `src/bin/pg_dump/pg_backup_archiver.c` and
//! `pg_backup_custom.c`): a head, a table of contents, and one block for each
//! table's rows and for large objects. A block is made of pieces with their
//! lengths, and a length of 0 ends it. Numbers are a byte for the sign and, as
//! a rule, four from the lowest up.
//!
//! This reads what `--compress=0` writes; of anything else it says that it
//! cannot, which is no reason to lose a dump.

use std::{collections::HashMap, mem};

use super::sum::{RowHasher, RowSum};

/// Versions of the format that are known, as major and minor: those of
/// PostgreSQL 12 to 18.
const KNOWN: std::ops::RangeInclusive<(u8, u8)> = (1, 14)..=(1, 16);
/// Bytes of one entry at most.
const MAX_ENTRY: usize = 64 << 20;
/// Kinds of blocks.
const ROWS: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// Why a dump was not summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Of a pg_dump that is not known yet.
    #[error("its format, {0}.{1}, is not known to this agent")]
    Version(u8, u8),
    /// Not as `pg_dump` writes it.
    #[error("it is not what a pg_dump writes that does not compress: {0}")]
    Shape(&'static str),
}

/// The rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSum {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// In the order in which the dump has them.
    pub columns: Vec<String>,
    /// Its rows.
    pub sum: RowSum,
}

/// Reads a dump that comes in pieces.
#[derive(Debug, Default)]
pub struct ArchiveReader {
    state: State,
    /// Bytes of something that is not complete.
    pending: Vec<u8>,
    /// No look at `pending` is worth it before it has so many.
    enough: usize,
    format: Format,
    /// By the entry's number.
    tables: HashMap<i64, TableSum>,
    failed: Option<ArchiveError>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Format {
    version: (u8, u8),
    integer: usize,
    offset: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Contents {
        left: u64,
    },
    /// Between two blocks.
    Between,
    /// Before a piece's length.
    Rows(Box<Rows>),
    /// In a piece.
    Piece {
        rows: Box<Rows>,
        left: usize,
    },
    /// Before a large object's number.
    LargeObjects,
    /// Before a length in one.
    LargeObject,
    LargeObjectPiece {
        left: usize,
    },
}

#[derive(Debug)]
struct Rows {
    entry: i64,
    hasher: RowHasher,
}

impl ArchiveReader {
    /// More of the dump, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.read(bytes, false) {
            self.failed = Some(error);
            self.pending = Vec::new();
        }
    }

    /// To be called behind the last piece: the tables whose rows the dump has.
    pub fn finish(mut self) -> Result<Vec<TableSum>, ArchiveError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.read(&[], true)?;
        match self.state {
            State::Between if self.pending.is_empty() => {
                let seen = self.tables.into_values();
                Ok(seen.filter(|it| it.sum.rows < u64::MAX).collect())
            }
            _ => Err(ArchiveError::Shape("it ends in the middle")),
        }
    }

    fn read(&mut self, bytes: &[u8], all: bool) -> Result<(), ArchiveError> {
        let joined;
        let mut input = bytes;
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            if self.pending.len() < self.enough && !all {
                return Ok(());
            }
            joined = mem::take(&mut self.pending);
            input = &joined;
        }
        while !input.is_empty() {
            let Some(used) = self.step(input)? else {
                if input.len() > MAX_ENTRY {
                    return Err(ArchiveError::Shape("an entry is too long"));
                }
                self.pending = input.to_vec();
                // Twice as much: nothing is copied again and again.
                self.enough = input.len() * 2;
                return Ok(());
            };
            input = &input[used..];
        }
        Ok(())
    }

    /// Takes something from the front of `input`, and says how many bytes;
    /// `None`: it is not all there.
    fn step(&mut self, input: &[u8]) -> Result<Option<usize>, ArchiveError> {
        let mut cursor = Cursor {
            bytes: input,
            at: 0,
            format: self.format,
        };
        match mem::take(&mut self.state) {
            State::Head => {
                let Some((format, left)) = cursor.head()? else {
                    return Ok(None);
                };
                self.format = format;
                self.state = contents(left);
            }
            State::Contents { left } => {
                let Some((number, table)) = cursor.entry() else {
                    self.state = State::Contents { left };
                    return Ok(None);
                };
                if let Some(table) = table {
                    self.tables.insert(number, table);
                }
                self.state = contents(left - 1);
            }
            State::Between => {
                let (Some(kind), Some(entry)) = (cursor.byte(), cursor.integer()) else {
                    self.state = State::Between;
                    return Ok(None);
                };
                self.state = match kind {
                    ROWS => State::Rows(Box::new(Rows {
                        entry,
                        hasher: RowHasher::default(),
                    })),
                    LARGE_OBJECTS => State::LargeObjects,
                    _ => return Err(ArchiveError::Shape("an unknown block")),
                };
            }
            State::Rows(rows) => {
                let Some(length) = cursor.integer() else {
                    self.state = State::Rows(rows);
                    return Ok(None);
                };
                self.state = match usize::try_from(length) {
                    Ok(0) => {
                        if let Some(table) = self.tables.get_mut(&rows.entry) {
                            table.sum = rows.hasher.sum();
                        }
                        State::Between
                    }
                    Ok(left) => State::Piece { rows, left },
                    Err(_) => return Err(ArchiveError::Shape("a negative length")),
                };
            }
            State::Piece { mut rows, left } => {
                let taken = left.min(input.len());
                rows.hasher.feed(&input[..taken]);
                self.state = match left - taken {
                    0 => State::Rows(rows),
                    left => State::Piece { rows, left },
                };
                return Ok(Some(taken));
            }
            State::LargeObjects => {
                self.state = match cursor.integer() {
                    None => {
                        self.state = State::LargeObjects;
                        return Ok(None);
                    }
                    Some(0) => State::Between,
                    Some(_) => State::LargeObject,
                };
            }
            State::LargeObject => {
                let Some(length) = cursor.integer() else {
                    self.state = State::LargeObject;
                    return Ok(None);
                };
                self.state = match usize::try_from(length) {
                    Ok(0) => State::LargeObjects,
                    Ok(left) => State::LargeObjectPiece { left },
                    Err(_) => return Err(ArchiveError::Shape("a negative length")),
                };
            }
            State::LargeObjectPiece { left } => {
                let taken = left.min(input.len());
                self.state = match left - taken {
                    0 => State::LargeObject,
                    left => State::LargeObjectPiece { left },
                };
                return Ok(Some(taken));
            }
        }
        Ok(Some(cursor.at))
    }
}

fn contents(left: u64) -> State {
    match left {
        0 => State::Between,
        left => State::Contents { left },
    }
}

/// Reads from the front; `None`: it is not all there.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    format: Format,
}

impl<'b> Cursor<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|it| it[0])
    }

    fn integer(&mut self) -> Option<i64> {
        let negative = self.byte()? != 0;
        let mut value: i64 = 0;
        for (place, byte) in self.take(self.format.integer)?.iter().enumerate() {
            value |= i64::from(*byte) << (8 * place);
        }
        Some(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }

    /// `None` inside: no text, which is not an empty one.
    #[expect(
        clippy::option_option,
        reason = "the outer one is the end of the bytes"
    )]
    fn text(&mut self) -> Option<Option<&'b [u8]>> {
        match usize::try_from(self.integer()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }

    fn texts(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.text()?;
        }
        Some(())
    }

    /// The head, with the number of entries.
    fn head(&mut self) -> Result<Option<(Format, u64)>, ArchiveError> {
        let Some(head) = self.take(11) else {
            return Ok(None);
        };
        let (magic, rest) = head.split_at(5);
        if magic != b"PGDMP" {
            return Err(ArchiveError::Shape("it does not begin like one"));
        }
        let version = (rest[0], rest[1]);
        if !KNOWN.contains(&version) {
            return Err(ArchiveError::Version(version.0, version.1));
        }
        self.format = Format {
            version,
            integer: rest[3].into(),
            offset: rest[4].into(),
        };
        if rest[5] != 1 || !(1..=7).contains(&rest[3]) {
            return Err(ArchiveError::Shape("another format"));
        }
        let compression = if version >= (1, 15) {
            self.byte().map(i64::from)
        } else {
            self.integer()
        };
        if compression.is_some_and(|it| it != 0) {
            return Err(ArchiveError::Shape("it is compressed"));
        }
        // When it was made, of what, by which versions.
        let mut rest = || {
            compression?;
            for _ in 0..7 {
                self.integer()?;
            }
            self.texts(3)?;
            self.integer()
        };
        let Some(count) = rest() else {
            return Ok(None);
        };
        let count = u64::try_from(count).map_err(|_| ArchiveError::Shape("a negative count"))?;
        Ok(Some((self.format, count)))
    }

    /// One entry: its number, and the table whose rows it is.
    fn entry(&mut self) -> Option<(i64, Option<TableSum>)> {
        let number = self.integer()?;
        let _has_data = self.integer()?;
        self.texts(2)?;
        let name = self.text()?;
        let kind = self.text()?;
        let _section = self.integer()?;
        self.texts(2)?;
        let copy = self.text()?;
        let schema = self.text()?;
        // Tablespace and access method.
        self.texts(2)?;
        if self.format.version >= (1, 16) {
            let _kind_of_relation = self.integer()?;
        }
        // Owner, and whether it has OIDs.
        self.texts(2)?;
        while self.text()?.is_some() {}
        let _place = self.take(1 + self.format.offset)?;
        let table = (kind == Some(b"TABLE DATA"))
            .then(|| table(schema?, name?, copy?))
            .flatten();
        Some((number, table))
    }
}

/// Of a statement such as `COPY "public"."t" ("a", "b") FROM stdin;`.
fn table(schema: &[u8], name: &[u8], copy: &[u8]) -> Option<TableSum> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let (schema, name, copy) = (text(schema)?, text(name)?, text(copy)?);
    let qualified = crate::sql::qualified(&schema, &name);
    let behind = copy.strip_prefix("COPY ")?.strip_prefix(&qualified)?;
    let list = behind.trim().strip_suffix("FROM stdin;")?.trim();
    let columns = match list.strip_prefix('(') {
        None if list.is_empty() => Vec::new(),
        None => return None,
        Some(list) => names(list.strip_suffix(')')?)?,
    };
    Some(TableSum {
        schema,
        name,
        columns,
        // Until its rows are seen.
        sum: RowSum {
            rows: u64::MAX,
            sum: 0,
        },
    })
}

/// Names in quotes, with commas between.
fn names(mut list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    loop {
        let mut name = String::new();
        list = list.trim_start().strip_prefix('"')?;
        loop {
            let (part, rest) = list.split_once('"')?;
            name.push_str(part);
            let Some(doubled) = rest.strip_prefix('"') else {
                list = rest;
                break;
            };
            name.push('"');
            list = doubled;
        }
        names.push(name);
        if list.is_empty() {
            return Some(names);
        }
        list = list.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(value: i32) -> Vec<u8> {
        let mut bytes = vec![u8::from(value < 0)];
        bytes.extend(value.unsigned_abs().to_le_bytes());
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = integer(text.len().try_into().unwrap());
        bytes.extend(text.as_bytes());
        bytes
    }

    /// As `pg_dump` writes it: a function, and two tables, one of which has no
    /// rows in the dump.
    fn dump(minor: u8) -> Vec<u8> {
        let mut all = b"PGDMP".to_vec();
        all.extend([1, minor, 0, 4, 8, 1]);
        if minor >= 15 {
            all.push(0);
        } else {
            all.extend(integer(0));
        }
        for _ in 0..7 {
            all.extend(integer(5));
        }
        for it in ["shop", "15.18", "15.18"] {
            all.extend(text(it));
        }
        all.extend(integer(3));
        for (number, kind, name, copy) in [
            (7, "FUNCTION", "f()", ""),
            (
                8,
                "TABLE DATA",
                "t",
                "COPY \"app\".\"t\" (\"a\", \"it's \"\"q\"\", x\") FROM stdin;\n",
            ),
            (
                9,
                "TABLE DATA",
                "none",
                "COPY \"app\".\"none\"  FROM stdin;\n",
            ),
        ] {
            all.extend(integer(number));
            all.extend(integer(1));
            for it in ["1259", "16402", name, kind] {
                all.extend(text(it));
            }
            all.extend(integer(2));
            for it in ["CREATE", "DROP", copy, "app", "", "heap"] {
                all.extend(text(it));
            }
            if minor >= 16 {
                all.extend(integer(i32::from(b'r')));
            }
            for it in ["me", "false", "6", "5"] {
                all.extend(text(it));
            }
            all.extend(integer(-1));
            all.extend([0; 9]);
        }
        all.push(LARGE_OBJECTS);
        all.extend(integer(6));
        for it in [16500, 3] {
            all.extend(integer(it));
        }
        all.extend(b"abc");
        for it in [0, 0] {
            all.extend(integer(it));
        }
        all.push(ROWS);
        all.extend(integer(8));
        for piece in ["1\tx\n", "2\ty\n3", "\tz\n", "\\.\n\n\n"] {
            all.extend(text(piece));
        }
        all.extend(integer(0));
        all
    }

    fn sums(dump: &[u8], piece: usize) -> Result<Vec<TableSum>, ArchiveError> {
        let mut reader = ArchiveReader::default();
        for piece in dump.chunks(piece) {
            reader.feed(piece);
        }
        reader.finish()
    }

    #[test]
    fn rows_are_summed_whatever_the_version_and_the_pieces() {
        let mut hasher = RowHasher::default();
        hasher.feed(b"3\tz\n1\tx\n2\ty\n");
        let wanted = TableSum {
            schema: "app".into(),
            name: "t".into(),
            columns: vec!["a".into(), "it's \"q\", x".into()],
            sum: hasher.sum(),
        };
        for minor in 14..=16 {
            let dump = dump(minor);
            for piece in [1, 2, 3, 7, 64, dump.len()] {
                let found = sums(&dump, piece);
                assert_eq!(found, Ok(vec![wanted.clone()]), "{minor} {piece}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        let good = dump(14);
        assert_eq!(sums(&dump(17), 64), Err(ArchiveError::Version(1, 17)));
        for cut in [3, 200, good.len() - 1] {
            assert!(sums(&good[..cut], 64).is_err(), "{cut}");
        }
        let mut compressed = good.clone();
        compressed[12] = 6;
        assert!(matches!(sums(&compressed, 64), Err(ArchiveError::Shape(_))));
        assert!(matches!(
            sums(b"-- PostgreSQL dump", 4),
            Err(ArchiveError::Shape(_))
        ));
        assert_eq!(
            sums(b"", 4),
            Err(ArchiveError::Shape("it ends in the middle"))
        );
        let mut odd = good;
        odd.extend([9; 20]);
        assert!(sums(&odd, 64).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let good = dump(16);
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = good.clone();
                broken[at] = byte;
                let _whatever = sums(&broken, 50);
            }
        }
    }
}
