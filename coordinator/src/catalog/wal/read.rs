//! What the catalog knows of the log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, any::AnyRow};
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_wire::wal::{
    Commits, MAX_STORED, RestorePoint, StoredHistory, StoredWal, UNIT, WalPosition, WalRange,
};

use super::{
    super::{
        Catalog, CatalogError,
        objects::read as read_object,
        row::{Columns, ending, int, micros, read_all},
    },
    points::{self, Entered},
    stretch,
};
use crate::model::{DatasetName, ObjectRow, WalArchive, WalProgress, WalRestorePoint, WalStretch};

/// Restore points in a listing. Whoever does not find his in it reads the log.
const MAX_POINTS: i64 = 10_000;

/// Positions per statement: 2 values each.
const ENDS_PER_STATEMENT: usize = 64;

/// Parts of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalPage {
    /// By start, ascending; of several with one start the longest first.
    pub parts: Vec<StoredWal>,
    /// There may be more behind the start of the last.
    pub more: bool,
}

impl Catalog {
    /// Parts in a range, [`MAX_STORED`] at most, but for those that gave way to
    /// others or that the store has lost; with the first [`MAX_POINTS`] of the restore
    /// points in them that count for a dataset. Those that begin at one place come on
    /// one page, as far as that holds them.
    pub async fn wal_parts(
        &self,
        archive: &WalArchive,
        dataset: Option<&DatasetName>,
        range: WalRange,
    ) -> Result<WalPage, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM wal_parts
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND start_lsn >= $5 AND start_lsn < $6 AND superseded_at IS NULL
               AND lost_at IS NULL
             ORDER BY start_lsn, end_lsn DESC LIMIT $7",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(range.timeline.0))
        .bind(int(range.from.0))
        .bind(range.to.map_or(i64::MAX, |lsn| int(lsn.0)))
        .bind(int(MAX_STORED as u64))
        .fetch_all(self.pool())
        .await?;
        let more = rows.len() == MAX_STORED;
        let mut parts = read_all(&rows, read_part)?;
        if let (true, Some(last)) = (more, parts.last().map(|part| part.start)) {
            let others = parts.partition_point(|part| part.start < last);
            if others > 0 {
                parts.truncate(others);
            }
        }
        if let Some(dataset) = dataset {
            self.add_restore_points(archive, (dataset, range.timeline), &mut parts)
                .await?;
        }
        Ok(WalPage { parts, more })
    }

    /// Adds the restore points of a dataset that lie in parts of one timeline, which
    /// are in order: its own, and where it has none those of whose timeline it is.
    async fn add_restore_points(
        &self,
        archive: &WalArchive,
        (dataset, timeline): (&DatasetName, TimelineId),
        parts: &mut [StoredWal],
    ) -> Result<(), CatalogError> {
        let Some(first) = parts.first().map(|part| part.start) else {
            return Ok(());
        };
        let lines = self.wal_lines(&archive.repository, archive.system).await?;
        let owner = lines.owner(archive.line, timeline).unwrap_or(dataset);
        let rows = sqlx::query(
            "SELECT * FROM wal_restore_points
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4 AND lsn > $5
               AND (dataset LIKE $6 ESCAPE '\\' OR dataset LIKE $7 ESCAPE '\\')
             ORDER BY lsn LIMIT $8",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(timeline.0))
        .bind(int(first.0))
        .bind(ending(&format!("@{}", dataset.agent)))
        .bind(ending(&format!("@{}", owner.agent)))
        .bind(MAX_POINTS)
        .fetch_all(self.pool())
        .await?;
        let found = read_all(&rows, read_restore_point)?;
        let found = points::counting(found, dataset, |_| Some(owner));
        for found in found {
            // A point's position is the end of its record.
            let lsn = found.point.lsn;
            let at = parts.partition_point(|part| part.start < lsn);
            // The last of those in its unit that reaches it.
            let unit = Lsn(lsn.0.saturating_sub(1) / UNIT * UNIT);
            let before = parts.iter_mut().take(at).rev();
            let mut in_unit = before.take_while(|part| unit <= part.start);
            if let Some(part) = in_unit.find(|part| lsn <= part.end) {
                part.restore_points.push(found.point);
            }
        }
        Ok(())
    }

    /// Parts in which a transaction of this id may be committed, the first few.
    pub async fn wal_parts_with_xid(
        &self,
        archive: &WalArchive,
        xid: u32,
    ) -> Result<Vec<StoredWal>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM wal_parts
             WHERE repository = $1 AND system = $2 AND line = $3 AND first_xid <= $4 AND last_xid >= $4
             ORDER BY timeline, start_lsn, end_lsn DESC LIMIT 100",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(xid))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_part)
    }

    /// The time of the last commit before each of these positions; of those before
    /// which there is none, nothing. Reads no more than the unit that holds it.
    pub async fn last_commits_before(
        &self,
        archive: &WalArchive,
        ends: &[(TimelineId, Lsn)],
    ) -> Result<BTreeMap<(TimelineId, Lsn), Timestamp>, CatalogError> {
        let mut found = BTreeMap::new();
        for chunk in ends.chunks(ENDS_PER_STATEMENT) {
            let places = (0..chunk.len()).map(|row| 5 + row * 2);
            let places =
                places.map(|n| format!("(CAST(${n} AS BIGINT), CAST(${} AS BIGINT))", n + 1));
            let sql = format!(
                "WITH e (timeline, until_lsn) AS (VALUES {})
                 SELECT e.timeline AS timeline, e.until_lsn AS until_lsn,
                        (SELECT MAX(p.last_commit) FROM wal_parts p
                         WHERE p.repository = $1 AND p.system = $2 AND p.line = $3
                           AND p.timeline = e.timeline
                           AND p.start_lsn < e.until_lsn AND p.end_lsn <= e.until_lsn
                           AND p.start_lsn > (
                               SELECT q.start_lsn FROM wal_parts q
                               WHERE q.repository = $1 AND q.system = $2 AND q.line = $3
                                 AND q.timeline = e.timeline
                                 AND q.start_lsn < e.until_lsn AND q.end_lsn <= e.until_lsn
                                 AND q.last_commit IS NOT NULL
                               ORDER BY q.start_lsn DESC LIMIT 1) - $4) AS last_commit
                 FROM e",
                places.collect::<Vec<_>>().join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql))
                .bind(archive.repository.clone())
                .bind(archive.system.to_string())
                .bind(i64::from(archive.line))
                .bind(int(UNIT));
            for (timeline, end) in chunk {
                query = query.bind(i64::from(timeline.0)).bind(int(end.0));
            }
            let rows = query.fetch_all(self.pool()).await?;
            let commits = read_all(&rows, |row| {
                let row = Columns::new("wal_parts", row);
                let end = (row.timeline("timeline")?, row.lsn("until_lsn")?);
                Ok(row.opt_time("last_commit")?.map(|at| (end, at)))
            })?;
            found.extend(commits.into_iter().flatten());
        }
        Ok(found)
    }

    /// When a timeline had begun, at the latest: the first commit that is known of
    /// it, or its history's coming.
    pub async fn timeline_begun(
        &self,
        archive: &WalArchive,
        history: &StoredHistory,
    ) -> Result<Option<Timestamp>, CatalogError> {
        // What lies before holds commits of the timeline before, too.
        let switch = history.legs.last().and_then(|leg| leg.until);
        let row = sqlx::query(
            "SELECT last_commit AS begun FROM wal_parts
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND start_lsn >= $5 AND last_commit IS NOT NULL
             ORDER BY start_lsn, end_lsn LIMIT 1",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(history.timeline.0))
        .bind(int(switch.unwrap_or(Lsn(0)).0))
        .fetch_optional(self.pool())
        .await?;
        let commit = row.map(|row| Columns::new("wal_parts", &row).time("begun"));
        let commit = commit.transpose()?;
        let row = sqlx::query(
            "SELECT MIN(granted_at) AS begun FROM objects WHERE repository = $1 AND path = $2",
        )
        .bind(archive.repository.clone())
        .bind(history.object().path())
        .fetch_one(self.pool())
        .await?;
        let came = Columns::new("objects", &row).opt_time("begun")?;
        Ok(commit.into_iter().chain(came).min())
    }

    /// What is there without a gap, by timeline and position.
    pub async fn wal_stretches(
        &self,
        archive: &WalArchive,
    ) -> Result<Vec<WalStretch>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        stretch::all_in(&mut connection, archive).await
    }

    /// Every timeline whose history is known.
    pub async fn wal_histories(
        &self,
        archive: &WalArchive,
    ) -> Result<Vec<StoredHistory>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM wal_histories WHERE repository = $1 AND system = $2 AND line = $3
             ORDER BY timeline",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_history)
    }

    /// The restore points of this name that count for a dataset, by timeline and
    /// position: on each timeline its own, or else those of whose timeline it is.
    pub async fn wal_restore_points(
        &self,
        archive: &WalArchive,
        dataset: &DatasetName,
        name: &str,
    ) -> Result<Vec<WalRestorePoint>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM wal_restore_points
             WHERE repository = $1 AND system = $2 AND line = $3 AND name = $4
             ORDER BY timeline, lsn",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(name)
        .fetch_all(self.pool())
        .await?;
        let found = read_all(&rows, read_restore_point)?;
        let lines = self.wal_lines(&archive.repository, archive.system).await?;
        let owner = |timeline| lines.owner(archive.line, timeline);
        Ok(points::counting(found, dataset, owner))
    }

    /// How far the log of each dataset is known.
    pub async fn wal_progress(&self) -> Result<Vec<WalProgress>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM wal_positions ORDER BY dataset")
            .fetch_all(self.pool())
            .await?;
        read_all(&rows, |row| {
            let row = Columns::new("wal_positions", row);
            Ok(WalProgress {
                dataset: row.parse("dataset")?,
                repository: row.text("repository")?,
                line: row.number("line")?,
                position: WalPosition {
                    system: row.parse("system")?,
                    timeline: row.timeline("timeline")?,
                    lsn: row.lsn("lsn")?,
                    as_of: row.opt_time("as_of")?,
                    waiting: row.number("waiting")?,
                    problem: row.opt_text("problem")?,
                },
                reported_at: row.time("reported_at")?,
            })
        })
    }

    /// Objects of the log that nobody needs: superseded since before `oldest`,
    /// or granted before it and never entered. An agent may enter one content in
    /// several places: as long as one of them stands, it is needed. What ended a
    /// line is kept.
    pub async fn useless_wal(&self, oldest: Timestamp) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.* FROM objects o
             WHERE o.kind = 'wal' AND o.granted_at < $1
               AND NOT EXISTS (SELECT 1 FROM wal_histories h
                               WHERE h.repository = o.repository AND h.id = o.id)
               AND NOT EXISTS (SELECT 1 FROM wal_breaks b
                               WHERE b.repository = o.repository AND b.refused = o.path)
               AND NOT EXISTS (SELECT 1 FROM wal_parts p
                               WHERE p.repository = o.repository AND p.id = o.id
                                 AND (p.superseded_at IS NULL OR p.superseded_at >= $1))
             ORDER BY o.granted_at LIMIT 10000",
        )
        .bind(micros(oldest))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_object)
    }

    /// Forgets objects of the log that were deleted in the store, with the restore
    /// points that lie in no other part.
    pub async fn forget_wal(&self, objects: &[ObjectRow]) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        for object in objects {
            let id = object.name.id().map(|id| id.to_string());
            let rows = sqlx::query(
                "DELETE FROM wal_parts
                 WHERE repository = $1 AND id = $2 AND superseded_at IS NOT NULL
                 RETURNING *",
            )
            .bind(object.repository.clone())
            .bind(id)
            .fetch_all(&mut *transaction)
            .await?;
            for part in read_all(&rows, read_part)? {
                sqlx::query(
                    "DELETE FROM wal_restore_points
                     WHERE repository = $1 AND system = $2 AND timeline = $3
                       AND lsn > $4 AND lsn <= $5
                       AND NOT EXISTS (
                           SELECT 1 FROM wal_parts p
                           WHERE p.repository = $1 AND p.system = $2 AND p.timeline = $3
                             AND p.line = wal_restore_points.line
                             AND p.start_lsn < wal_restore_points.lsn
                             AND p.end_lsn >= wal_restore_points.lsn)",
                )
                .bind(object.repository.clone())
                .bind(part.system.to_string())
                .bind(i64::from(part.timeline.0))
                .bind(int(part.start.0))
                .bind(int(part.end.0))
                .execute(&mut *transaction)
                .await?;
            }
            sqlx::query("DELETE FROM objects WHERE repository = $1 AND path = $2")
                .bind(object.repository.clone())
                .bind(object.name.path())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn read_part(row: &AnyRow) -> Result<StoredWal, CatalogError> {
    let row = Columns::new("wal_parts", row);
    let count: u64 = row.number("commits")?;
    let commits = if count == 0 {
        None
    } else {
        Some(Commits {
            count,
            last: row.time("last_commit")?,
            first_xid: row.number("first_xid")?,
            last_xid: row.number("last_xid")?,
        })
    };
    Ok(StoredWal {
        system: row.parse("system")?,
        timeline: row.timeline("timeline")?,
        start: row.lsn("start_lsn")?,
        end: row.lsn("end_lsn")?,
        id: row.parse("id")?,
        length: row.number("length")?,
        commits,
        restore_points: Vec::new(),
        digests: Vec::new(),
    })
}

fn read_restore_point(row: &AnyRow) -> Result<Entered, CatalogError> {
    let row = Columns::new("wal_restore_points", row);
    let point = WalRestorePoint {
        timeline: row.timeline("timeline")?,
        point: RestorePoint {
            name: row.text("name")?,
            lsn: row.lsn("lsn")?,
            at: row.time("at")?,
        },
    };
    Ok(Entered {
        by: row.text("dataset")?,
        point,
    })
}

pub(super) fn read_history(row: &AnyRow) -> Result<StoredHistory, CatalogError> {
    let row = Columns::new("wal_histories", row);
    Ok(StoredHistory {
        system: row.parse("system")?,
        timeline: row.timeline("timeline")?,
        id: row.parse("id")?,
        length: row.number("length")?,
        legs: row.json("legs")?,
        digest: row.opt_parse("digest")?,
    })
}
