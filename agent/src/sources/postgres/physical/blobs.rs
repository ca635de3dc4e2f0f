//! Into how large blobs relations are cut. Pure.
//!
//! A relation is cut at multiples of one size, so that a changed page costs
//! one blob of pages and shifts nothing. Small blobs store less after a change
//! and cost more: each takes some 70 bytes in its directory's tree, 80 in an
//! index, 12 in memory. With 1 % of pages changed at random, blobs of 128 KiB
//! (16 pages) store 15 % of a table anew, of 256 KiB 28 %, of 512 KiB 47 %, of
//! 1 MiB 72 %. So clusters up to 64 GiB are cut into the smallest, half a
//! million of them, and larger ones into larger.
//!
//! A file that the last backup cut into other blobs keeps their size until it
//! is more than twice off: a cluster that hovers around a limit is not stored
//! anew each time.

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Of clusters up to so many bytes, blobs have so many.
const SIZES: [(u64, u64); 3] = [
    (64 * GIB, 128 * KIB),
    (256 * GIB, 256 * KIB),
    (1024 * GIB, 512 * KIB),
];
/// Of all larger ones.
pub(super) const LARGEST: u64 = 1024 * KIB;
const SMALLEST: u64 = 128 * KIB;

/// Bytes of a file's blobs in a cluster of `cluster` bytes; `before` is the
/// file's size in the last backup and the number of its blobs. A multiple of
/// every size that pages have.
pub(super) fn blob_bytes(cluster: u64, before: Option<(u64, usize)>) -> u64 {
    let wanted = SIZES
        .iter()
        .find(|(limit, _)| cluster <= *limit)
        .map_or(LARGEST, |(_, bytes)| *bytes);
    let used = before.and_then(|(size, count)| used(size, count));
    used.filter(|used| *used * 2 >= wanted && *used <= wanted * 2)
        .unwrap_or(wanted)
}

/// The size that makes `count` blobs of `size` bytes; `None` when a file is
/// too small to tell, or was cut otherwise.
fn used(size: u64, count: usize) -> Option<u64> {
    let sizes = std::iter::successors(Some(SMALLEST), |bytes| Some(bytes * 2));
    let mut sizes = sizes.take_while(|bytes| *bytes <= LARGEST);
    (count > 1).then(|| sizes.find(|bytes| size.div_ceil(*bytes) == count as u64))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn larger_clusters_have_larger_blobs() {
        for (cluster, wanted) in [
            (0, 128),
            (64 * GIB, 128),
            (64 * GIB + 1, 256),
            (600 * GIB, 512),
            (1 << 50, 1024),
        ] {
            assert_eq!(blob_bytes(cluster, None), wanted * KIB);
        }
    }

    #[test]
    fn a_file_keeps_its_blobs_around_a_limit() {
        let full = |bytes: u64| Some((GIB, (GIB / bytes) as usize));
        assert_eq!(blob_bytes(65 * GIB, full(128 * KIB)), 128 * KIB);
        assert_eq!(blob_bytes(63 * GIB, full(256 * KIB)), 256 * KIB);
        assert_eq!(blob_bytes(600 * GIB, full(128 * KIB)), 512 * KIB);
        // Cut by content, by something else.
        assert_eq!(blob_bytes(GIB, Some((GIB, 777))), 128 * KIB);
        assert_eq!(blob_bytes(GIB, Some((8192, 1))), 128 * KIB);
    }

    proptest! {
        #[test]
        fn pages_never_straddle(cluster: u64, size: u64, count in 0_usize..10_000) {
            let bytes = blob_bytes(cluster, Some((size, count)));
            prop_assert!(bytes.is_power_of_two());
            prop_assert!((SMALLEST..=LARGEST).contains(&bytes));
        }
    }
}
