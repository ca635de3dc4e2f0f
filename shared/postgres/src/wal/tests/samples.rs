//! Logs and records that fuzzing begins with.

use super::*;

fn log() -> Log {
    let mut log = Log::new();
    log.commit(700, 1_700_000_000_000_000);
    log.record(0, 0x70, 0, &restore_point("vor dem Umzug", 5));
    log
}

/// Behind the size of the pieces that they come in.
pub(crate) fn logs() -> Vec<Vec<u8>> {
    let mut long = log();
    long.filler(7_000);
    long.filler(1_500);
    long.commit(701, 1_700_000_000_000_001);
    let mut switched = log();
    let length = switched.bytes.len();
    switched.switch();
    switched.bytes.truncate(length + 100);
    let mut ended = log();
    ended.bytes.resize(ended.bytes.len() + 64, 0);
    [long, switched, ended]
        .into_iter()
        .map(|log| [&[77], &*log.bytes].concat())
        .collect()
}

/// Whole, with the headers.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut data = vec![0; 8];
    data.extend(0x11F_u32.to_le_bytes());
    data.extend([1; 8]);
    for size in [4, 12, 12, 16] {
        data.extend(2_u32.to_le_bytes());
        data.extend(vec![0xEE; 2 * size]);
    }
    data.extend(4711_u32.to_le_bytes());
    let around = [&[253, 1, 0, 252, 9, 9, 9, 9][..], &main_data(&[0; 408])].concat();
    vec![
        record(1, 1, 0x00, 700, &main_data(&[0; 8])),
        record(1, 1, 0xA0, 701, &around),
        record(1, 1, 0xB0, 0, &main_data(&data)),
        record(1, 0, 0x70, 0, &restore_point("here", 5)),
    ]
}

/// The beginning of a segment.
pub(crate) fn segment_header() -> Vec<u8> {
    log().bytes[..LONG_HEADER].to_vec()
}
