//! Entering what an agent has stored.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe};
use strongroom_layout::{AttemptRef, JobId, ObjectName, position::Lsn};
use strongroom_wire::wal::{
    RecordWalRequest, RestorePoint, StoredHistory, StoredWal, UNIT, WalBehind, WalPosition,
};

use super::{
    super::{
        Catalog, CatalogError,
        row::{Columns, int, json, micros, read_all},
    },
    compare::{Known, Verdict, compare},
    conflict::contradiction,
    line::{fresh_in, lines_in},
    read::read_history,
    speaker::Lines,
    stretch,
    tails::tails_in,
};
use crate::model::{DatasetName, WalArchive, WalBreak, WalConflict, WalStretch};

/// A part is superseded only by one that comes soon after it: whoever steals an
/// agent must not be able to have old parts deleted by claiming new ones.
const SOON: SignedDuration = SignedDuration::from_hours(48);

/// What was granted longer ago is not entered any more: it is about to be
/// deleted ([`useless_wal`](Catalog::useless_wal) with a later time).
const ENTERED_WITHIN: SignedDuration = SignedDuration::from_hours(23);

/// Restore points per statement: 6 values each.
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
    /// It does not say what could be compared.
    #[error(
        "{0} comes without a digest of its content, so that nobody could tell it from another: \
         update the agent"
    )]
    Undigested(ObjectName),
    /// The same place holds other content: this log has ended.
    #[error("{0}")]
    Conflict(WalBreak),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What stands against an entry, before it is known what to do about it.
enum Objection {
    Conflict(WalConflict),
    Other(RecordError),
}

impl Objection {
    /// The conflict, if that is what it is.
    fn into_conflict(self) -> Result<WalConflict, RecordError> {
        match self {
            Self::Conflict(conflict) => Ok(conflict),
            Self::Other(error) => Err(error),
        }
    }
}

impl From<CatalogError> for Objection {
    fn from(error: CatalogError) -> Self {
        Self::Other(error.into())
    }
}

impl From<sqlx::Error> for Objection {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<sqlx::Error> for RecordError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Enters what `dataset`'s agent has stored in the repository, with no time
    /// that is later than the coordinator's own; all or nothing, but that the
    /// attempt's job has `points` restore points at most: gives how many were left
    /// out. What is there already stays. What contradicts it is not entered, nor is
    /// what comes behind that: what came before it is, and this line of log ends
    /// there for the dataset, audited. Wakes nobody but those who wait for the
    /// repository.
    pub async fn record_wal(
        &self,
        repository: &str,
        dataset: &DatasetName,
        request: &RecordWalRequest,
        points: u64,
    ) -> Result<u64, RecordError> {
        let mut transaction = self.begin().await?;
        let entered = self
            .enter_wal(&mut transaction, repository, dataset, request, points)
            .await?;
        let left_out = match entered {
            Ok(left_out) => left_out,
            Err((archive, conflict)) => {
                let lines = lines_in(&mut transaction, repository, archive.system).await?;
                let next = fresh_in(&mut transaction, &archive, &lines).await?;
                let broken = self
                    .end_line(&mut transaction, &archive, (dataset, next), &conflict)
                    .await?;
                self.commit(transaction).await?;
                return Err(RecordError::Conflict(broken));
            }
        };
        // The agent could open it, so it is there.
        if self.mark_ready_in(&mut transaction, repository).await? {
            self.commit(transaction).await?;
        } else {
            transaction.commit().await?;
        }
        Ok(left_out)
    }

    /// Up to the first conflict, and the line that it ends.
    async fn enter_wal(
        &self,
        connection: &mut AnyConnection,
        repository: &str,
        dataset: &DatasetName,
        request: &RecordWalRequest,
        points: u64,
    ) -> Result<Result<u64, (WalArchive, WalConflict)>, RecordError> {
        let mut lines = Lines::new(repository, dataset);
        let mut named = Vec::new();
        let mut conflict = None;
        for part in &request.stored {
            check(part)?;
            known_in(connection, repository, part.object(), self.now()).await?;
            let archive = lines.of(connection, part.system).await?;
            match self
                .enter_part(connection, &archive, &mut lines, part)
                .await
            {
                Ok(false) => {}
                Ok(true) => {
                    let points = part.restore_points.iter();
                    named.extend(points.map(|point| (part, archive.line, point)));
                }
                Err(objection) => {
                    conflict = Some((archive, objection.into_conflict()?));
                    break;
                }
            }
        }
        let left_out = self
            .enter_points(
                connection,
                (repository, dataset),
                request.attempt,
                named,
                points,
            )
            .await?;
        if let Some(conflict) = conflict {
            return Ok(Err(conflict));
        }
        for history in &request.histories {
            known_in(connection, repository, history.object(), self.now()).await?;
            let archive = lines.of(connection, history.system).await?;
            let entered = enter_history(connection, &archive, &mut lines, history, self.now());
            if let Err(objection) = entered.await {
                return Ok(Err((archive, objection.into_conflict()?)));
            }
        }
        if let Some(behind) = &request.behind {
            let archive = lines.of(connection, behind.system).await?;
            let checked = check_behind(connection, &archive, &lines, behind);
            if let Err(objection) = checked.await {
                return Ok(Err((archive, objection.into_conflict()?)));
            }
        }
        if let Some(position) = &request.position {
            let archive = lines.of(connection, position.system).await?;
            self.enter_position(connection, &archive, dataset, position)
                .await?;
        }
        Ok(Ok(left_out))
    }

    /// Whether the names in it are to be entered: it was not there yet, or is another's.
    async fn enter_part(
        &self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        lines: &mut Lines<'_>,
        part: &StoredWal,
    ) -> Result<bool, Objection> {
        let dataset = lines.dataset;
        let known = known_parts(connection, archive, part).await?;
        let differs = |other: &Known| Objection::Conflict(contradiction(part, other));
        compare(&known, part).map_err(differs)?;
        // What the store has lost is known still, and not there.
        let there: Vec<Known> = known.into_iter().filter(|known| !known.lost).collect();
        let but = match compare(&there, part).map_err(differs)? {
            Verdict::There => {
                let mut same = there
                    .iter()
                    .filter(|it| (it.start, it.end) == (part.start, part.end));
                return Ok(same.all(|it| it.dataset != *dataset));
            }
            Verdict::New { but } => but,
        };
        // What was lost in its place gives way.
        sqlx::query(
            "DELETE FROM wal_parts
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND start_lsn = $5 AND end_lsn = $6 AND lost_at IS NOT NULL",
        )
        .bind(archive.repository.clone())
        .bind(part.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(part.timeline.0))
        .bind(int(part.start.0))
        .bind(int(part.end.0))
        .execute(&mut *connection)
        .await?;
        let digest = |at: Lsn| {
            let mut digests = part.digests.iter();
            digests
                .find(|it| it.at == at)
                .map(|it| it.digest.to_string())
        };
        let commits = part.commits;
        sqlx::query(
            "INSERT INTO wal_parts (repository, system, line, timeline, start_lsn, end_lsn, id,
                                    length, digest, start_digest, commits, last_commit,
                                    first_xid, last_xid, dataset, stored_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        )
        .bind(archive.repository.clone())
        .bind(part.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(part.timeline.0))
        .bind(int(part.start.0))
        .bind(int(part.end.0))
        .bind(part.id.to_string())
        .bind(int(part.length))
        .bind(digest(part.end))
        .bind(digest(part.start))
        .bind(commits.map_or(0, |it| int(it.count)))
        .bind(commits.map(|it| micros(it.last.min(self.now()))))
        .bind(commits.map(|it| i64::from(it.first_xid)))
        .bind(commits.map(|it| i64::from(it.last_xid)))
        .bind(dataset.to_string())
        .bind(micros(self.now()))
        .execute(&mut *connection)
        .await?;
        supersede(connection, archive, part, &but, self.now()).await?;
        lines
            .share(connection, archive, part.timeline, self.now())
            .await?;
        let covered = WalStretch {
            timeline: part.timeline,
            start: part.start,
            end: part.end,
        };
        stretch::add_in(connection, archive, covered).await?;
        Ok(true)
    }

    /// Enters the first of these restore points, so that the job has `most` of them
    /// at most; gives how many were left out.
    async fn enter_points(
        &self,
        connection: &mut AnyConnection,
        (repository, dataset): (&str, &DatasetName),
        attempt: AttemptRef,
        mut named: Vec<(&StoredWal, u32, &RestorePoint)>,
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
                "INSERT INTO wal_restore_points (repository, dataset, system, line, timeline, lsn,
                                                 name, at)
                 VALUES ",
            );
            for row in 0..chunk.len() {
                let comma = if row == 0 { "" } else { ", " };
                let at = |column: usize| 2 + row * 6 + column;
                // Writing to a String cannot fail.
                let _ = write!(
                    sql,
                    "{comma}($1, $2, ${}, ${}, ${}, ${}, ${}, ${})",
                    at(1),
                    at(2),
                    at(3),
                    at(4),
                    at(5),
                    at(6)
                );
            }
            sql.push_str(
                "
                 ON CONFLICT (repository, system, line, timeline, lsn, name, dataset) DO NOTHING",
            );
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(repository)
                .bind(dataset.to_string());
            for (part, line, point) in chunk {
                query = query
                    .bind(part.system.to_string())
                    .bind(i64::from(*line))
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
        archive: &WalArchive,
        dataset: &DatasetName,
        position: &WalPosition,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO wal_positions (dataset, repository, system, line, timeline, lsn, as_of,
                                        waiting, problem, reported_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (dataset) DO UPDATE SET
                 repository = excluded.repository, system = excluded.system, line = excluded.line,
                 timeline = excluded.timeline, lsn = excluded.lsn, as_of = excluded.as_of,
                 waiting = excluded.waiting, problem = excluded.problem,
                 reported_at = excluded.reported_at",
        )
        .bind(dataset.to_string())
        .bind(archive.repository.clone())
        .bind(position.system.to_string())
        .bind(i64::from(archive.line))
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

/// An objection, if more is archived of the timeline than the server has. What others
/// claim to have of it is found out when it gets there.
async fn check_behind(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    lines: &Lines<'_>,
    behind: &WalBehind,
) -> Result<(), Objection> {
    let of = (lines.dataset, &lines.known);
    let tails = tails_in(connection, archive, of).await?;
    let (timeline, flushed) = (behind.timeline, behind.flushed);
    let Some(end) = tails.get(&timeline).filter(|end| flushed < **end) else {
        return Ok(());
    };
    Err(Objection::Conflict(WalConflict {
        system: behind.system,
        timeline,
        lsn: flushed,
        cause: format!(
            "the server's log ends at {flushed} of timeline {timeline}, before what is archived of \
             it, which ends at {end}: the server was put back to an earlier state"
        ),
        refused: None,
    }))
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
    if !part.digests.iter().any(|it| it.at == part.end) {
        return Err(RecordError::Undigested(part.object()));
    }
    Ok(())
}

/// Parts of the line that lie in the unit of this one.
async fn known_parts(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    part: &StoredWal,
) -> Result<Vec<Known>, CatalogError> {
    let unit = part.start.0 / UNIT * UNIT;
    let rows = sqlx::query(
        "SELECT start_lsn, end_lsn, id, dataset, digest, start_digest, lost_at FROM wal_parts
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
           AND start_lsn >= $5 AND end_lsn <= $6
         ORDER BY start_lsn, end_lsn",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(part.timeline.0))
    .bind(int(unit))
    .bind(int(unit.saturating_add(UNIT)))
    .fetch_all(connection)
    .await?;
    read_all(&rows, |row| {
        let row = Columns::new("wal_parts", row);
        Ok(Known {
            start: row.lsn("start_lsn")?,
            end: row.lsn("end_lsn")?,
            id: row.parse("id")?,
            dataset: row.parse("dataset")?,
            digest: row.opt_parse("digest")?,
            start_digest: row.opt_parse("start_digest")?,
            lost: row.opt_time("lost_at")?.is_some(),
        })
    })
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

/// Marks the parts that lie in this one, but for some: start, end.
async fn supersede(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    part: &StoredWal,
    but: &[(Lsn, Lsn)],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let since = now.saturating_sub(SOON).unwrap_or(Timestamp::MIN);
    sqlx::query(
        "UPDATE wal_parts SET superseded_at = $7
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
           AND start_lsn >= $5 AND end_lsn <= $6 AND id <> $8
           AND superseded_at IS NULL AND stored_at >= $9",
    )
    .bind(archive.repository.clone())
    .bind(part.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(part.timeline.0))
    .bind(int(part.start.0))
    .bind(int(part.end.0))
    .bind(micros(now))
    .bind(part.id.to_string())
    .bind(micros(since))
    .execute(&mut *connection)
    .await?;
    for (start, end) in but {
        sqlx::query(
            "UPDATE wal_parts SET superseded_at = NULL
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND start_lsn = $5 AND end_lsn = $6 AND superseded_at = $7",
        )
        .bind(archive.repository.clone())
        .bind(part.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(part.timeline.0))
        .bind(int(start.0))
        .bind(int(end.0))
        .bind(micros(now))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn enter_history(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    lines: &mut Lines<'_>,
    history: &StoredHistory,
    now: Timestamp,
) -> Result<(), Objection> {
    let row = sqlx::query(
        "SELECT * FROM wal_histories
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(history.timeline.0))
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(known) = row.as_ref().map(read_history).transpose()? {
        let digests = known.digest.zip(history.digest);
        if known.legs == history.legs && digests.is_none_or(|(known, now)| known == now) {
            return Ok(());
        }
        return Err(Objection::Conflict(WalConflict {
            system: history.system,
            timeline: history.timeline,
            lsn: history
                .legs
                .last()
                .and_then(|leg| leg.until)
                .unwrap_or(Lsn(0)),
            cause: format!(
                "what the server gives as the history of timeline {} ({}) is not what is archived \
                 as that ({}): two servers took one timeline",
                history.timeline,
                history.object(),
                known.object()
            ),
            refused: Some(history.object()),
        }));
    }
    sqlx::query(
        "INSERT INTO wal_histories (repository, system, line, timeline, id, length, digest, legs)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(archive.repository.clone())
    .bind(history.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(history.timeline.0))
    .bind(history.id.to_string())
    .bind(int(history.length))
    .bind(history.digest.map(|digest| digest.to_string()))
    .bind(json(&history.legs))
    .execute(&mut *connection)
    .await?;
    lines
        .share(connection, archive, history.timeline, now)
        .await?;
    Ok(())
}
