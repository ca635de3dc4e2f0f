//! Fuzz targets: servers, their files, and what was dumped from them.

use std::collections::BTreeSet;

use crate::{
    connection::{Address, Service},
    logical::{
        manifest::{self, file_name},
        pattern::pattern,
        roles,
        script::{Item, ScriptError, Splitter},
        toc::{self, Wanted},
    },
    physical::{
        self, Lsn, SegmentName, SegmentSize, TimelineId,
        control::{ControlFile, crc32c},
        exclude::{Place, Unlogged, verdict},
        label::{BackupLabel, parse_tablespace_map, write_tablespace_map},
        names::{RelationFile, oid},
        page, u32_at,
        wal::check_segment,
    },
    version::program_version,
    wal::History,
};
pub use crate::{
    replication::fuzz::replication_messages,
    server_words::fuzz::server_words,
    wal::fuzz::{wal_log, wal_record},
};

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A control file, as it is and with a checksum that fits.
pub fn pg_control(data: &[u8]) {
    let _ = ControlFile::parse(data);
    let mut fitting = data.to_vec();
    let at = if u32_at(data, 8) == Some(1800) {
        292
    } else {
        288
    };
    if let Some((body, sum)) = fitting
        .get_mut(..at + 4)
        .and_then(|it| it.split_last_chunk_mut())
    {
        *sum = crc32c(body).to_le_bytes();
        if let Ok(control) = ControlFile::parse(&fitting) {
            assert!(control.block_size.is_power_of_two());
            assert!(control.relation_segment_pages > 0);
            let _ = control.tablespace_directory(15);
        }
    }
}

/// The first bytes of a segment of the log.
pub fn wal_segment_header(data: &[u8]) {
    let control = ControlFile {
        system_identifier: 7_412_345_678_901_234_567,
        control_version: 1300,
        catalog_version: 202_209_061,
        state: physical::control::ClusterState::InProduction,
        checkpoint: Lsn(0),
        redo: Lsn(0),
        timeline: TimelineId(1),
        min_recovery_point: Lsn(0),
        min_recovery_timeline: TimelineId(0),
        block_size: 8192,
        relation_segment_pages: 131_072,
        wal_block_size: 8192,
        wal_segment_size: SegmentSize::new(16 << 20).unwrap(),
        checksum_version: 1,
    };
    let name = SegmentName {
        timeline: TimelineId(1),
        number: 5,
    };
    for major in 12..20 {
        let _ = check_segment(data, name, &control, major);
    }
}

/// A page of a relation.
pub fn relation_page(data: &[u8]) {
    let _ = page::verify(data, 7, Lsn(1 << 32));
    let _ = page::position(data);
}

/// Names in a data directory: a name of a file, and what its place makes of it.
pub fn data_directory_names(data: &[u8]) {
    let names: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let unlogged = Unlogged::among(names.iter().copied());
    for name in names {
        let _ = (RelationFile::parse(name), oid(name));
        for place in [Place::Root, Place::Global, Place::Database, Place::Other] {
            let _ = verdict(place, name, &unlogged);
        }
    }
}

/// `backup_label`.
pub fn backup_label(data: &[u8]) {
    let _ = BackupLabel::parse(&text(data));
}

/// `tablespace_map`: what was understood reads back as it is written.
pub fn tablespace_map(data: &[u8]) {
    if let Ok(tablespaces) = parse_tablespace_map(&text(data)) {
        let written = write_tablespace_map(&tablespaces);
        assert_eq!(parse_tablespace_map(&written), Ok(tablespaces));
    }
}

/// A timeline's history file. Its spans are one behind the other.
pub fn timeline_history(data: &[u8]) {
    let Ok(history) = History::parse(TimelineId(9), data) else {
        return;
    };
    let mut next = Lsn(0);
    for span in history.spans() {
        assert_eq!(span.from, next);
        assert_eq!(history.span(span.timeline), Some(span));
        next = span.until.unwrap_or(Lsn(u64::MAX));
        assert!(span.from <= next);
        if span.from < next {
            assert_eq!(history.timeline_at(span.from), span.timeline);
        }
    }
}

/// A script of SQL, whole and in pieces of as many bytes as the first byte
/// says.
pub fn sql_script(data: &[u8]) {
    let Some((size, script)) = data.split_first() else {
        return;
    };
    let pieces = script.chunks(usize::from(*size).max(1));
    assert_eq!(items(pieces), items([script]));
}

/// Rows that were cut differently are the same.
fn items<'s>(pieces: impl IntoIterator<Item = &'s [u8]>) -> Result<Vec<Item>, ScriptError> {
    let mut splitter = Splitter::default();
    let mut items: Vec<Item> = Vec::new();
    for piece in pieces {
        for item in splitter.feed(piece)? {
            match (items.last_mut(), item) {
                (Some(Item::Rows(before)), Item::Rows(more)) => before.extend(more),
                (_, item) => items.push(item),
            }
        }
    }
    splitter.finish()?;
    Ok(items)
}

/// What `pg_restore` lists. Everything in it can be chosen, alone and with
/// what it needs, which is never less.
pub fn pg_restore_list(data: &[u8]) {
    let entries = toc::parse(&text(data));
    let tables: Vec<[String; 3]> = entries
        .iter()
        .filter(|entry| entry.kind == "TABLE")
        .filter_map(|entry| {
            let mut words = entry.rest.splitn(3, ' ').map(str::to_owned);
            Some([words.next()?, words.next()?, words.next()?])
        })
        .take(1)
        .collect();
    let wanted: Vec<_> = tables
        .iter()
        .map(|[schema, name, owner]| Wanted {
            schema,
            name,
            owner,
        })
        .collect();
    for schemas in [&[][..], &["app".to_owned()]] {
        let alone = toc::choose(&entries, &wanted, schemas, false);
        let whole = toc::choose(&entries, &wanted, schemas, true);
        let whole_ids: BTreeSet<_> = whole.ids.iter().collect();
        assert!(alone.ids.iter().all(|id| whole_ids.contains(id)));
        assert!(wanted.iter().all(|table| alone.has(table)));
        let list = crate::logical::phases::list(&whole.ids);
        assert_eq!(list.lines().count(), whole.ids.len());
    }
}

/// What `pg_dumpall` writes of roles.
pub fn globals_sql(data: &[u8]) {
    let globals = text(data);
    let all = roles::missing(&globals, &[]);
    for membership in &all.memberships {
        let _ = roles::without_grantor(membership);
    }
    let existing: Vec<_> = all.roles.iter().map(|role| role.name.clone()).collect();
    assert_eq!(roles::missing(&globals, &existing).roles, []);
}

/// The manifest of dumps: it comes back as it was read, but for a fraction of
/// a second. Names of databases make names of files.
pub fn logical_manifest(data: &[u8]) {
    let Ok(mut manifest) = manifest::Manifest::decode(data) else {
        return;
    };
    for database in &mut manifest.databases {
        database.seconds = 0.0;
        let name = file_name(&database.name);
        assert!(!name.contains('/') && (database.name.is_empty() || !name.starts_with('.')));
    }
    let written = manifest.encode().unwrap();
    assert_eq!(manifest::Manifest::decode(&written).unwrap(), manifest);
}

/// The manifest of a physical backup: it comes back as it was read.
pub fn physical_manifest(data: &[u8]) {
    if let Ok(manifest) = physical::manifest::Manifest::parse(data) {
        let again = physical::manifest::Manifest::parse(&manifest.to_json());
        assert_eq!(again.unwrap(), manifest);
    }
}

/// A pattern of names, as `pg_dump` takes it.
pub fn name_pattern(data: &[u8]) {
    let pattern = pattern(&text(data));
    assert!(pattern.name.starts_with("^(") && pattern.name.ends_with(")$"));
}

/// A connection's URL.
pub fn postgres_url(data: &[u8]) {
    if let Ok(address) = text(data).parse::<Address>() {
        assert!(address.port > 0 && !address.user.is_empty());
        let _ = address.to_string();
    }
}

/// `pg_service.conf`.
pub fn service_file(data: &[u8]) {
    if let Ok(service) = Service::find(&text(data), "shop") {
        let _ = service.address.to_string();
    }
}

/// What a program says to `--version`.
pub fn version_of_program(data: &[u8]) {
    if let Some(version) = program_version(&text(data)) {
        assert!(version.text.len() <= 160);
    }
}

#[cfg(test)]
mod runs {
    use crate::{
        logical::{manifest::tests as logical, roles::tests as globals, toc::tests as lists},
        physical::{
            control::tests::sample, label::tests as labels, manifest::tests as physical_samples,
        },
        replication::fuzz::conversations,
        wal::fuzz::{logs, records, segment_header},
    };

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    fn scripts() -> Vec<Vec<u8>> {
        texts(&[
            "\u{5}--\n-- PostgreSQL database dump\n--\n\\restrict x\nSET client_encoding = 'UTF8';\n\
             COPY public.t (a, b) FROM stdin;\n1\ta;'b\n\\\\.\n\\.x\n\\N\t--\n\n\\.\n\
             -- PostgreSQL database dump complete\n",
            "\u{3}CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 0 \
             THEN 1 ELSE 2 END; SELECT 2; END; SELECT $a$ ;$$ $a $a$;",
            "\u{1}\u{feff}SELECT E'a\\';b''\\\\', \"a;\"\"b\" /* ; /* nested; */ ' */ -- ; '\n + $1;",
            "\u{7}SET standard_conforming_strings = off;SELECT 'a\\';b';GRANT ALL ON t TO bob;\
             CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;ALTER TABLE t OWNER TO b;",
        ])
    }

    strongroom_fuzz::short_runs! {
        server_words: crate::server_words::fuzz::seeds::words(),
        pg_control: vec![sample(1300), sample(1800)],
        wal_segment_header: vec![segment_header()],
        wal_log: logs(),
        wal_record: records(),
        relation_page: vec![vec![7; 1024], vec![0; 256]],
        data_directory_names: texts(&["16384\n16384_init\n16384_fsm.3\nt4_16390\npg_wal\n16384.12"]),
        backup_label: texts(&[labels::LABEL]),
        tablespace_map: texts(&["16400 /srv/fast disk\n16401 /with\\\nline\n16402 /b\\\\s\n"]),
        timeline_history: texts(&[
            "1\t0/3000000\tno recovery target specified\n\n# a comment\n3\t16/B374D848\tbefore 2026\n",
        ]),
        replication_messages: conversations(),
        sql_script: scripts(),
        pg_restore_list: texts(&[lists::LISTING]),
        globals_sql: texts(&[globals::GLOBALS]),
        logical_manifest: vec![logical::sample().encode().unwrap()],
        physical_manifest: vec![physical_samples::manifest().to_json()],
        name_pattern: texts(&["Shop.\"Or\"\"ders\".*_?[a-z]$", "a.b.c", "int[]"]),
        postgres_url: texts(&[
            "postgres://us%20er@db.example:5433/shop?host=/run/postgresql&port=5434&user=a&dbname=b",
            "postgresql://u@[::1]:5432/",
        ]),
        service_file: texts(&[
            "# c\n[other]\nhost=x\n[shop]\nhost=/run/pg\nport = 5433\nuser=me\ndbname=shop\npassword=p\n\
             sslmode=verify-full\nsslrootcert=/ca\nsslcert=/c\nsslkey=/k\nconnect_timeout=3\n",
        ]),
        version_of_program: texts(&["pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"]),
    }
}
