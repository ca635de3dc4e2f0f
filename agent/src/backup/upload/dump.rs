//! What a foreign dump says of itself, and the manifest that is made of it.
//! Pure.
//!
//! The head of the custom format (PostgreSQL `src/bin/pg_dump/pg_backup_archiver.c`,
//! `ReadHead`): `PGDMP`, version (3 bytes), size of integers, size of offsets,
//! format; the compression (before 1.15 an integer, since then a byte); seven
//! integers of the time; then the texts database, server version, version of
//! `pg_dump`. Integers are a sign and little-endian bytes, texts an integer
//! and so many bytes.

use jiff::Timestamp;
use strongroom_postgres::{
    inventory::Locale,
    logical::manifest::{
        DumpedDatabase, FORMAT, KIND, Manifest, Properties, SCRIPT_KIND, Selection,
    },
};
use strongroom_spec::UploadFormat;

use super::{DATABASES, UploadError, UploadSource};

const MAGIC: &[u8] = b"PGDMP";
const GZIP: &[u8] = b"\x1f\x8b";
/// The custom format, in the byte of the format.
const CUSTOM: u8 = 1;
/// The longest text of a head that is believed.
const MAX_TEXT: usize = 256;

/// What a dump says of itself; SQL says nothing that could be relied on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    server: String,
    program: String,
}

/// What a format is called.
pub(super) fn describe(format: UploadFormat) -> &'static str {
    match format {
        UploadFormat::File => "a file",
        UploadFormat::Sql => "plain SQL",
        UploadFormat::SqlGzip => "SQL compressed by gzip",
        UploadFormat::Custom => "a dump in the custom format of pg_dump",
    }
}

/// Whether the first bytes of a file are those of the format.
pub(super) fn check(format: UploadFormat, head: &[u8]) -> Result<Known, UploadError> {
    let refuse = |problem: &str| {
        Err(UploadError::Format {
            expected: describe(format),
            problem: problem.into(),
        })
    };
    match format {
        UploadFormat::Sql if head.starts_with(MAGIC) => refuse("it begins like the custom format"),
        UploadFormat::Sql if head.starts_with(GZIP) => refuse("it begins like gzip"),
        UploadFormat::SqlGzip if !head.starts_with(GZIP) => refuse("it does not begin like gzip"),
        UploadFormat::File | UploadFormat::Sql | UploadFormat::SqlGzip => Ok(Known::default()),
        UploadFormat::Custom => match read_head(head) {
            Some(known) => Ok(known),
            None if head.starts_with(MAGIC) => refuse("its head is damaged"),
            None => refuse("it does not begin like one"),
        },
    }
}

fn read_head(head: &[u8]) -> Option<Known> {
    let mut left = head.strip_prefix(MAGIC)?;
    let [major, minor, _] = *left.split_off(..3)?.first_chunk::<3>()?;
    let [integers, _, format] = *left.split_off(..3)?.first_chunk::<3>()?;
    if format != CUSTOM || !(1..=8).contains(&integers) {
        return None;
    }
    let size = usize::from(integers);
    if (major, minor) >= (1, 15) {
        left.split_off(..1)?;
    } else {
        integer(&mut left, size)?;
    }
    for _ in 0..7 {
        integer(&mut left, size)?;
    }
    let _database = text(&mut left, size)?;
    Some(Known {
        server: text(&mut left, size)?,
        program: text(&mut left, size)?,
    })
}

fn integer(left: &mut &[u8], size: usize) -> Option<i64> {
    let (sign, bytes) = left.split_off(..=size)?.split_first()?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    match sign {
        0 => Some(value),
        1 => value.checked_neg(),
        _ => None,
    }
}

fn text(left: &mut &[u8], size: usize) -> Option<String> {
    let length = integer(left, size)?;
    // -1: no text.
    let length = usize::try_from(length.max(0)).ok()?;
    let bytes = left.split_off(..length)?;
    (length <= MAX_TEXT).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// The number before the first dot; 0 when there is none.
fn major(version: &str) -> u32 {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// What restores go by. Rows, roles and extensions are not known: nothing can
/// be compared, and nothing refused beforehand.
pub(super) fn manifest(
    source: &UploadSource,
    file: &str,
    bytes: u64,
    known: &Known,
    time: Timestamp,
) -> Manifest {
    Manifest {
        format: FORMAT,
        kind: match source.format {
            UploadFormat::Custom => KIND.into(),
            _ => SCRIPT_KIND.into(),
        },
        connection: String::new(),
        server_version: known.server.clone(),
        server_major: major(&known.server),
        system_identifier: None,
        standby: false,
        pg_dump_version: known.program.clone(),
        pg_dump_major: major(&known.program),
        started: time.to_string(),
        finished: time.to_string(),
        selection: Selection::default(),
        globals: None,
        globals_missing: None,
        foreign: true,
        databases: vec![DumpedDatabase {
            name: source.database.clone(),
            path: format!("/{DATABASES}/{file}"),
            bytes,
            size_on_server: None,
            // What every server has and every text fits in.
            locale: Locale {
                encoding: "UTF8".into(),
                collate: "C".into(),
                ctype: "C".into(),
                provider: "libc".into(),
                name: None,
                icu_rules: None,
            },
            properties: Properties {
                owner: String::new(),
                connection_limit: -1,
                comment: None,
                settings: Vec::new(),
                privileges: None,
                tablespace: None,
                template: false,
            },
            seconds: 0.0,
            extensions: Vec::new(),
            schemas: Vec::new(),
            roles: Vec::new(),
            tablespaces: Vec::new(),
            relations: Vec::new(),
            large_objects: 0,
        }],
        missing: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `pg_dump` of 15 writes it: version 1.14, integers of 4 bytes.
    fn head(minor: u8, compression: &[u8]) -> Vec<u8> {
        let mut head = b"PGDMP".to_vec();
        head.extend([1, minor, 0, 4, 8, CUSTOM]);
        head.extend(compression);
        for _ in 0..7 {
            head.extend([0, 1, 0, 0, 0]);
        }
        for text in ["orders", "15.18 (Debian)", "16.2"] {
            head.extend([0, text.len() as u8, 0, 0, 0]);
            head.extend(text.as_bytes());
        }
        head
    }

    #[test]
    fn a_head_tells_the_versions() {
        for head in [head(14, &[1, 1, 0, 0, 0]), head(16, &[0])] {
            let known = check(UploadFormat::Custom, &head).unwrap();
            assert_eq!(known.server, "15.18 (Debian)");
            assert_eq!((major(&known.server), major(&known.program)), (15, 16));
            for length in 0..head.len() {
                let cut = check(UploadFormat::Custom, &head[..length]);
                assert!(cut.is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let mut long = head(14, &[0; 5]);
        let at = 5 + 6 + 5 + 7 * 5;
        long[at..at + 5].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0x7f]);
        assert!(check(UploadFormat::Custom, &long).is_err());
        long[at] = 1;
        // Negative: no text, and what follows is read as the next length.
        assert!(check(UploadFormat::Custom, &long).is_err());
        let mut wide = head(14, &[0; 5]);
        wide[8] = 255;
        assert!(check(UploadFormat::Custom, &wide).is_err());
    }

    #[test]
    fn what_is_something_else_is_refused_by_name() {
        for (format, head, says) in [
            (UploadFormat::Sql, &b"PGDMP"[..], "like the custom format"),
            (UploadFormat::Sql, b"\x1f\x8b\x08", "like gzip"),
            (UploadFormat::SqlGzip, b"SELECT 1;", "not begin like gzip"),
            (UploadFormat::Custom, b"SELECT 1;", "not begin like one"),
            (UploadFormat::Custom, b"PGDMP\x01", "damaged"),
        ] {
            let error = check(format, head).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(check(UploadFormat::Sql, b"-- a dump").is_ok());
        assert!(check(UploadFormat::File, b"PGDMP").is_ok());
    }
}
