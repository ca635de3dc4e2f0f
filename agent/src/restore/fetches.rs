//! Which ranges of which packs are fetched, in which order. Pure.
//!
//! Chunks are grouped by pack, packs in the order of their first use, and
//! neighbours in a pack are fetched together.

use std::{collections::HashMap, ops::Range};

use strongroom_repository::read::{BlobRef, Index, PackRef};

use super::plan::Use;

/// Unneeded bytes that are fetched rather than asking twice.
const MAX_GAP: u32 = 1 << 20;

/// Bytes of one request at most, unless a single blob is larger.
pub(crate) const MAX_RANGE: u32 = 32 << 20;

/// One request: a range of a pack and the uses that it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) pack: PackRef,
    pub(crate) range: Range<u32>,
    /// Of the sorted uses.
    pub(crate) uses: Range<usize>,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: PackRef,
    pub(crate) range: (u32, u32),
}

/// A blob's place in an index.
pub(crate) fn place(index: &Index, blob: BlobRef) -> Place {
    let location = index.location(blob);
    Place {
        pack: index.pack_of(blob),
        range: (
            location.offset,
            location.offset.saturating_add(location.length),
        ),
    }
}

/// Sorts `uses` by pack and offset and cuts them into requests of at most
/// `max_range` bytes.
pub(crate) fn plan(
    uses: &mut [Use],
    place: impl Fn(BlobRef) -> Place,
    max_range: u32,
) -> Vec<Fetch> {
    let mut ranks = HashMap::new();
    for used in uses.iter() {
        let next = ranks.len();
        ranks.entry(place(used.blob).pack).or_insert(next);
    }
    uses.sort_unstable_by_key(|used| {
        let place = place(used.blob);
        let rank = ranks.get(&place.pack).copied();
        (rank, place.range.0, used.file, used.offset)
    });
    let mut fetches: Vec<Fetch> = Vec::new();
    for (position, used) in uses.iter().enumerate() {
        let Place {
            pack,
            range: (start, end),
        } = place(used.blob);
        if let Some(last) = fetches.last_mut()
            && last.pack == pack
            && start <= last.range.end.saturating_add(MAX_GAP)
            && (end <= last.range.end || end - last.range.start <= max_range)
        {
            last.range.end = last.range.end.max(end);
            last.uses.end = position + 1;
            continue;
        }
        fetches.push(Fetch {
            pack,
            range: start..end,
            uses: position..position + 1,
        });
    }
    fetches
}
