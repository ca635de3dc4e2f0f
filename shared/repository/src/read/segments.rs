//! Parts of tree packs, kept for a while.
//!
//! The trees of a snapshot lie close together, some kilobytes each. Fetching a
//! megabyte at a time saves nearly all requests; two walks of one snapshot
//! (plan and finish of a restore) mostly pay for one.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{PackRef, ReadError, Recent};

/// Bytes of a segment.
const SEGMENT: u32 = 1 << 20;

/// Segments kept.
const KEPT: usize = 24;

/// A segment that is there or on its way.
type Slot = Arc<OnceCell<Bytes>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Segments {
    recent: Mutex<Recent<(PackRef, u32), Slot>>,
}

impl Segments {
    pub(crate) fn new() -> Self {
        Self {
            recent: Mutex::new(Recent::new(KEPT)),
        }
    }

    /// The bytes `range` of a pack whose blobs end at `end`. What is not here
    /// comes through `fetch`, once, however many ask for it.
    pub(crate) async fn get<F>(
        &self,
        pack: PackRef,
        end: u32,
        range: Range<u32>,
        fetch: impl Fn(Range<u32>) -> F,
    ) -> Result<Bytes, ReadError>
    where
        F: Future<Output = Result<Bytes, ReadError>>,
    {
        if range.len() > SEGMENT as usize {
            return fetch(range).await;
        }
        let (first, last) = (range.start / SEGMENT, range.end.saturating_sub(1) / SEGMENT);
        let mut whole = Vec::new();
        for number in first..=last.max(first) {
            let start = number * SEGMENT;
            let covered = start..start.saturating_add(SEGMENT).min(end);
            let slot = self.slot(pack, number);
            let segment = slot.get_or_try_init(|| fetch(covered.clone())).await?;
            let from = range.start.max(start) - start;
            let to = range.end.min(covered.end).saturating_sub(start);
            let part = segment.slice(from as usize..to.max(from) as usize);
            if first == last {
                return Ok(part);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }

    fn slot(&self, pack: PackRef, number: u32) -> Slot {
        let mut recent = self.recent.lock();
        if let Some(slot) = recent.get(&(pack, number)) {
            return slot;
        }
        let slot = Slot::default();
        recent.insert((pack, number), slot.clone());
        slot
    }
}
