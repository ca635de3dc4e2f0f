//! Entering what an agent has stored.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe};
use strongroom_layout::{AttemptRef, JobId, ObjectName};
use strongroom_wire::wal::{
    RecordWalRequest, RestorePoint, StoredHistory, StoredWal, UNIT, WalPosition,
};

use super::{
    super::{
        Catalog, CatalogError,
        row::{Columns, int, json, micros},
    },
    stretch,
};
use crate::model::{DatasetName, WalArchive, WalStretch};

/// A part is superseded only by one that comes soon after it: whoever steals an
/// agent must not be able to have old parts deleted by claiming new ones.
const SOON: SignedDuration = SignedDuration::from_hours(48);

/// What was granted longer ago is not entered any more: it is about to be
/// deleted ([`useless_wal`](Catalog::useless_wal) with a later time).
const ENTERED_WITHIN: SignedDuration = SignedDuration::from_hours(23);

/// Restore points per statement: 5 values each.
const POINTS_PER_STATEMENT: usize = 100;

/// Why something is not entered.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It crosses a border that no part may cross.
    #[error("{0} crosses a multiple of {UNIT} bytes: store it in two parts")]
    Crosses(ObjectName),
    /// Positions that no log reaches.
    #[error("{0} is no place in a log")]
    Impossible(ObjectName),
    /// Nobody was granted its PUT, or it was deleted since.
    #[error("{0} is not in the store: store it first, or again")]
    NotStored(ObjectName),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<sqlx::Error> for RecordError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Enters what `dataset`'s agent has stored in the repository, with no time
    /// that is later than the coordinator's own; all or
    /// nothing, but that the attempt's job has `points` restore points at most:
    /// gives how many were left out. What is there already stays. Wakes nobody but
    /// those who wait for the repository.
    pub async fn record_wal(
        &self,
        repository: &str,
        dataset: &DatasetName,
        request: &RecordWalRequest,
        points: u64,
    ) -> Result<u64, RecordError> {
        let mut transaction = self.begin().await?;
        let mut named = Vec::new();
        for part in &request.stored {
            check(part)?;
            known_in(&mut transaction, repository, part.object(), self.now()).await?;
            if self
                .enter_part(&mut transaction, repository, dataset, part)
                .await?
            {
                named.extend(part.restore_points.iter().map(|point| (part, point)));
            }
        }
        let left_out = self
            .enter_points(&mut transaction, repository, request.attempt, named, points)
            .await?;
        for history in &request.histories {
            known_in(&mut transaction, repository, history.object(), self.now()).await?;
            enter_history(&mut transaction, repository, history).await?;
        }
        if let Some(position) = &request.position {
            self.enter_position(&mut transaction, repository, dataset, position)
                .await?;
        }
        // The agent could open it, so it is there.
        if self.mark_ready_in(&mut transaction, repository).await? {
            self.commit(transaction).await?;
        } else {
            transaction.commit().await?;
        }
        Ok(left_out)
    }

    /// Whether it was not there yet.
    async fn enter_part(
        &self,
        connection: &mut AnyConnection,
        repository: &str,
        dataset: &DatasetName,
        part: &StoredWal,
    ) -> Result<bool, CatalogError> {
        let commits = part.commits;
        let entered = sqlx::query(
            "INSERT INTO wal_parts (repository, system, timeline, start_lsn, end_lsn, id, length,
                                    commits, last_commit, first_xid, last_xid, dataset, stored_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (repository, system, timeline, start_lsn, end_lsn) DO NOTHING",
        )
        .bind(repository)
        .bind(part.system.to_string())
        .bind(i64::from(part.timeline.0))
        .bind(int(part.start.0))
        .bind(int(part.end.0))
        .bind(part.id.to_string())
        .bind(int(part.length))
        .bind(commits.map_or(0, |it| int(it.count)))
        .bind(commits.map(|it| micros(it.last.min(self.now()))))
        .bind(commits.map(|it| i64::from(it.first_xid)))
        .bind(commits.map(|it| i64::from(it.last_xid)))
        .bind(dataset.to_string())
        .bind(micros(self.now()))
        .execute(&mut *connection)
        .await?;
        if entered.rows_affected() == 0 {
            return Ok(false);
        }
        supersede(connection, repository, part, self.now()).await?;
        let archive = WalArchive {
            repository: repository.to_owned(),
            system: part.system,
        };
        let covered = WalStretch {
            timeline: part.timeline,
            start: part.start,
            end: part.end,
        };
        stretch::add_in(connection, &archive, covered).await?;
        Ok(true)
    }

    /// Enters the first of these restore points, so that the job has `most` of them
    /// at most; gives how many were left out.
    async fn enter_points(
        &self,
        connection: &mut AnyConnection,
        repository: &str,
        attempt: AttemptRef,
        mut named: Vec<(&StoredWal, &RestorePoint)>,
        most: u64,
    ) -> Result<u64, CatalogError> {
        if named.is_empty() {
            return Ok(0);
        }
        let room = most.saturating_sub(points_of(connection, attempt.job).await?);
        let wanted = named.len();
        named.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        let left_out = wanted - named.len();
        let mut entered = 0;
        for chunk in named.chunks(POINTS_PER_STATEMENT) {
            let mut sql = String::from(
                "INSERT INTO wal_restore_points (repository, system, timeline, lsn, name, at)
                 VALUES ",
            );
            for row in 0..chunk.len() {
                let comma = if row == 0 { "" } else { ", " };
                let at = |column: usize| 1 + row * 5 + column;
                // Writing to a String cannot fail.
                let _ = write!(
                    sql,
                    "{comma}($1, ${}, ${}, ${}, ${}, ${})",
                    at(1),
                    at(2),
                    at(3),
                    at(4),
                    at(5)
                );
            }
            sql.push_str(" ON CONFLICT (repository, system, timeline, lsn, name) DO NOTHING");
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(repository);
            for (part, point) in chunk {
                query = query
                    .bind(part.system.to_string())
                    .bind(i64::from(part.timeline.0))
                    .bind(int(point.lsn.0))
                    .bind(point.name.clone())
                    .bind(micros(point.at.min(self.now())));
            }
            entered += query.execute(&mut *connection).await?.rows_affected();
        }
        sqlx::query(
            "UPDATE job_attempts SET restore_points = restore_points + $3
             WHERE job_id = $1 AND attempt = $2",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(int(entered))
        .execute(connection)
        .await?;
        Ok(left_out as u64)
    }

    async fn enter_position(
        &self,
        connection: &mut AnyConnection,
        repository: &str,
        dataset: &DatasetName,
        position: &WalPosition,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO wal_positions (dataset, repository, system, timeline, lsn, as_of, waiting,
                                        problem, reported_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (dataset) DO UPDATE SET
                 repository = excluded.repository, system = excluded.system,
                 timeline = excluded.timeline, lsn = excluded.lsn, as_of = excluded.as_of,
                 waiting = excluded.waiting, problem = excluded.problem,
                 reported_at = excluded.reported_at",
        )
        .bind(dataset.to_string())
        .bind(repository)
        .bind(position.system.to_string())
        .bind(i64::from(position.timeline.0))
        .bind(int(position.lsn.0))
        .bind(position.as_of.map(|it| micros(it.min(self.now()))))
        .bind(int(position.waiting))
        .bind(position.problem.clone())
        .bind(micros(self.now()))
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Those that the job's attempts have entered.
async fn points_of(connection: &mut AnyConnection, job: JobId) -> Result<u64, CatalogError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(restore_points), 0) AS BIGINT) AS restore_points
         FROM job_attempts WHERE job_id = $1",
    )
    .bind(job.to_string())
    .fetch_one(connection)
    .await?;
    Columns::new("job_attempts", &row).number("restore_points")
}

fn check(part: &StoredWal) -> Result<(), RecordError> {
    let (start, last) = (part.start.0, part.end.0 - 1);
    if i64::try_from(part.end.0).is_err() {
        return Err(RecordError::Impossible(part.object()));
    }
    if start / UNIT != last / UNIT {
        return Err(RecordError::Crosses(part.object()));
    }
    Ok(())
}

/// What nobody was granted, or what may be deleted because nobody entered it, is
/// not entered: it would be a hole that nobody sees.
async fn known_in(
    connection: &mut AnyConnection,
    repository: &str,
    object: ObjectName,
    now: Timestamp,
) -> Result<(), RecordError> {
    let granted: Option<i64> =
        sqlx::query_scalar("SELECT granted_at FROM objects WHERE repository = $1 AND path = $2")
            .bind(repository)
            .bind(object.path())
            .fetch_optional(connection)
            .await?;
    let since = now.saturating_sub(ENTERED_WITHIN).unwrap_or(Timestamp::MIN);
    granted
        .filter(|at| *at >= micros(since))
        .map(drop)
        .ok_or(RecordError::NotStored(object))
}

/// Marks the parts that lie in this one.
async fn supersede(
    connection: &mut AnyConnection,
    repository: &str,
    part: &StoredWal,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let since = now.saturating_sub(SOON).unwrap_or(Timestamp::MIN);
    sqlx::query(
        "UPDATE wal_parts SET superseded_at = $6
         WHERE repository = $1 AND system = $2 AND timeline = $3
           AND start_lsn >= $4 AND end_lsn <= $5 AND id <> $7
           AND superseded_at IS NULL AND stored_at >= $8",
    )
    .bind(repository)
    .bind(part.system.to_string())
    .bind(i64::from(part.timeline.0))
    .bind(int(part.start.0))
    .bind(int(part.end.0))
    .bind(micros(now))
    .bind(part.id.to_string())
    .bind(micros(since))
    .execute(connection)
    .await?;
    Ok(())
}

async fn enter_history(
    connection: &mut AnyConnection,
    repository: &str,
    history: &StoredHistory,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO wal_histories (repository, system, timeline, id, length, legs)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (repository, system, timeline) DO NOTHING",
    )
    .bind(repository)
    .bind(history.system.to_string())
    .bind(i64::from(history.timeline.0))
    .bind(history.id.to_string())
    .bind(int(history.length))
    .bind(json(&history.legs))
    .execute(connection)
    .await?;
    Ok(())
}
