//! What is in a dump of `pg_dump`'s custom format, read while the dump goes by:
//! its table of contents, and the rows of each table, counted and summed. Pure.
//!
//! That takes no lock, reads nothing twice, plans nothing, and what is counted
//! is what can be restored.
//!
//! The format (PostgreSQL `src/bin/pg_dump/pg_backup_archiver.c` and
//! `pg_backup_custom.c`): a head, a table of contents, and one block for each
//! table's rows and for large objects. A block is made of pieces with their
//! lengths, and a length of 0 ends it. Numbers are a byte for the sign and, as
//! a rule, four from the lowest up.
//!
//! This reads what `--compress=0` writes; of anything else it says that it
//! cannot, which is no reason to lose a dump.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use super::sum::{RowHasher, RowSum};
use crate::name::decode;

/// Versions of the format that are known, as major and minor: those of
/// PostgreSQL 9.0 to 18.
const KNOWN: std::ops::RangeInclusive<(u8, u8)> = (1, 12)..=(1, 16);
/// Bytes of one entry at most.
const MAX_ENTRY: usize = 64 << 20;
/// `pg_class` (`pg_class.dat`).
const RELATION: u32 = 1259;
/// Kinds of blocks.
const ROWS: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// Why a dump was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Of a pg_dump that is not known yet.
    #[error("its format, {0}.{1}, is not known to this agent")]
    Version(u8, u8),
    /// Not as `pg_dump` writes it.
    #[error("it is not what a pg_dump writes that does not compress: {0}")]
    Shape(&'static str),
}

/// An object that a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectAddress {
    /// The catalog's object id; 0: rows of a table, whose own id the other is.
    pub class: u32,
    /// In that catalog.
    pub object: u32,
}

/// The rows of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpedRows {
    /// In the order in which the dump has them; `None`: not understood. Bytes as
    /// [`decode`] has them.
    pub columns: Option<Vec<String>>,
    /// The rows.
    pub sum: RowSum,
}

/// What a dump holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    /// Objects with an entry, in the dump's order.
    pub objects: Vec<ObjectAddress>,
    /// Rows of each table that has an entry for them, by the table's object id.
    pub rows: HashMap<u32, DumpedRows>,
    /// Large objects whose bytes are in it.
    pub large_objects: u64,
}

impl Archive {
    /// Object ids of relations with a definition in it.
    pub fn relations(&self) -> HashSet<u32> {
        let relations = self.objects.iter().filter(|it| it.class == RELATION);
        relations.map(|it| it.object).collect()
    }
}

/// The names of an entry, in the encoding of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryNames {
    /// The entry's number.
    pub number: u32,
    /// The object's schema, if it is in one.
    pub schema: Option<Vec<u8>>,
    /// Its name, which says more than that for some kinds: `TABLE t`.
    pub name: Vec<u8>,
}

/// The names of all entries of a dump, of which `head` is the beginning, and
/// whose rows may be compressed.
pub fn names(head: &[u8]) -> Result<Vec<EntryNames>, ArchiveError> {
    let cut = ArchiveError::Shape("it ends in the middle");
    let mut cursor = Cursor {
        bytes: head,
        at: 0,
        format: Format::default(),
    };
    let (format, count, _) = cursor.head()?.ok_or(cut)?;
    cursor.format = format;
    let mut names = Vec::new();
    for _ in 0..count {
        let entry = cursor.entry().ok_or(cut)?;
        names.extend(u32::try_from(entry.number).ok().map(|number| EntryNames {
            number,
            schema: entry.schema.map(<[u8]>::to_vec),
            name: entry.name.to_vec(),
        }));
    }
    Ok(names)
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
    found: Archive,
    /// Numbers of entries, and the tables whose rows they are.
    tables: HashMap<i64, u32>,
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

    /// To be called behind the last piece.
    pub fn finish(mut self) -> Result<Archive, ArchiveError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.read(&[], true)?;
        match self.state {
            State::Between if self.pending.is_empty() => Ok(self.found),
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
                let Some((format, left, plain)) = cursor.head()? else {
                    return Ok(None);
                };
                if !plain {
                    return Err(ArchiveError::Shape("it is compressed"));
                }
                self.format = format;
                self.state = contents(left);
            }
            State::Contents { left } => {
                let Some(entry) = cursor.entry() else {
                    self.state = State::Contents { left };
                    return Ok(None);
                };
                self.enter(entry);
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
                        let table = self.tables.get(&rows.entry);
                        let table = table.and_then(|it| self.found.rows.get_mut(it));
                        if let Some(table) = table {
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
                    Some(_) => {
                        self.found.large_objects += 1;
                        State::LargeObject
                    }
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

    fn enter(&mut self, entry: Entry<'_>) {
        let address = entry.address;
        if entry.is_rows {
            self.tables.insert(entry.number, address.object);
            // Without a block there are none.
            let rows = self.found.rows.entry(address.object).or_default();
            rows.columns = columns(entry.copy);
        }
        self.found.objects.push(address);
    }
}

#[derive(Clone, Copy)]
struct Entry<'b> {
    number: i64,
    address: ObjectAddress,
    schema: Option<&'b [u8]>,
    name: &'b [u8],
    is_rows: bool,
    /// The statement that takes the rows.
    copy: &'b [u8],
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

    /// The head: the format, the number of entries, and whether rows are not
    /// compressed.
    fn head(&mut self) -> Result<Option<(Format, u64, bool)>, ArchiveError> {
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
        Ok(Some((self.format, count, compression == Some(0))))
    }

    fn entry(&mut self) -> Option<Entry<'b>> {
        let number = self.integer()?;
        let _has_data = self.integer()?;
        let (class, object) = (self.text()?, self.text()?);
        let name = self.text()?;
        let kind = self.text()?;
        let _section = self.integer()?;
        self.texts(2)?;
        let copy = self.text()?;
        let schema = self.text()?;
        // Tablespace, and access method.
        self.texts(1 + usize::from(self.format.version >= (1, 14)))?;
        if self.format.version >= (1, 16) {
            let _kind_of_relation = self.integer()?;
        }
        // Owner, and whether it has OIDs.
        self.texts(2)?;
        while self.text()?.is_some() {}
        let _place = self.take(1 + self.format.offset)?;
        let is_rows = kind == Some(b"TABLE DATA");
        Some(Entry {
            number,
            address: ObjectAddress {
                class: oid(class),
                object: oid(object),
            },
            // There is none in the dump, and `pg_dump` writes an empty text.
            schema: schema.filter(|it| !it.is_empty()),
            name: name.unwrap_or_default(),
            is_rows,
            copy: copy.unwrap_or_default(),
        })
    }
}

fn oid(text: Option<&[u8]>) -> u32 {
    let text = text.and_then(|it| std::str::from_utf8(it).ok());
    text.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Of a statement such as `COPY "public"."t" ("a", "b") FROM stdin;`.
fn columns(copy: &[u8]) -> Option<Vec<String>> {
    let copy = decode(copy);
    let mut rest = copy.strip_prefix("COPY ")?;
    quoted_name(&mut rest)?;
    rest = rest.strip_prefix('.')?;
    quoted_name(&mut rest)?;
    let list = rest.trim().strip_suffix("FROM stdin;")?.trim();
    match list.strip_prefix('(') {
        None if list.is_empty() => Some(Vec::new()),
        None => None,
        Some(list) => quoted_names(list.strip_suffix(')')?),
    }
}

/// One name in quotes.
fn quoted_name(list: &mut &str) -> Option<String> {
    let mut name = String::new();
    *list = list.strip_prefix('"')?;
    loop {
        let (part, rest) = list.split_once('"')?;
        name.push_str(part);
        let Some(doubled) = rest.strip_prefix('"') else {
            *list = rest;
            return Some(name);
        };
        name.push('"');
        *list = doubled;
    }
}

/// Names in quotes, with commas between.
fn quoted_names(mut list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    loop {
        list = list.trim_start();
        names.push(quoted_name(&mut list)?);
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
            let class = if kind == "TABLE DATA" { "0" } else { "1255" };
            let object = (16_400 + number).to_string();
            for it in [class, &object, name, kind] {
                all.extend(text(it));
            }
            all.extend(integer(2));
            for it in ["CREATE", "DROP", copy, "app", ""] {
                all.extend(text(it));
            }
            if minor >= 14 {
                all.extend(text("heap"));
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

    fn sums(dump: &[u8], piece: usize) -> Result<Archive, ArchiveError> {
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
        let columns = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        let rows = [
            (
                16_408,
                DumpedRows {
                    columns: columns(&["a", "it's \"q\", x"]),
                    sum: hasher.sum(),
                },
            ),
            // Without a block, and without a column.
            (
                16_409,
                DumpedRows {
                    columns: columns(&[]),
                    sum: RowSum::default(),
                },
            ),
        ];
        let objects = [(1255, 16_407), (0, 16_408), (0, 16_409)];
        let objects = objects.map(|(class, object)| ObjectAddress { class, object });
        let wanted = Archive {
            objects: objects.into(),
            rows: rows.into(),
            large_objects: 1,
        };
        for minor in 12..=16 {
            let dump = dump(minor);
            let all = names(&dump).unwrap();
            let expected = [(7, "f()"), (8, "t"), (9, "none")];
            assert_eq!(
                all,
                expected.map(|(number, name)| EntryNames {
                    number,
                    schema: Some(b"app".to_vec()),
                    name: name.into(),
                })
            );
            assert!(names(&dump[..200]).is_err());
            for piece in [1, 2, 3, 7, 64, dump.len()] {
                let found = sums(&dump, piece);
                assert_eq!(found, Ok(wanted.clone()), "{minor} {piece}");
            }
        }
    }

    #[test]
    fn names_of_columns_are_bytes() {
        let copy = b"COPY \"s\"\".\".\"caf\xe9\" (\"a\xff\", \"b\") FROM stdin;\n";
        let found = columns(copy).unwrap();
        assert_eq!(found, [decode(b"a\xff"), "b".into()]);
        assert_eq!(columns(b"COPY (SELECT 1) FROM stdin;"), None);
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
        assert_eq!(names(&compressed), names(&dump(14)));
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
                let _whatever = (sums(&broken, 50), names(&broken));
            }
        }
    }
}
