//! What an attempt says and asks of write-ahead logs.

use strongroom_layout::SystemId;
use strongroom_proto::v1;
use strongroom_repository::store::{StoreError, StoreErrorKind};
use strongroom_wire::{
    InvalidMessage,
    wal::{
        ArchivedWalRequest, ArchivedWalResponse, RecordWalRequest, StoredHistory, StoredWal,
        WalPosition, WalRange,
    },
};

use super::{GrantAuthority, ask::AskError};

/// What is entered into the catalog at once.
#[derive(Debug, Clone, Default)]
pub struct WalRecord {
    /// Parts that are in the store.
    pub stored: Vec<StoredWal>,
    /// Timelines' history files that are in the store.
    pub histories: Vec<StoredHistory>,
    /// How far the log is known.
    pub position: Option<WalPosition>,
}

/// The answer has nothing in it.
struct Recorded;

impl TryFrom<v1::RecordWalResponse> for Recorded {
    type Error = InvalidMessage;

    fn try_from(_: v1::RecordWalResponse) -> Result<Self, InvalidMessage> {
        Ok(Self)
    }
}

impl GrantAuthority {
    /// Enters what is in the store. When this returns, it counts as archived.
    pub async fn record_wal(&self, record: WalRecord) -> Result<(), StoreError> {
        let request = v1::RecordWalRequest::from(RecordWalRequest {
            attempt: self.attempt,
            stored: record.stored,
            histories: record.histories,
            position: record.position,
        });
        let recorded = self
            .asker
            .ask(request, async |mut client, request| {
                client.record_wal(request).await
            })
            .await;
        recorded
            .map(|Recorded| ())
            .map_err(|error| failed("record", error))
    }

    /// What is known of a cluster's log: all parts in the range, by start.
    /// Without a range only the histories and the tail.
    pub async fn archived_wal(
        &self,
        system: SystemId,
        range: Option<WalRange>,
    ) -> Result<ArchivedWalResponse, StoreError> {
        let mut known = self.archived_page(system, range).await?;
        while let (true, Some(range), Some(last)) = (known.more, range, known.stored.last()) {
            let mut from = last.start;
            from.0 += 1;
            let next = WalRange { from, ..range };
            let page = self.archived_page(system, Some(next)).await?;
            known.more = page.more && !page.stored.is_empty();
            known.stored.extend(page.stored);
        }
        Ok(known)
    }

    async fn archived_page(
        &self,
        system: SystemId,
        parts: Option<WalRange>,
    ) -> Result<ArchivedWalResponse, StoreError> {
        let request = v1::ArchivedWalRequest::from(ArchivedWalRequest {
            attempt: self.attempt,
            system,
            parts,
        });
        self.asker
            .ask(request, async |mut client, request| {
                client.archived_wal(request).await
            })
            .await
            .map_err(|error| failed("list", error))
    }
}

fn failed(operation: &'static str, error: AskError) -> StoreError {
    StoreError::new(operation, "wal", StoreErrorKind::from(error))
}
