//! Lines of log: where one ended, and which goes on.
//!
//! A line ends when the same place in the log holds other content: whatever comes
//! behind it is another story. A base backup that is published later begins the
//! next line. Of which line a base backup is follows from when it was published.

use std::collections::BTreeSet;

use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::{
    ObjectId, ObjectName, SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_wire::job::BackupResult;

use super::super::{
    Catalog, CatalogError,
    row::{Columns, int, micros, read_all},
};
use crate::model::{
    Actor, DatasetName, NewAudit, Outcome, WalArchive, WalBreak, WalConflict, WalLine,
};

impl Catalog {
    /// The line that goes on, or the last one, which has ended.
    pub async fn wal_line(
        &self,
        repository: &str,
        system: SystemId,
    ) -> Result<WalLine, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        line_in(&mut connection, repository, system).await
    }

    /// Where lines of a cluster ended, oldest first: one for each that did.
    pub async fn wal_breaks(
        &self,
        repository: &str,
        system: SystemId,
    ) -> Result<Vec<WalBreak>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM wal_breaks WHERE repository = $1 AND system = $2 ORDER BY line",
        )
        .bind(repository)
        .bind(system.to_string())
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_break)
    }

    /// Snapshots of a repository that were published behind the end of a line.
    pub async fn published_behind(
        &self,
        repository: &str,
        end: &WalBreak,
    ) -> Result<BTreeSet<ObjectId>, CatalogError> {
        let rows =
            sqlx::query("SELECT id FROM snapshots WHERE repository = $1 AND published_at > $2")
                .bind(repository)
                .bind(micros(end.at))
                .fetch_all(self.pool())
                .await?;
        let ids = read_all(&rows, |row| Columns::new("snapshots", row).parse("id"))?;
        Ok(ids.into_iter().collect())
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

    /// Whether a dataset's agent has entered some of a line.
    pub async fn has_entered_wal(
        &self,
        dataset: &DatasetName,
        archive: &WalArchive,
    ) -> Result<bool, CatalogError> {
        let has: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM wal_parts
             WHERE repository = $1 AND system = $2 AND line = $3 AND dataset = $4 LIMIT 1",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(dataset.to_string())
        .fetch_optional(self.pool())
        .await?;
        Ok(has.is_some())
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

    /// Ends a line, which must go on, audited.
    pub(super) async fn end_line(
        &self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        dataset: &DatasetName,
        conflict: &WalConflict,
    ) -> Result<WalBreak, CatalogError> {
        let broken = WalBreak {
            line: archive.line,
            at: self.now(),
            timeline: conflict.timeline,
            lsn: conflict.lsn,
            cause: conflict.cause.clone(),
        };
        sqlx::query(
            "INSERT INTO wal_breaks (repository, system, line, at, timeline, lsn, cause, refused,
                                     dataset)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(archive.repository.clone())
        .bind(conflict.system.to_string())
        .bind(i64::from(broken.line))
        .bind(micros(broken.at))
        .bind(i64::from(broken.timeline.0))
        .bind(int(broken.lsn.0))
        .bind(broken.cause.clone())
        .bind(conflict.refused.as_ref().map(ObjectName::path))
        .bind(dataset.to_string())
        .execute(&mut *connection)
        .await?;
        let entry = NewAudit::ok(Actor::Coordinator, "wal.conflict", &dataset)
            .outcome(Outcome::Failed)
            .detail(serde_json::json!({
                "repository": archive.repository,
                "system": conflict.system.to_string(),
                "line": broken.line,
                "timeline": broken.timeline.0,
                "lsn": broken.lsn.to_string(),
                "cause": broken.cause,
            }));
        self.audit_in(connection, entry).await?;
        Ok(broken)
    }
}

/// See [`Catalog::wal_line`].
pub(super) async fn line_in(
    connection: &mut AnyConnection,
    repository: &str,
    system: SystemId,
) -> Result<WalLine, CatalogError> {
    let row = sqlx::query(
        "SELECT * FROM wal_breaks WHERE repository = $1 AND system = $2
         ORDER BY line DESC LIMIT 1",
    )
    .bind(repository)
    .bind(system.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let line = |line| WalArchive {
        repository: repository.to_owned(),
        system,
        line,
    };
    let Some(last) = row.as_ref().map(read_break).transpose()? else {
        return Ok(WalLine {
            archive: line(0),
            broken: None,
        });
    };
    let rows = sqlx::query(
        "SELECT result FROM snapshots
         WHERE repository = $1 AND confirmed = 1 AND published_at > $2",
    )
    .bind(repository)
    .bind(micros(last.at))
    .fetch_all(connection)
    .await?;
    let systems = read_all(&rows, system_of)?;
    let begun = systems.into_iter().flatten().any(|it| it == system);
    Ok(if begun {
        WalLine {
            archive: line(last.line.saturating_add(1)),
            broken: None,
        }
    } else {
        WalLine {
            archive: line(last.line),
            broken: Some(last),
        }
    })
}

/// The cluster that a snapshot is of, if it is a base backup.
fn system_of(row: &AnyRow) -> Result<Option<SystemId>, CatalogError> {
    let result: BackupResult = Columns::new("snapshots", row).json("result")?;
    Ok(result.cluster.map(|point| point.system))
}

fn read_break(row: &AnyRow) -> Result<WalBreak, CatalogError> {
    let row = Columns::new("wal_breaks", row);
    Ok(WalBreak {
        line: row.number("line")?,
        at: row.time("at")?,
        timeline: row.timeline("timeline")?,
        lsn: row.number("lsn").map(Lsn)?,
        cause: row.text("cause")?,
    })
}
