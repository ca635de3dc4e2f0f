//! Records of tablespaces: found, and made into others.

use proptest::prelude::*;

use super::*;

const RM_TBLSPC: u8 = 5;

/// The data of a record that makes a tablespace.
fn creation(oid: u32, path: &[u8]) -> Vec<u8> {
    main_data(&[&oid.to_le_bytes(), path, b"\0"].concat())
}

fn creations(log: &Log) -> Vec<TablespaceCreation> {
    let tablespaces = whole(log)
        .found
        .into_iter()
        .filter_map(|found| match found {
            Found::Tablespace(creation) => Some(creation),
            _ => None,
        });
    tablespaces.collect()
}

/// The log, with the record's edits made in pieces of some size.
fn edited(log: &Log, replayed: Replayed, piece: usize) -> Vec<u8> {
    let mut edits = Edits::default();
    for creation in creations(log) {
        edits.extend(creation.edits(&layout(), replayed));
    }
    let mut bytes = log.bytes.clone();
    for (number, piece_bytes) in bytes.chunks_mut(piece).enumerate() {
        let at = Lsn(log.start + (number * piece) as u64);
        edits.apply(at, piece_bytes).unwrap();
    }
    bytes
}

#[test]
fn tablespaces_that_are_made_are_found_and_no_others() {
    let mut log = Log::new();
    let start = Lsn(log.at() + LONG_HEADER as u64);
    let body = [
        &[253, 1, 0, 252, 9, 9, 9, 9][..],
        &creation(16_400, b"/srv/sp\xe4t"),
    ]
    .concat();
    let end = log.record(RM_TBLSPC, 0, 700, &body);
    log.record(RM_TBLSPC, 0x10, 701, &main_data(&16_400_u32.to_le_bytes()));
    log.record(RM_TBLSPC, 0, 702, &creation(16_401, b""));
    let found = creations(&log);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].start, found[0].end), (start, end));
    assert_eq!(
        (found[0].oid, &found[0].path[..]),
        (16_400, &b"/srv/sp\xe4t"[..])
    );
    assert!(found[1].is_in_place());
    for replayed in [Replayed::AtItsPath, Replayed::InPlace] {
        assert_eq!(found[1].edits(&layout(), replayed), []);
    }
    assert_eq!(found[0].edits(&layout(), Replayed::AtItsPath), []);
}

#[test]
fn what_no_server_writes_is_refused() {
    for data in [
        &b"\x10\x40\0\0"[..],
        b"\x10\x40\0\0/unended",
        b"\x10\x40\0\0relative\0",
        b"\x10\x40\0\0/two\0strings\0",
        b"\x10\x40\0\0\0\0strings\0",
        b"\x10\x40\0",
        &[b'/'; 3000],
    ] {
        let mut log = Log::new();
        log.record(RM_TBLSPC, 0, 7, &main_data(data));
        let wanted = Fault::Record("creation of a tablespace");
        assert_eq!(fault(&log).1, wanted, "{data:?}");
    }
}

#[test]
fn resource_managers_of_extensions_are_noted() {
    let mut log = Log::new();
    for manager in [10, 127, 128, 255, 130, 128] {
        log.record(manager, 0, 7, &main_data(b"data"));
    }
    let mut scanner = Scanner::new(layout(), TimelineId(1), Lsn(START)).unwrap();
    scanner.feed(&log.bytes, &mut Vec::new()).unwrap();
    assert_eq!(
        scanner.custom_managers().collect::<Vec<_>>(),
        [128, 130, 255]
    );
}

#[test]
fn another_log_is_not_edited() {
    let mut log = Log::new();
    log.record(RM_TBLSPC, 0, 700, &creation(16_400, b"/srv"));
    let mut edits = Edits::default();
    edits.extend(creations(&log)[0].edits(&layout(), Replayed::InPlace));
    let edit = *edits.within(Lsn(0), Lsn(u64::MAX)).next().unwrap();
    let mut other = [edit.from ^ 0x55];
    if other[0] == edit.to {
        other[0] ^= 0x0F;
    }
    assert_eq!(
        edits.apply(edit.at, &mut other),
        Err(Unexpected { at: edit.at })
    );
    // What is edited already stays so.
    for mut byte in [[edit.from], [edit.to]] {
        edits.apply(edit.at, &mut byte).unwrap();
        assert_eq!(byte, [edit.to]);
    }
}

proptest! {
    // Half of the logs are longer than a segment.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever such a record lies, over however many pages and segments, it
    /// becomes one that is as valid, and comes back as it was.
    #[test]
    fn records_are_emptied_and_filled_again(
        before in 0..20_000_usize,
        near_the_end in any::<bool>(),
        paths in prop::collection::vec("/[a-z/]{0,1000}", 1..4),
        piece in 1..9000_usize,
    ) {
        let mut log = Log::new();
        if near_the_end {
            // Over the boundary of two segments.
            log.filler(SEGMENT as usize - 40_000);
        }
        log.filler(before);
        for path in &paths {
            log.record(RM_TBLSPC, 0, 7, &creation(16_400, path.as_bytes()));
            log.filler(before % 300);
        }
        let found = creations(&log);
        let all: Vec<_> = found.iter().map(|it| it.path.clone()).collect();
        prop_assert_eq!(all, paths.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>());

        let emptied = Log { bytes: edited(&log, Replayed::InPlace, piece), ..Log::new() };
        let changed = emptied.bytes.iter().zip(&log.bytes).filter(|(new, old)| new != old);
        prop_assert!((paths.len()..=5 * paths.len()).contains(&changed.count()));
        // A record's path is read as a C string, behind number and flags.
        for (creation, was) in creations(&emptied).iter().zip(&found) {
            prop_assert_eq!(&creation.path, &was.path);
            prop_assert_eq!(creation.edits(&layout(), Replayed::InPlace), []);
            let path = layout().ahead(creation.start, HEADER + path_at(was.path.len()));
            prop_assert_eq!(emptied.bytes[(path.0 - START) as usize], 0);
        }
        prop_assert_eq!(edited(&emptied, Replayed::AtItsPath, piece), log.bytes);
    }
}

/// Behind the header: how long the data are, and the tablespace's number.
fn path_at(path: usize) -> usize {
    let length = 4 + path + 1;
    (if length < 256 { 2 } else { 5 }) + 4
}
