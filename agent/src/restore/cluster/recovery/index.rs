//! What the catalog knows of a cluster's log.

use futures::future::BoxFuture;
use strongroom_layout::{SystemId, position::Lsn};
use strongroom_repository::store::StoreError;
use strongroom_spec::Leg;
use strongroom_wire::wal::{ArchivedWalResponse, StoredHistory, StoredWal, WalRange};

use crate::grants::GrantAuthority;

/// Lists the archived log of clusters.
pub trait LogIndex: Send + Sync {
    /// All parts in the range, by start, and all histories of a cluster's line. See
    /// [`GrantAuthority::archived_wal`].
    fn archived(
        &self,
        log: (SystemId, u32),
        range: Option<WalRange>,
    ) -> BoxFuture<'_, Result<ArchivedWalResponse, StoreError>>;
}

impl LogIndex for GrantAuthority {
    fn archived(
        &self,
        log: (SystemId, u32),
        range: Option<WalRange>,
    ) -> BoxFuture<'_, Result<ArchivedWalResponse, StoreError>> {
        Box::pin(self.archived_wal(log, range))
    }
}

/// The log of a way's timelines.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) stored: Vec<StoredWal>,
    /// Of the whole cluster.
    pub(super) histories: Vec<StoredHistory>,
}

/// Asks for each timeline's log from `from` to `to`.
pub(super) async fn listed(
    index: &dyn LogIndex,
    log: (SystemId, u32),
    legs: &[Leg],
    (from, to): (Lsn, Lsn),
) -> Result<Listed, StoreError> {
    let mut all = Listed::default();
    for leg in legs {
        let range = WalRange {
            timeline: leg.timeline,
            from,
            to: Some(leg.until.map_or(to, |until| until.min(to))),
        };
        let known = index.archived(log, Some(range)).await?;
        all.stored.extend(known.stored);
        // Each answer has all of them.
        all.histories = known.histories;
    }
    Ok(all)
}
