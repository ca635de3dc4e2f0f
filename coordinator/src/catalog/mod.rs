//! The catalog: everything the coordinator remembers, in SQLite or Postgres.
//!
//! One set of SQL serves both: `$1` placeholders, BIGINT (Unix microseconds,
//! counts, flags) and TEXT (UUIDs, hex, JSON, words) only. What differs stands
//! in `backend.rs`.
//!
//! To add an entity: its plain type in [`crate::model`], a numbered migration,
//! a file here with an `impl Catalog` block, and cases in the contract suite
//! (`tests/`), which runs on both databases.
//!
//! Why the methods look so: a method is one transaction. Whatever changes a
//! job, an agent, a policy or a token writes its audit row in the same
//! transaction, and its event (`events.rs`) where programs follow it.
//! Transactions that write are alone (SQLite: `BEGIN IMMEDIATE` on the one
//! writing connection; Postgres: an advisory lock), so that a method may read,
//! decide by a pure function, and write.

mod agents;
mod attempts;
mod audit;
mod backend;
mod certificates;
mod contests;
mod datasets;
mod dispatch;
mod enrolment;
mod error;
mod events;
mod expiry;
mod figures;
mod health;
mod job_rows;
mod jobs;
mod listen;
mod lost_objects;
mod marks;
mod objects;
mod open;
mod operators;
mod own_keys;
mod policies;
mod progress;
mod publications;
mod reports;
mod repositories;
mod request_keys;
mod row;
mod sessions;
mod snapshots;
mod tokens;
mod transfers;
mod wal;
mod withheld;
mod written;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use sqlx::{Any, AnyPool, Transaction};
use strongroom_runtime::clock::SharedClock;
use tokio::sync::watch;
use uuid::{ContextV7, Uuid};

use backend::Backend;

pub use attempts::AttemptState;
pub use audit::AuditFilter;
pub use certificates::RenewError;
pub use contests::SessionStart;
pub use datasets::DueRun;
pub use dispatch::Dispatched;
pub use enrolment::{Enrolment, RedeemError};
pub use error::CatalogError;
pub use events::Events;
pub use figures::Figures;
pub use jobs::{Created, JobFilter};
pub use policies::StoredPolicy;
pub use publications::{Publication, PublishError};
pub use reports::Finished;
pub use sessions::{Lives, PresenceChange};
pub use snapshots::{SnapshotCursor, SnapshotFilter};
pub use wal::{RecordError, WalLines, WalPage};

/// A handle to the catalog; cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    clock: SharedClock,
    /// This process, among all that have the catalog open.
    instance: Uuid,
    changes: watch::Sender<()>,
    ids: Mutex<ContextV7>,
    /// Its URL without password.
    shown: String,
    health: health::Health,
}

/// Wakes when the catalog may have changed. Changes between two waits are not
/// missed; several may be one.
///
/// It sees what this process wrote, and what others did on the same Postgres while
/// this one [listens](Catalog::listen). That may break off for a moment: whoever waits
/// must also look again from time to time.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits for a change since the last wait, or since this was made.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The catalog is gone; so are its changes.
            std::future::pending::<()>().await;
        }
    }
}

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, Cursor> {
    /// At most as many as asked for.
    pub items: Vec<T>,
    /// Pass it as `before` for the next page; `None` on the last.
    pub next: Option<Cursor>,
}

impl Catalog {
    /// Wakes on changes from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.0.changes.subscribe())
    }

    /// The clock that the catalog writes its times by.
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// For statements that only read.
    fn pool(&self) -> &AnyPool {
        self.0.backend.readers()
    }

    /// For single statements that write and need no audit row.
    fn writers(&self) -> &AnyPool {
        self.0.backend.writers()
    }

    /// This process, among all that have the catalog open: made when it was opened.
    pub fn instance(&self) -> Uuid {
        self.0.instance
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A new UUIDv7 of now: ids of this process sort in the order in which
    /// they were made.
    fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(
            &self.0.ids,
            seconds,
            nanoseconds,
        ))
    }

    /// A transaction that is the only one to write.
    async fn begin(&self) -> Result<Transaction<'static, Any>, CatalogError> {
        self.0.backend.begin().await
    }

    /// Commits, and wakes those who wait for changes, here and in other processes.
    async fn commit(&self, mut transaction: Transaction<'static, Any>) -> Result<(), CatalogError> {
        let inner = &self.0;
        let announced = inner.backend.announce(&mut transaction, inner.instance);
        announced.await?;
        transaction.commit().await?;
        self.0.changes.send_replace(());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
