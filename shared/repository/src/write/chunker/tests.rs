use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;

const SMALL: Sizes = Sizes {
    minimum: 512,
    average: 1024,
    maximum: 8192,
};

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// Chunk lengths when the buffer grows by `step` bytes at a time.
fn lengths(gear: &Gear, sizes: Sizes, data: &[u8], step: usize) -> Vec<usize> {
    let mut chunker = Chunker::with_sizes(gear, sizes);
    let (mut start, mut end, mut lengths) = (0, 0, Vec::new());
    while end < data.len() || start < end {
        match chunker.cut(&data[start..end]) {
            Some(length) => {
                lengths.push(length);
                start += length;
            }
            None if end < data.len() => end = (end + step).min(data.len()),
            None => {
                lengths.push(end - start);
                start = end;
            }
        }
    }
    lengths
}

proptest! {
    #[test]
    fn chunks_keep_the_bounds_and_add_up(
        seed in any::<u64>(), length in 0_usize..60_000, step in 1_usize..5_000, alphabet in 1_u8..=255,
    ) {
        let gear = Gear::derive(&[7; 32]);
        let data: Vec<u8> = noise(seed, length).iter().map(|byte| byte % alphabet).collect();
        let lengths = lengths(&gear, SMALL, &data, step);
        prop_assert_eq!(lengths.iter().sum::<usize>(), data.len());
        if let Some((last, others)) = lengths.split_last() {
            prop_assert!(*last > 0 && *last <= SMALL.maximum);
            prop_assert!(others.iter().all(|l| (SMALL.minimum..=SMALL.maximum).contains(l)));
        }
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_buffer_grew(
        seed in any::<u64>(), length in 0_usize..40_000, step in 1_usize..3_000,
    ) {
        let gear = Gear::derive(&[7; 32]);
        let data = noise(seed, length);
        prop_assert_eq!(
            lengths(&gear, SMALL, &data, step),
            lengths(&gear, SMALL, &data, length.max(1))
        );
    }

    #[test]
    fn an_insertion_moves_only_cuts_near_it(seed in any::<u64>(), at in 0_usize..100_000) {
        let gear = Gear::derive(&[7; 32]);
        let data = noise(seed, 200_000);
        let mut shifted = data.clone();
        shifted.splice(at..at, *b"inserted");
        let ends = |data: &[u8]| -> Vec<usize> {
            lengths(&gear, SMALL, data, data.len()).iter().scan(0, |end, length| {
                *end += length;
                // Counted from the stream's end, which the insertion does not move.
                Some(data.len() - *end)
            }).collect()
        };
        let (before, after) = (ends(&data), ends(&shifted));
        let kept = before.iter().filter(|end| after.contains(end)).count();
        // The half behind the insertion alone has some 80 cuts.
        prop_assert!(kept > 50, "{kept} of {} cuts kept", before.len());
    }
}

#[test]
fn other_secret_other_cuts() {
    let data = noise(1, 100_000);
    let (one, two) = (Gear::derive(&[1; 32]), Gear::derive(&[2; 32]));
    assert_ne!(
        lengths(&one, SMALL, &data, data.len()),
        lengths(&two, SMALL, &data, data.len())
    );
}

/// Pins the cuts: repositories in the field must go on deduplicating.
#[test]
fn standard_cuts_stay_what_they_are() {
    let data = noise(42, 16 << 20);
    let gear = Gear::derive(&[3; 32]);
    let lengths = lengths(&gear, Sizes::STANDARD, &data, 256 * 1024);
    let mean = data.len() / lengths.len();
    assert!((900_000..1_500_000).contains(&mean), "mean {mean}");
    assert_eq!(lengths[..3], PINNED);
}

const PINNED: [usize; 3] = [1_300_305, 1_116_071, 1_058_911];
