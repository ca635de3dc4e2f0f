//! Logs as no server writes them.

use super::*;

#[test]
fn pages_that_a_server_did_not_write_are_refused() {
    let log = || {
        let mut log = Log::new();
        log.filler(2 * BLOCK as usize);
        log
    };
    let second = Lsn(START + u64::from(BLOCK));
    let at_second = BLOCK as usize;
    let damaged = |at: usize, value: u8| {
        let mut log = log();
        log.bytes[at] = value;
        fault(&log)
    };
    assert!(matches!(
        damaged(0, 0x11),
        (Lsn(START), Fault::Magic { found: 0xD111, .. })
    ));
    assert!(matches!(damaged(2, 0), (Lsn(START), Fault::Flags(0))));
    assert!(matches!(damaged(3, 1), (Lsn(START), Fault::Flags(_))));
    assert!(matches!(
        damaged(4, 3),
        (Lsn(START), Fault::Timeline { .. })
    ));
    assert!(matches!(damaged(9, 1), (Lsn(START), Fault::Address(_))));
    assert!(matches!(damaged(24, 0), (Lsn(START), Fault::Cluster(_))));
    assert!(matches!(damaged(34, 1), (Lsn(START), Fault::Size { .. })));
    let (at, found) = damaged(at_second + 16, 1);
    assert_eq!(at, second);
    assert!(matches!(found, Fault::Continuation { .. }), "{found}");
    // A record is open, but the page begins with another.
    let mut unfinished = log();
    unfinished.bytes.truncate(at_second);
    unfinished.page(0, 0);
    assert!(matches!(
        fault(&unfinished),
        (at, Fault::Continuation { found: 0, .. }) if at == second
    ));
    // None is open, but the page goes on with one.
    let mut even = Log::new();
    even.filler(BLOCK as usize - LONG_HEADER - HEADER);
    assert_eq!(Lsn(even.at()), second);
    even.page(100, 0);
    assert!(matches!(
        fault(&even),
        (at, Fault::Continuation { found: 100, wanted: 0 }) if at == second
    ));
}

#[test]
fn records_that_a_server_did_not_write_are_refused() {
    let second = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut log = Log::new();
        log.filler(100);
        let start = log.at();
        let mut record = record(log.previous, 1, 0, 7, &main_data(&[1; 8]));
        damage(&mut record);
        log.put(&record);
        log.bytes.resize(log.bytes.len().next_multiple_of(8), 0);
        let (at, fault) = fault(&log);
        assert_eq!(at, Lsn(start));
        fault
    };
    assert_eq!(second(&|record| record[0] = 23), Fault::Length(23));
    assert!(matches!(second(&|r| r[3] = 0x40), Fault::Length(_)));
    assert!(matches!(second(&|r| r[8] ^= 1), Fault::Link(_)));
    assert!(matches!(second(&|r| r[30] ^= 1), Fault::Checksum { .. }));
    assert!(matches!(second(&|r| r[5] ^= 1), Fault::Checksum { .. }));
    // Whole, but with nothing in it.
    let mut log = Log::new();
    log.record(1, 0, 7, &[255, 0]);
    assert_eq!(fault(&log), (Lsn(START + 40), Fault::Record("commit")));
    let mut log = Log::new();
    log.record(0, 0x70, 7, &[255, 9, 1]);
    assert_eq!(fault(&log).1, Fault::Record("restore point"));
}

#[test]
fn reading_begins_where_a_page_can() {
    let at = |start, block_size| {
        let layout = Layout {
            block_size,
            ..layout()
        };
        Scanner::new(layout, TimelineId(1), Lsn(start)).map(|scanner| scanner.position())
    };
    assert_eq!(at(START, BLOCK), Ok(Lsn(START)));
    for (start, block_size) in [
        (START + 8, BLOCK),
        (0, 0),
        (0, 3000),
        (0, 1 << 17),
        (u64::MAX - 8191, BLOCK),
    ] {
        at(start, block_size).unwrap_err();
    }
}
