//! What an attempt says and asks of write-ahead logs.

use strongroom_layout::SystemId;
use strongroom_proto::v1;
use strongroom_repository::store::{StoreError, StoreErrorKind};
use strongroom_wire::{
    InvalidMessage,
    wal::{
        ArchivedWalRequest, ArchivedWalResponse, MAX_DETAILS, RecordWalRequest, StoredHistory,
        StoredWal, WalBehind, WalPosition, WalRange,
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
    /// The server's log ends before what is archived of it.
    pub behind: Option<WalBehind>,
}

impl WalRecord {
    /// The same in pieces that the coordinator takes, in order: how far the log is
    /// known comes with the last.
    fn calls(self) -> Vec<Self> {
        let mut calls = Vec::new();
        let mut call = Self::default();
        let mut details = 0;
        for part in self.stored {
            let more = part.restore_points.len();
            if details + more > MAX_DETAILS {
                calls.push(std::mem::take(&mut call));
                details = 0;
            }
            details += more;
            call.stored.push(part);
        }
        for history in self.histories {
            let more = history.legs.len();
            if details + more > MAX_DETAILS {
                calls.push(std::mem::take(&mut call));
                details = 0;
            }
            details += more;
            call.histories.push(history);
        }
        call.position = self.position;
        call.behind = self.behind;
        calls.push(call);
        calls
    }
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
    /// Enters what is in the store, in as many calls as it takes. When this returns,
    /// it counts as archived.
    pub async fn record_wal(&self, record: WalRecord) -> Result<(), StoreError> {
        for call in record.calls() {
            self.record(call).await?;
        }
        Ok(())
    }

    async fn record(&self, record: WalRecord) -> Result<(), StoreError> {
        let request = v1::RecordWalRequest::from(RecordWalRequest {
            attempt: self.attempt,
            stored: record.stored,
            histories: record.histories,
            position: record.position,
            behind: record.behind,
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

    /// What is known of a line of a cluster's log: all parts in the range, by
    /// start. Without a range only the histories and the tail. Who archives is told
    /// of the line that goes on.
    pub async fn archived_wal(
        &self,
        (system, line): (SystemId, u32),
        range: Option<WalRange>,
    ) -> Result<ArchivedWalResponse, StoreError> {
        let mut known = self.archived_page((system, line), range).await?;
        while let (true, Some(range), Some(last)) = (known.more, range, known.stored.last()) {
            let mut from = last.start;
            from.0 += 1;
            let next = WalRange { from, ..range };
            let page = self.archived_page((system, line), Some(next)).await?;
            known.more = page.more && !page.stored.is_empty();
            known.stored.extend(page.stored);
        }
        Ok(known)
    }

    async fn archived_page(
        &self,
        (system, line): (SystemId, u32),
        parts: Option<WalRange>,
    ) -> Result<ArchivedWalResponse, StoreError> {
        let request = v1::ArchivedWalRequest::from(ArchivedWalRequest {
            attempt: self.attempt,
            system,
            parts,
            line,
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use strongroom_layout::{
        ObjectId,
        position::{Lsn, TimelineId},
    };
    use strongroom_spec::Leg;
    use strongroom_wire::wal::RestorePoint;

    use super::*;

    fn part(n: u64, points: u64) -> StoredWal {
        let point = |at| RestorePoint {
            name: "before".into(),
            lsn: Lsn(n * 1000 + 1 + at),
            at: Timestamp::UNIX_EPOCH,
        };
        StoredWal {
            system: SystemId(1),
            timeline: TimelineId(1),
            start: Lsn(n * 1000),
            end: Lsn((n + 1) * 1000),
            id: ObjectId([1; 32]),
            length: 1,
            commits: None,
            restore_points: (0..points).map(point).collect(),
            digests: vec![],
        }
    }

    fn history(legs: u32) -> StoredHistory {
        let leg = |n: u32| Leg {
            timeline: TimelineId(n + 1),
            until: Some(Lsn(u64::from(n) + 1)),
        };
        StoredHistory {
            system: SystemId(1),
            timeline: TimelineId(legs + 1),
            id: ObjectId([2; 32]),
            length: 1,
            legs: (0..legs).map(leg).collect(),
            digest: None,
        }
    }

    fn position() -> WalPosition {
        WalPosition {
            system: SystemId(1),
            timeline: TimelineId(1),
            lsn: Lsn(50_000),
            as_of: None,
            waiting: 0,
            problem: None,
        }
    }

    #[test]
    fn much_is_entered_in_pieces_and_in_order() {
        let record = WalRecord {
            stored: (0..35).map(|n| part(n, 100)).collect(),
            histories: vec![history(400), history(600), history(1_000)],
            position: Some(position()),
            behind: None,
        };
        let calls = record.clone().calls();
        assert_eq!(calls.len(), 6);
        for call in &calls {
            let request = RecordWalRequest {
                attempt: strongroom_layout::AttemptRef {
                    job: strongroom_layout::JobId(uuid::Uuid::from_u128(1)),
                    attempt: 1,
                },
                stored: call.stored.clone(),
                histories: call.histories.clone(),
                position: call.position.clone(),
                behind: call.behind,
            };
            let sent = v1::RecordWalRequest::from(request.clone());
            assert!(RecordWalRequest::try_from(sent) == Ok(request));
        }
        let stored: Vec<_> = calls.iter().flat_map(|it| it.stored.clone()).collect();
        assert_eq!(stored, record.stored);
        let histories: Vec<_> = calls.iter().flat_map(|it| it.histories.clone()).collect();
        assert_eq!(histories, record.histories);
        let positions: Vec<_> = calls.iter().map(|it| it.position.is_some()).collect();
        assert_eq!(positions, [false, false, false, false, false, true]);
    }

    #[test]
    fn nothing_is_entered_in_one_call_too() {
        assert_eq!(WalRecord::default().calls().len(), 1);
    }
}
