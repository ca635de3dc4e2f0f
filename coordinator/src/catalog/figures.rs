//! How many of what.

use super::{Catalog, CatalogError, row::Columns};

/// Counts for an overview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Jobs that wait.
    pub jobs_pending: u64,
    /// Jobs that are with an agent.
    pub jobs_running: u64,
    /// Snapshots.
    pub snapshots: u64,
}

impl Catalog {
    /// Counts for an overview.
    pub async fn figures(&self) -> Result<Figures, CatalogError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM jobs WHERE state = 'pending') AS pending,
                    (SELECT COUNT(*) FROM jobs WHERE state IN ('dispatched', 'running'))
                        AS running,
                    (SELECT COUNT(*) FROM snapshots WHERE confirmed = 1) AS snapshots",
        )
        .fetch_one(self.pool())
        .await?;
        let row = Columns::new("jobs", &row);
        Ok(Figures {
            jobs_pending: row.number("pending")?,
            jobs_running: row.number("running")?,
            snapshots: row.number("snapshots")?,
        })
    }
}
