//! Logs as servers write them.

use super::*;

#[test]
fn ends_of_transactions_and_restore_points_are_found() {
    let mut log = Log::new();
    let mut expected = vec![log.commit(700, 1_700_000_000_000_000)];
    // With where it came from, and the transaction around it.
    let data = [&[0; 8][..], &[0; 400]].concat();
    let body = [&[253, 1, 0, 252, 9, 9, 9, 9][..], &main_data(&data)].concat();
    let end = log.record(1, 0xA0, 701, &body);
    let (xid, at) = (701, POSTGRES_EPOCH);
    expected.push(Found::Abort { end, xid, at });
    let end = log.record(0, 0x70, 0, &restore_point("vor dem Umzug \u{fc}", 5));
    let name = "vor dem Umzug \u{fc}".into();
    expected.push(Found::RestorePoint { end, name, at: 5 });
    // Neither a prepare, nor an assignment, nor a checkpoint.
    for (manager, info) in [(1, 0x10), (1, 0x50), (0, 0x10)] {
        log.record(manager, info, 3, &main_data(&[1; 80]));
    }
    let reading = whole(&log);
    assert_eq!(reading.found, expected);
    assert_eq!(reading.end, Some(Lsn(log.at())));
    assert!(!reading.end_reached);
}

#[test]
fn a_prepared_transaction_has_the_number_that_its_record_lists() {
    let list = |count: u32, size: usize| {
        let mut list = count.to_le_bytes().to_vec();
        list.resize(4 + count as usize * size, 0xEE);
        list
    };
    let data = |info: u32, lists: &[Vec<u8>]| {
        let mut data = vec![0; 8];
        data.extend(info.to_le_bytes());
        data.extend(lists.concat());
        data.extend(4711_u32.to_le_bytes());
        data.extend(b"gid\0");
        main_data(&data)
    };
    let mut log = Log::new();
    let everything = [
        vec![1; 8],
        list(3000, 4),
        list(2, 12),
        list(3, 12),
        list(4, 16),
    ];
    let commit = log.record(1, 0xB0, 0, &data(0x11F, &everything));
    let abort = log.record(1, 0xC0, 0, &data(0x010, &[]));
    // Says that it has more than it has.
    let lying = log.record(1, 0xB0, 0, &data(0x012, &[list(0, 0), vec![0xFF; 4]]));
    let at = POSTGRES_EPOCH;
    let ending = |end, xid| Found::Commit { end, xid, at };
    let expected = [
        ending(commit, 4711),
        Found::Abort {
            end: abort,
            xid: 4711,
            at,
        },
        ending(lying, u32::MAX),
    ];
    assert_eq!(whole(&log).found, expected);
}

#[test]
fn records_go_over_pages_and_segments() {
    let mut log = Log::new();
    let mut expected = Vec::new();
    // All ways in which a record can meet the end of a page.
    for length in 0..2000 {
        log.filler(40 + length % 257);
        expected.push(log.commit(length as u32, 1));
    }
    log.filler(2 * SEGMENT as usize);
    expected.push(log.commit(2, 2));
    let reading = whole(&log);
    assert!(log.bytes.len() as u64 > 2 * SEGMENT);
    assert_eq!(reading.found, expected);
    assert_eq!(reading.end, Some(Lsn(log.at())));
}

#[test]
fn reading_begins_within_a_record_that_began_before() {
    let mut log = Log::new();
    log.commit(1, 1);
    log.filler(20_000);
    let expected = log.commit(2, 2);
    log.start += u64::from(BLOCK);
    log.bytes.drain(..BLOCK as usize);
    assert_eq!(whole(&log).found, [expected]);
}

#[test]
fn a_switched_segment_is_left_early() {
    let mut log = Log::new();
    log.commit(1, 1);
    log.switch();
    let segment_end = log.at();
    assert_eq!(whole(&log).end, Some(Lsn(segment_end)));
    log.commit(2, 2);
    let reading = whole(&log);
    assert_eq!(reading.found.len(), 2);
    assert!(!reading.end_reached);

    // Whatever fills it.
    let mut recycled = Log::new();
    let end = {
        recycled.commit(1, 1);
        recycled.record(0, 0x40, 0, &[])
    };
    recycled.bytes.resize(SEGMENT as usize, 0x5A);
    assert_eq!(recycled.at(), segment_end);
    let before = &recycled.bytes[..(end.0 - START) as usize + 100];
    assert_eq!(read(START, [before]).end, Some(end));
    recycled.commit(2, 2);
    assert_eq!(whole(&recycled).found.len(), 2);
}

#[test]
fn a_switch_may_end_with_its_segment() {
    let mut log = Log::new();
    while log.at() % SEGMENT != SEGMENT - 24 {
        let left = (SEGMENT - 24 - log.at() % SEGMENT).min(u64::from(BLOCK) - 48);
        let room = log.room() as u64 % u64::from(BLOCK);
        log.filler((left.min(room.max(72)) - 24) as usize);
    }
    let end = log.switch();
    assert_eq!(end, Lsn(START + SEGMENT));
    let expected = log.commit(2, 2);
    assert_eq!(whole(&log).found, [expected]);
}

#[test]
fn nothing_written_is_the_end() {
    let mut log = Log::new();
    log.commit(1, 1);
    let end = Some(Lsn(log.at()));
    log.bytes.extend([0; 3]);
    assert!(!whole(&log).end_reached);
    log.zero_segment();
    let reading = whole(&log);
    assert_eq!((reading.end, reading.end_reached), (end, true));
    // The log does not go on behind its end.
    let behind = Lsn(log.at());
    log.commit(2, 2);
    assert_eq!(fault(&log), (behind, Fault::Behind));

    // A record that was not finished, on a page that was not begun.
    let mut log = Log::new();
    log.commit(1, 1);
    log.filler(3 * BLOCK as usize);
    log.bytes.truncate(2 * BLOCK as usize);
    assert_eq!((whole(&log).end, whole(&log).end_reached), (end, false));
    log.zero_segment();
    assert_eq!((whole(&log).end, whole(&log).end_reached), (end, true));

    // Nothing at all.
    let mut log = Log::new();
    log.bytes.resize(LONG_HEADER, 0);
    let reading = whole(&log);
    assert_eq!((reading.end, reading.end_reached), (None, true));
}

#[test]
fn a_record_that_a_crash_cut_off_is_given_up() {
    let mut log = Log::new();
    let first = log.commit(1, 1);
    let previous = log.previous;
    log.filler(3 * BLOCK as usize);
    log.bytes.truncate(2 * BLOCK as usize);
    log.previous = previous;
    log.page(0, 8);
    let second = log.commit(2, 2);
    assert_eq!(whole(&log).found, [first, second]);
}
