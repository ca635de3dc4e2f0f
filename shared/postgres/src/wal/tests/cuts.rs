//! What is found does not depend on how a log is cut, and nothing makes the
//! scanner panic.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A log with a little of everything.
fn sample() -> Log {
    let mut log = Log::new();
    log.commit(1, 1);
    log.filler(10_000);
    log.record(0, 0x70, 0, &restore_point("a", 5));
    log.filler(31);
    log.commit(2, 2);
    log.switch();
    log.commit(3, 3);
    log.filler(8100);
    log.commit(4, 4);
    log
}

/// Cuts at these places, in whatever order they are.
fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    // A segment has a megabyte at least, and is read twice.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_is_read_alike_however_it_is_cut(
        bytes in vec(any::<u8>(), 0..20_000),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let whole = read(START, [bytes.as_slice()]);
        prop_assert_eq!(read(START, cut(&bytes, &cuts)), whole);
    }

    #[test]
    fn damaged_logs_are_read_alike_however_they_are_cut(
        damage in vec((any::<usize>(), any::<u8>()), 1..6),
        cuts in vec(any::<usize>(), 0..40),
    ) {
        let mut bytes = sample().bytes;
        // Where nothing is written, nothing can be damaged.
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        for (at, value) in damage {
            bytes[written[at % written.len()]] = value;
        }
        let whole = read(START, [bytes.as_slice()]);
        prop_assert_eq!(read(START, cut(&bytes, &cuts)), whole);
    }

    #[test]
    fn pages_full_of_lies_are_read_alike_however_they_are_cut(
        bodies in vec((any::<u8>(), 0_u8..2, any::<u8>(), vec(any::<u8>(), 0..200)), 1..60),
        cuts in vec(any::<usize>(), 0..40),
    ) {
        let mut log = Log::new();
        for (info, manager, id, body) in bodies {
            let body = [&[0xFC | id][..], &body].concat();
            log.record(manager, info, 5, &body);
        }
        let whole = read(START, [log.bytes.as_slice()]);
        prop_assert_eq!(read(START, cut(&log.bytes, &cuts)), whole);
    }
}
