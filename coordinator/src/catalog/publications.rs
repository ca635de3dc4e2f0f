//! Snapshots on their way into the catalog: granted, then confirmed.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{AttemptRef, ObjectId, ObjectName};
use strongroom_spec::BackupOutcome;
use strongroom_wire::grant::RefusalReason;

use super::{
    Catalog, CatalogError,
    job_rows::job_in,
    objects::record_in,
    row::{int, json, micros, read_all},
    snapshots::read,
    withheld::show_of_snapshot_in,
};
use crate::model::{Actor, EventKind, Job, NewAudit, Snapshot};

/// A snapshot file whose PUT is about to be granted.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Who writes it.
    pub attempt: AttemptRef,
    /// Of the file, bytes.
    pub length: u64,
    /// Its figures; the id is in them.
    pub result: BackupOutcome,
    /// The time in the snapshot file.
    pub time: Timestamp,
}

/// Snapshots of one attempt. A backup writes one.
const MAX_SNAPSHOTS: i64 = 4;

/// Why a snapshot is not noted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Its attempt may not write it.
    #[error("the attempt may not write this snapshot: {}", .0.as_str())]
    Refused(RefusalReason),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<sqlx::Error> for PublishError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Notes a snapshot before its PUT is granted, if the attempt holds its lease,
    /// has not written too many, and nobody else has written this one. It is listed
    /// once the attempt's report confirms it, or [`confirm_snapshot`] does.
    ///
    /// [`confirm_snapshot`]: Self::confirm_snapshot
    pub async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let now = self.now();
        let mut transaction = self.begin().await?;
        let job = job_in(&mut transaction, publication.attempt.job).await?;
        may_publish_in(&mut transaction, &job, publication, now).await?;
        insert_in(&mut transaction, &job, publication, now).await?;
        let id = publication.result.snapshot;
        let object = (ObjectName::snapshot(id), publication.length);
        let attempt = publication.attempt;
        record_in(&mut transaction, &job.repository, attempt, &[object], now).await?;
        let entry = NewAudit::ok(Actor::Agent(job.agent), "snapshot.publish", &id)
            .detail(serde_json::json!({ "attempt": publication.attempt.to_string() }))
            .trace(&job.trace.trace_id);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(())
    }

    /// Snapshots that were granted but never reported: the agent died in
    /// between. Whether they are there, the store knows.
    pub async fn unconfirmed_snapshots(&self) -> Result<Vec<Snapshot>, CatalogError> {
        let rows = sqlx::query(
            "SELECT s.* FROM snapshots s JOIN jobs j ON j.id = s.job_id
             WHERE s.confirmed = 0
               AND (s.attempt < j.attempt OR j.state IN ('pending', 'succeeded', 'failed', 'cancelled'))
             ORDER BY s.taken_at",
        )
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    /// The snapshot file is there.
    pub async fn confirm_snapshot(
        &self,
        repository: &str,
        id: ObjectId,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let confirmed = sqlx::query(
            "UPDATE snapshots SET confirmed = 1
             WHERE repository = $1 AND id = $2 AND confirmed = 0 RETURNING *",
        )
        .bind(repository)
        .bind(id.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let kind = EventKind::SnapshotConfirmed;
        self.snapshot_event_in(&mut transaction, kind, confirmed.as_ref())
            .await?;
        show_of_snapshot_in(&mut transaction, repository, id, self.now()).await?;
        let entry = NewAudit::ok(Actor::Coordinator, "snapshot.confirm", &id);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }

    /// The snapshot file was never written: forgets an unconfirmed snapshot.
    pub async fn forget_unconfirmed(
        &self,
        repository: &str,
        id: ObjectId,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let dropped = sqlx::query(
            "DELETE FROM snapshots WHERE repository = $1 AND id = $2 AND confirmed = 0 RETURNING *",
        )
        .bind(repository)
        .bind(id.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let kind = EventKind::SnapshotDropped;
        self.snapshot_event_in(&mut transaction, kind, dropped.as_ref())
            .await?;
        sqlx::query("DELETE FROM objects WHERE repository = $1 AND path = $2")
            .bind(repository)
            .bind(ObjectName::snapshot(id).path())
            .execute(&mut *transaction)
            .await?;
        let entry = NewAudit::ok(Actor::Coordinator, "snapshot.forget-unconfirmed", &id);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }
}

impl Catalog {
    /// Confirms a snapshot that this attempt published.
    pub(super) async fn confirm_in(
        &self,
        connection: &mut AnyConnection,
        attempt: AttemptRef,
        result: &BackupOutcome,
        warning_count: u64,
    ) -> Result<(), CatalogError> {
        let confirmed = sqlx::query(
            "UPDATE snapshots SET confirmed = 1, result = $4, warning_count = $5, partial = $6
             WHERE id = $1 AND job_id = $2 AND attempt = $3 RETURNING *",
        )
        .bind(result.snapshot.to_string())
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(json(result))
        .bind(int(warning_count))
        .bind(i64::from(result.partial))
        .fetch_optional(&mut *connection)
        .await?;
        let kind = EventKind::SnapshotConfirmed;
        self.snapshot_event_in(connection, kind, confirmed.as_ref())
            .await
    }
}

/// Decides, in the transaction that notes it: of two that ask at once neither
/// passes by the other.
async fn may_publish_in(
    connection: &mut AnyConnection,
    job: &Job,
    publication: &Publication,
    now: Timestamp,
) -> Result<(), PublishError> {
    let attempt = publication.attempt;
    let id = publication.result.snapshot;
    let refused = |reason| Err(PublishError::Refused(reason));
    match job.state.lease() {
        Some(lease) if job.attempt_ref() == Some(attempt) => {
            if lease.expires_at <= now {
                return refused(RefusalReason::LeaseExpired);
            }
        }
        _ => return refused(RefusalReason::AttemptEnded),
    }
    // The answer was lost, and it asks again.
    if is_published_in(connection, attempt, id).await? {
        return Ok(());
    }
    let written: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM snapshots WHERE job_id = $1 AND attempt = $2")
            .bind(attempt.job.to_string())
            .bind(i64::from(attempt.attempt))
            .fetch_one(&mut *connection)
            .await?;
    if written >= MAX_SNAPSHOTS {
        return refused(RefusalReason::OverBudget);
    }
    let known: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM objects WHERE repository = $1 AND path = $2")
            .bind(job.repository.clone())
            .bind(ObjectName::snapshot(id).path())
            .fetch_one(connection)
            .await?;
    if known > 0 {
        return refused(RefusalReason::AlreadyThere);
    }
    Ok(())
}

/// Enters an unconfirmed snapshot; one that is there stays. It was taken between
/// the moment in which its attempt began and `now`, whatever the agent's clock says:
/// a dataset's snapshots are in the order of the coordinator's time.
async fn insert_in(
    connection: &mut AnyConnection,
    job: &Job,
    publication: &Publication,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let attempt = publication.attempt;
    let began = job.state.lease().map_or(now, |lease| lease.dispatched_at);
    let taken = publication.time.max(began).min(now);
    let mut result = publication.result.clone();
    result.no_later_than(now);
    let dataset = job.dataset.as_ref().ok_or_else(|| CatalogError::Conflict {
        what: "job",
        name: job.id.to_string(),
        problem: "backs up no dataset and cannot publish a snapshot".into(),
    })?;
    sqlx::query(
        "INSERT INTO snapshots (id, repository, dataset, policy, agent_id, job_id, attempt,
                                taken_at, published_at, result, warning_count, pinned,
                                confirmed, partial)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, 0, $11)
         ON CONFLICT (repository, id) DO NOTHING",
    )
    .bind(result.snapshot.to_string())
    .bind(job.repository.clone())
    .bind(dataset.to_string())
    .bind(dataset.policy.clone())
    .bind(job.agent.to_string())
    .bind(attempt.job.to_string())
    .bind(i64::from(attempt.attempt))
    .bind(micros(taken))
    .bind(micros(now))
    .bind(json(&result))
    .bind(i64::from(result.partial))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether this attempt published a snapshot of that id.
pub(super) async fn is_published_in(
    connection: &mut AnyConnection,
    attempt: AttemptRef,
    id: ObjectId,
) -> Result<bool, CatalogError> {
    let published: Option<i64> = sqlx::query_scalar(
        "SELECT attempt FROM snapshots WHERE id = $1 AND job_id = $2 AND attempt = $3",
    )
    .bind(id.to_string())
    .bind(attempt.job.to_string())
    .bind(i64::from(attempt.attempt))
    .fetch_optional(connection)
    .await?;
    Ok(published.is_some())
}
