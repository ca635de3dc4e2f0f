//! Losses: what the store had and has no more, and what of it a backup stored again.

use strongroom_repository::write::{LostPack, Writer};
use strongroom_runtime::units::ByteSize;
use strongroom_spec::WarningCode;

use crate::monitor::Monitor;

/// Packs that are named one by one.
const NAMED: usize = 50;

/// What is left of losses behind a backup.
#[derive(Debug)]
pub(super) struct Losses {
    packs: Vec<LostPack>,
    /// By pack: pieces and bytes that were not met and are gone.
    gone: Vec<(usize, u64)>,
    /// Objects that were put back from the cache.
    put_back: u64,
}

impl Losses {
    /// Asks what a writer that has all it is to store took on again.
    pub(super) fn behind(writer: &Writer, packs: Vec<LostPack>, put_back: u64) -> Self {
        let gone = |pack: &LostPack| {
            let gone = pack
                .blobs
                .iter()
                .filter(|blob| !writer.knows(blob.kind, blob.id));
            gone.fold((0, 0), |(pieces, bytes), blob| {
                (pieces + 1, bytes + u64::from(blob.length))
            })
        };
        let gone = packs.iter().map(gone).collect();
        Self {
            packs,
            gone,
            put_back,
        }
    }

    /// Warns of them.
    pub(super) fn tell(&self, monitor: &Monitor) {
        if self.put_back > 0 {
            let cause = format!(
                "the store has lost {} packs of trees; they were put back from this host's cache",
                self.put_back
            );
            tracing::warn!(cause, "the store has lost objects");
            monitor.warn(WarningCode::ObjectsLost, "data", cause);
        }
        let Some(first) = self.packs.first() else {
            return;
        };
        let warn = |pack: &LostPack, cause: String| {
            let pack = pack.pack.path();
            tracing::warn!(pack, cause, "the store has lost a pack");
            monitor.warn(WarningCode::ObjectsLost, pack, cause);
        };
        let mut remaining = self.packs.iter().zip(&self.gone).filter(|it| it.1.0 > 0);
        for (pack, (pieces, bytes)) in remaining.by_ref().take(NAMED) {
            let cause = format!(
                "the store has lost this pack, or a part of it. {pieces} of its pieces ({}) are not \
                 in what was backed up now and could not be stored again: earlier snapshots that \
                 need them cannot be restored whole",
                ByteSize(*bytes),
            );
            warn(pack, cause);
        }
        if let Some((pack, _)) = remaining.next() {
            let others = remaining.count();
            warn(
                pack,
                format!("the same is true of this pack and {others} others"),
            );
        }
        if self.gone.iter().all(|(pieces, _)| *pieces == 0) {
            let cause = format!(
                "the store has lost {} packs or parts of them, {} among them; all that was lost is \
                 in what was backed up now and was stored again",
                self.packs.len(),
                first.pack
            );
            tracing::warn!(cause, "the store has lost packs");
            monitor.warn(WarningCode::ObjectsLost, "data", cause);
        }
    }
}
