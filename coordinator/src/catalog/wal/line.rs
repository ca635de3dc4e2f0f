//! Lines of log: whose ended where, and which goes on.
//!
//! A line ends for whoever finds other content at the same place: whatever comes
//! behind it is another story. A base backup that begins later begins its next line;
//! one that was under way is of the line that was left. [`lines`](super::lines) says
//! which that is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::{
    ObjectId, ObjectName, SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_spec::BackupOutcome;

use super::{
    super::{
        Catalog, CatalogError,
        row::{Columns, int, micros, read_all},
    },
    lines::{Share, WalLines},
};
use crate::model::{
    Actor, AuditOutcome, DatasetName, EventKind, NewAudit, NewEvent, Subject, WalArchive, WalBreak,
    WalConflict, WalLine,
};

impl Catalog {
    /// The line that a dataset goes on with, or its last one, which has ended.
    pub async fn wal_line(
        &self,
        repository: &str,
        system: SystemId,
        dataset: &DatasetName,
    ) -> Result<WalLine, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let lines = lines_in(&mut connection, repository, system).await?;
        line_in(&mut connection, repository, system, (dataset, &lines)).await
    }

    /// All lines of a cluster.
    pub async fn wal_lines(
        &self,
        repository: &str,
        system: SystemId,
    ) -> Result<WalLines, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        lines_in(&mut connection, repository, system).await
    }

    /// When each snapshot of a repository was begun, by the coordinator's clock.
    pub async fn snapshots_begun(
        &self,
        repository: &str,
    ) -> Result<BTreeMap<ObjectId, Timestamp>, CatalogError> {
        let rows = sqlx::query(
            "SELECT s.id, COALESCE(a.dispatched_at, s.published_at) AS begun FROM snapshots s
             LEFT JOIN job_attempts a ON a.job_id = s.job_id AND a.attempt = s.attempt
             WHERE s.repository = $1",
        )
        .bind(repository)
        .fetch_all(self.pool())
        .await?;
        let begun = read_all(&rows, |row| {
            let row = Columns::new("snapshots", row);
            Ok((row.parse("id")?, row.time("begun")?))
        })?;
        Ok(begun.into_iter().collect())
    }

    /// Of which clusters a dataset has base backups in a repository.
    pub async fn clusters_with_bases(
        &self,
        repository: &str,
        dataset: &DatasetName,
    ) -> Result<BTreeSet<SystemId>, CatalogError> {
        let rows = sqlx::query(
            "SELECT result FROM snapshots
             WHERE repository = $1 AND dataset = $2 AND confirmed = 1",
        )
        .bind(repository)
        .bind(dataset.to_string())
        .fetch_all(self.pool())
        .await?;
        let systems = read_all(&rows, system_of)?;
        Ok(systems.into_iter().flatten().collect())
    }

    /// Reserves the number of a timeline for a recovery of the cluster: greater than
    /// all that are known in any line, that were reserved before, and than `known`.
    pub async fn reserve_timeline(
        &self,
        archive: &WalArchive,
        known: TimelineId,
    ) -> Result<TimelineId, CatalogError> {
        let mut transaction = self.begin().await?;
        let mut greatest = i64::from(known.0);
        for sql in [
            "SELECT MAX(timeline) FROM wal_stretches WHERE repository = $1 AND system = $2",
            "SELECT MAX(timeline) FROM wal_histories WHERE repository = $1 AND system = $2",
            "SELECT MAX(timeline) FROM wal_timelines WHERE repository = $1 AND system = $2",
        ] {
            let found: Option<i64> = sqlx::query_scalar(sql)
                .bind(archive.repository.clone())
                .bind(archive.system.to_string())
                .fetch_one(&mut *transaction)
                .await?;
            greatest = greatest.max(found.unwrap_or(0));
        }
        let next = u32::try_from(greatest.saturating_add(1)).unwrap_or(u32::MAX);
        sqlx::query(
            "INSERT INTO wal_timelines (repository, system, timeline, reserved_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (repository, system, timeline) DO NOTHING",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(next))
        .bind(micros(self.now()))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(TimelineId(next))
    }

    /// Ends a line for a dataset, which goes on with `next`; audited.
    pub(super) async fn end_line(
        &self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        (dataset, next): (&DatasetName, u32),
        conflict: &WalConflict,
    ) -> Result<WalBreak, CatalogError> {
        let broken = WalBreak {
            line: archive.line,
            next,
            dataset: dataset.clone(),
            at: self.now(),
            timeline: conflict.timeline,
            lsn: conflict.lsn,
            cause: conflict.cause.clone(),
        };
        sqlx::query(
            "INSERT INTO wal_breaks (repository, system, line, dataset, next_line, at, timeline,
                                     lsn, cause, refused)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(archive.repository.clone())
        .bind(conflict.system.to_string())
        .bind(i64::from(broken.line))
        .bind(dataset.to_string())
        .bind(i64::from(broken.next))
        .bind(micros(broken.at))
        .bind(i64::from(broken.timeline.0))
        .bind(int(broken.lsn.0))
        .bind(broken.cause.clone())
        .bind(conflict.refused.as_ref().map(ObjectName::path))
        .execute(&mut *connection)
        .await?;
        let event = ended(archive, &broken);
        self.event_in(connection, event).await?;
        self.audit_conflict(connection, archive, dataset, conflict)
            .await?;
        Ok(broken)
    }

    /// Notes in the audit log that a dataset's log contradicts its line.
    pub(super) async fn audit_conflict(
        &self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        dataset: &DatasetName,
        conflict: &WalConflict,
    ) -> Result<(), CatalogError> {
        let entry = NewAudit::ok(Actor::Coordinator, "wal.conflict", &dataset)
            .outcome(AuditOutcome::Failed)
            .detail(serde_json::json!({
                "repository": archive.repository,
                "system": conflict.system.to_string(),
                "line": archive.line,
                "timeline": conflict.timeline.0,
                "lsn": conflict.lsn.to_string(),
                "cause": conflict.cause,
            }));
        self.audit_in(connection, entry).await
    }
}

/// The event of a line's end.
fn ended(archive: &WalArchive, broken: &WalBreak) -> NewEvent {
    let subject = Subject {
        dataset: Some(broken.dataset.clone()),
        policy: Some(broken.dataset.policy.clone()),
        ..Subject::repository(&archive.repository)
    };
    NewEvent::new(EventKind::LogEnded, subject).detail(serde_json::json!({
        "agent": broken.dataset.agent,
        "system": archive.system.to_string(),
        "line": broken.line,
        "timeline": broken.timeline.0,
        "lsn": broken.lsn.to_string(),
        "cause": broken.cause,
    }))
}

/// See [`Catalog::wal_lines`].
pub(super) async fn lines_in(
    connection: &mut AnyConnection,
    repository: &str,
    system: SystemId,
) -> Result<WalLines, CatalogError> {
    let rows = sqlx::query(
        "SELECT * FROM wal_shares WHERE repository = $1 AND system = $2 ORDER BY since, dataset",
    )
    .bind(repository)
    .bind(system.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let shares = read_all(&rows, read_share)?;
    let rows =
        sqlx::query("SELECT * FROM wal_breaks WHERE repository = $1 AND system = $2 ORDER BY line")
            .bind(repository)
            .bind(system.to_string())
            .fetch_all(connection)
            .await?;
    let breaks = read_all(&rows, read_break)?;
    Ok(WalLines { shares, breaks })
}

/// See [`Catalog::wal_line`].
pub(super) async fn line_in(
    connection: &mut AnyConnection,
    repository: &str,
    system: SystemId,
    (dataset, lines): (&DatasetName, &WalLines),
) -> Result<WalLine, CatalogError> {
    let archive = |line| WalArchive {
        repository: repository.to_owned(),
        system,
        line,
    };
    let line = lines.at(dataset, Timestamp::MAX);
    let Some(before) = lines.began(line) else {
        return Ok(WalLine {
            archive: archive(line),
            broken: None,
        });
    };
    let rows = sqlx::query(
        "SELECT s.dataset, s.result, a.dispatched_at FROM snapshots s
         JOIN job_attempts a ON a.job_id = s.job_id AND a.attempt = s.attempt
         WHERE s.repository = $1 AND s.confirmed = 1 AND a.dispatched_at > $2",
    )
    .bind(repository)
    .bind(micros(before.at))
    .fetch_all(connection)
    .await?;
    let bases = read_all(&rows, |row| {
        let of = system_of(row)?;
        let row = Columns::new("snapshots", row);
        let dataset: DatasetName = row.parse("dataset")?;
        Ok((of, dataset, row.time("dispatched_at")?))
    })?;
    let mut bases = bases.iter();
    let begun = bases.any(|(of, by, at)| *of == Some(system) && lines.at(by, *at) == line);
    Ok(if begun {
        WalLine {
            archive: archive(line),
            broken: None,
        }
    } else {
        WalLine {
            archive: archive(before.line),
            broken: Some(before.clone()),
        }
    })
}

/// Notes that a dataset has some of a timeline in a line now, and since when.
pub(super) async fn share_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    share: &Share,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO wal_shares (repository, system, line, timeline, dataset, since)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (repository, system, line, timeline, dataset) DO NOTHING",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(share.line))
    .bind(i64::from(share.timeline.0))
    .bind(share.dataset.to_string())
    .bind(micros(share.since))
    .execute(connection)
    .await?;
    Ok(())
}

/// The cluster that a snapshot is of, if it is a base backup.
fn system_of(row: &AnyRow) -> Result<Option<SystemId>, CatalogError> {
    let result: BackupOutcome = Columns::new("snapshots", row).json("result")?;
    Ok(result.cluster.map(|point| point.system))
}

fn read_share(row: &AnyRow) -> Result<Share, CatalogError> {
    let row = Columns::new("wal_shares", row);
    Ok(Share {
        line: row.number("line")?,
        timeline: row.timeline("timeline")?,
        dataset: row.parse("dataset")?,
        since: row.time("since")?,
    })
}

fn read_break(row: &AnyRow) -> Result<WalBreak, CatalogError> {
    let row = Columns::new("wal_breaks", row);
    Ok(WalBreak {
        line: row.number("line")?,
        next: row.number("next_line")?,
        dataset: row.parse("dataset")?,
        at: row.time("at")?,
        timeline: row.timeline("timeline")?,
        lsn: row.number("lsn").map(Lsn)?,
        cause: row.text("cause")?,
    })
}

/// The number of a line in which there is nothing.
pub(super) async fn fresh_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    lines: &WalLines,
) -> Result<u32, CatalogError> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(line) FROM wal_parts WHERE repository = $1 AND system = $2")
            .bind(archive.repository.clone())
            .bind(archive.system.to_string())
            .fetch_one(connection)
            .await?;
    let last = last.and_then(|line| u32::try_from(line).ok());
    let behind = last.map_or(0, |line| line.saturating_add(1));
    Ok(lines.next().max(behind))
}
