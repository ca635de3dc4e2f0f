//! Objects that stores have lost: which ought to be there, and which are not.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::{ObjectId, ObjectKind, ObjectName};
use strongroom_spec::{Warning, WarningCode};

use super::{
    Catalog, CatalogError,
    objects::read as read_object,
    row::{Columns, int, micros, read_all},
    snapshots::read as read_snapshot,
    wal::mark_wal_in,
};
use crate::model::{
    Actor, AuditOutcome, Comparison, EventKind, Job, LossAlarm, LostObject, NewAudit, NewEvent,
    ObjectRow, Repository, Snapshot, Subject,
};

/// Snapshots that are named with a loss.
const NAMED: i64 = 5;
/// Lost objects that an entry of the audit log names.
const AUDITED: usize = 20;
/// Warnings of one report that are looked at: agents send fewer.
const LOOKED_AT: usize = 60;
/// What an agent met again is no reason to compare more often.
const COMPARED_LATELY: SignedDuration = SignedDuration::from_hours(1);

impl Catalog {
    /// Repositories that exist in their stores and were not compared with them since
    /// `before`: those first that were not for the longest time.
    pub async fn repositories_to_compare(
        &self,
        before: Timestamp,
    ) -> Result<Vec<Repository>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM repositories
             WHERE ready_at IS NOT NULL AND (compared_at IS NULL OR compared_at < $1)
             ORDER BY COALESCE(compared_at, 0), name",
        )
        .bind(micros(before))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, super::repositories::read)
    }

    /// The objects of some kinds that must be in a repository's store, by path:
    /// those behind `after`, up to `last` (that included), no more than `limit`. Of
    /// an attempt that failed nobody knows what arrived; what a success or a
    /// confirmed snapshot relies on did, and so did the `config` of a repository that is
    /// ready.
    pub async fn expected_objects(
        &self,
        repository: &str,
        kinds: &[ObjectKind],
        after: Option<&str>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        // Few and fixed words, quoted nowhere.
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
        let sql = format!(
            "SELECT o.* FROM objects o
             WHERE o.repository = $1 AND o.kind IN ({})
               AND ($2 IS NULL OR o.path > $2) AND ($3 IS NULL OR o.path <= $3)
               AND (o.kind = 'config'
                    OR (o.kind <> 'snapshot'
                        AND EXISTS (SELECT 1 FROM jobs j
                                    WHERE j.id = o.job_id AND j.attempt = o.attempt
                                      AND j.state = 'succeeded'))
                    OR EXISTS (SELECT 1 FROM snapshots s
                               WHERE s.job_id = o.job_id AND s.attempt = o.attempt
                                 AND s.confirmed = 1
                                 AND (o.kind <> 'snapshot' OR s.id = o.id)))
             ORDER BY o.path LIMIT $4",
            kinds.join(", ")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(repository)
            .bind(after)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await?;
        read_all(&rows, read_object)
    }

    /// The objects of the log that must be in a repository's store, by path: those
    /// behind `after`, no more than `limit`. What was entered was seen there.
    pub async fn expected_wal(
        &self,
        repository: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.* FROM objects o
             WHERE o.repository = $1 AND o.kind = 'wal' AND ($2 IS NULL OR o.path > $2)
               AND (EXISTS (SELECT 1 FROM wal_parts p
                            WHERE p.repository = o.repository AND p.id = o.id
                              AND p.superseded_at IS NULL)
                    OR EXISTS (SELECT 1 FROM wal_histories h
                               WHERE h.repository = o.repository AND h.id = o.id))
             ORDER BY o.path LIMIT $3",
        )
        .bind(repository)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_object)
    }

    /// The index files that must be in a repository's store.
    pub async fn expected_indexes(
        &self,
        repository: &str,
    ) -> Result<BTreeSet<ObjectId>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.id AS id FROM objects o
             WHERE o.repository = $1 AND o.kind = 'index' AND o.shown_at IS NOT NULL
               AND EXISTS (SELECT 1 FROM snapshots s
                           WHERE s.job_id = o.job_id AND s.attempt = o.attempt
                             AND s.confirmed = 1)",
        )
        .bind(repository)
        .fetch_all(self.pool())
        .await?;
        let ids = read_all(&rows, |row| Columns::new("objects", row).parse("id"))?;
        Ok(ids.into_iter().collect())
    }

    /// A repository is compared as soon as can be.
    pub async fn ask_for_comparison(&self, repository: &str) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE repositories SET compared_at = NULL WHERE name = $1")
            .bind(repository)
            .execute(&mut *transaction)
            .await?;
        self.commit(transaction).await
    }

    /// Notes what a comparison found: what is lost, and what is there again. News are
    /// audited. `before` is when the last one was, as it was known when this one began:
    /// if another was asked for since, it is still to be done.
    pub async fn record_comparison(
        &self,
        repository: &str,
        before: Option<Timestamp>,
        found: &Comparison,
    ) -> Result<(), CatalogError> {
        let now = self.now();
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE repositories SET lost_count = $2 WHERE name = $1")
            .bind(repository)
            .bind(int(found.lost_count))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE repositories SET compared_at = $2
             WHERE name = $1 AND COALESCE(compared_at, 0) = $3",
        )
        .bind(repository)
        .bind(micros(now))
        .bind(before.map_or(0, micros))
        .execute(&mut *transaction)
        .await?;
        let before = lost_in(&mut transaction, repository).await?;
        let lost: HashSet<&str> = found.lost.iter().map(|lost| lost.path.as_str()).collect();
        // While more are lost than are noted, nobody knows what is back.
        let all_noted = found.lost_count == found.lost.len() as u64;
        let back: Vec<_> = before
            .iter()
            .filter(|before| all_noted && !lost.contains(before.path.as_str()))
            .collect();
        let known: HashMap<&str, Option<u64>> = before
            .iter()
            .map(|it| (it.path.as_str(), it.found))
            .collect();
        let news: Vec<_> = found
            .lost
            .iter()
            .filter(|lost| known.get(lost.path.as_str()) != Some(&lost.found))
            .collect();
        for lost in &news {
            note_in(&mut transaction, repository, lost).await?;
            self.mark_snapshot_in(&mut transaction, repository, lost, Some(now))
                .await?;
        }
        for back in &back {
            sqlx::query("DELETE FROM lost_objects WHERE repository = $1 AND path = $2")
                .bind(repository)
                .bind(back.path.clone())
                .execute(&mut *transaction)
                .await?;
            self.mark_snapshot_in(&mut transaction, repository, back, None)
                .await?;
        }
        mark_wal_in(&mut transaction, repository, found, now).await?;
        let news: Vec<_> = news.iter().map(|lost| lost.path.as_str()).collect();
        let back: Vec<_> = back.iter().map(|lost| lost.path.as_str()).collect();
        for (action, kind, paths) in [
            (
                "repository.lost-objects",
                EventKind::RepositoryLostObjects,
                news,
            ),
            (
                "repository.found-objects",
                EventKind::RepositoryFoundObjects,
                back,
            ),
        ] {
            if paths.is_empty() {
                continue;
            }
            let named: Vec<_> = paths.iter().take(AUDITED).collect();
            let event = NewEvent::new(kind, Subject::repository(repository))
                .detail(serde_json::json!({ "count": paths.len() }));
            self.event_in(&mut transaction, event).await?;
            let entry = NewAudit::ok(Actor::Coordinator, action, &repository)
                .outcome(match action {
                    "repository.lost-objects" => AuditOutcome::Failed,
                    _ => AuditOutcome::Ok,
                })
                .detail(serde_json::json!({ "count": paths.len(), "paths": named }));
            self.audit_in(&mut transaction, entry).await?;
        }
        self.commit(transaction).await
    }

    /// What a repository's store has lost, by path.
    pub async fn lost_objects(&self, repository: &str) -> Result<Vec<LostObject>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        lost_in(&mut connection, repository).await
    }

    /// When a repository's store was last compared with the catalog, and how many
    /// objects were lost then.
    pub async fn last_comparison(
        &self,
        repository: &str,
    ) -> Result<Option<(Timestamp, u64)>, CatalogError> {
        let row = sqlx::query("SELECT compared_at, lost_count FROM repositories WHERE name = $1")
            .bind(repository)
            .fetch_one(self.pool())
            .await?;
        let row = Columns::new("repositories", &row);
        let lost = row.number("lost_count")?;
        Ok(row.opt_time("compared_at")?.map(|at| (at, lost)))
    }

    /// Snapshots that may need something that was lost: published since the PUT of it
    /// was granted, and before it was noticed that it is gone. Newest first, and no
    /// more than `limit`. Later backups stored it again, or did without.
    pub async fn snapshots_in_need(
        &self,
        repository: &str,
        limit: u32,
    ) -> Result<Vec<Snapshot>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM snapshots s
             WHERE s.repository = $1 AND s.confirmed = 1
               AND EXISTS (SELECT 1 FROM lost_objects l
                           WHERE l.repository = s.repository AND l.kind <> 'snapshot'
                             AND l.granted_at <= s.published_at
                             AND l.noticed_at >= s.published_at)
             ORDER BY s.published_at DESC LIMIT $2",
        )
        .bind(repository)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_snapshot)
    }

    /// Repositories with losses that no operator has accepted.
    pub async fn loss_alarms(&self) -> Result<Vec<LossAlarm>, CatalogError> {
        let rows = sqlx::query(
            "SELECT l.repository AS repository,
                    CAST(SUM(CASE WHEN l.accepted_at IS NULL THEN 1 ELSE 0 END) AS BIGINT)
                        AS objects,
                    CAST(SUM(CASE WHEN l.accepted_at IS NULL AND l.kind = 'snapshot'
                                  THEN 1 ELSE 0 END) AS BIGINT) AS snapshots,
                    MAX(r.lost_count) - COUNT(*) AS unnoted, MIN(l.noticed_at) AS since
             FROM lost_objects l JOIN repositories r ON r.name = l.repository
             GROUP BY l.repository
             HAVING SUM(CASE WHEN l.accepted_at IS NULL THEN 1 ELSE 0 END) > 0
                 OR MAX(r.lost_count) > COUNT(*)
             ORDER BY l.repository",
        )
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, |row| {
            let row = Columns::new("lost_objects", row);
            let noted: u64 = row.number("objects")?;
            let unnoted: i64 = row.number("unnoted")?;
            Ok(LossAlarm {
                repository: row.text("repository")?,
                // Beyond what is noted nothing can be accepted.
                objects: noted.saturating_add_signed(unnoted.max(0)),
                snapshots: row.number("snapshots")?,
                since: row.time("since")?,
            })
        })
    }

    /// The losses of a repository are no alarm any more; gives how many were one.
    pub async fn accept_losses(&self, repository: &str, by: &Actor) -> Result<u64, CatalogError> {
        let mut transaction = self.begin().await?;
        let accepted = sqlx::query(
            "UPDATE lost_objects SET accepted_at = $2 WHERE repository = $1 AND accepted_at IS NULL",
        )
        .bind(repository)
        .bind(micros(self.now()))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        let kind = EventKind::RepositoryLossesAccepted;
        let event = NewEvent::new(kind, Subject::repository(repository))
            .detail(serde_json::json!({ "count": accepted }));
        self.event_in(&mut transaction, event).await?;
        let entry = NewAudit::ok(by.clone(), "repository.accept-losses", &repository)
            .detail(serde_json::json!({ "count": accepted }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(accepted)
    }
}

impl Catalog {
    /// The row of a lost snapshot says so itself.
    async fn mark_snapshot_in(
        &self,
        connection: &mut AnyConnection,
        repository: &str,
        lost: &LostObject,
        lost_at: Option<Timestamp>,
    ) -> Result<(), CatalogError> {
        let Some(id) = lost.path.strip_prefix("snapshots/") else {
            return Ok(());
        };
        let changed = sqlx::query(
            "UPDATE snapshots SET lost_at = $3 WHERE repository = $1 AND id = $2 RETURNING *",
        )
        .bind(repository)
        .bind(id)
        .bind(lost_at.map(micros))
        .fetch_optional(&mut *connection)
        .await?;
        let kind = match lost_at {
            Some(_) => EventKind::SnapshotLost,
            None => EventKind::SnapshotFound,
        };
        self.snapshot_event_in(connection, kind, changed.as_ref())
            .await
    }
}

/// An agent met losses: the store is compared soon, and the snapshots are named that
/// may need what could not be stored again. What the agent says decides nothing else.
pub(super) async fn name_snapshots_in(
    connection: &mut AnyConnection,
    job: &Job,
    warnings: &mut [Warning],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let losses = warnings
        .iter_mut()
        .filter(|it| it.code == WarningCode::ObjectsLost)
        .take(LOOKED_AT);
    // What was lost before may have been stored again in what is lost now.
    let first_lost: Option<i64> =
        sqlx::query_scalar("SELECT MIN(granted_at) FROM lost_objects WHERE repository = $1")
            .bind(job.repository.clone())
            .fetch_one(&mut *connection)
            .await?;
    let (mut met, mut is_news) = (false, false);
    for warning in losses {
        met = true;
        let Ok(path) = std::str::from_utf8(&warning.path) else {
            continue;
        };
        let Some(granted_at) = granted_in(connection, &job.repository, path).await? else {
            continue;
        };
        is_news |= !is_noted_in(connection, &job.repository, path).await?;
        let granted_at = first_lost.map_or(granted_at, |first| first.min(granted_at));
        let began = job.state.lease().map(|lease| lease.dispatched_at);
        let began = began.or(job.started_at).map_or(i64::MAX, micros);
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM snapshots
             WHERE repository = $1 AND confirmed = 1 AND published_at >= $2 AND published_at < $3
             ORDER BY published_at DESC LIMIT $4",
        )
        .bind(job.repository.clone())
        .bind(granted_at)
        .bind(began)
        .bind(NAMED + 1)
        .fetch_all(&mut *connection)
        .await?;
        let more = rows.len() as i64 > NAMED;
        let named: Vec<_> = rows
            .iter()
            .take(NAMED as usize)
            .map(|id| id.get(..8).unwrap_or(id))
            .collect();
        if !named.is_empty() {
            let older = if more { " and older ones" } else { "" };
            warning.cause = format!(
                "{}. It may be needed by {}{older}",
                warning.cause,
                named.join(", ")
            );
        }
    }
    if met {
        let lately = now.saturating_sub(COMPARED_LATELY).unwrap_or(now);
        sqlx::query(
            "UPDATE repositories SET compared_at = NULL
             WHERE name = $1 AND ($2 = 1 OR compared_at < $3)",
        )
        .bind(job.repository.clone())
        .bind(i64::from(is_news))
        .bind(micros(lately))
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn is_noted_in(
    connection: &mut AnyConnection,
    repository: &str,
    path: &str,
) -> Result<bool, CatalogError> {
    let noted: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM lost_objects WHERE repository = $1 AND path = $2")
            .bind(repository)
            .bind(path)
            .fetch_one(connection)
            .await?;
    Ok(noted > 0)
}

/// When the PUT of a pack was granted; `None`: the path is no pack's. One that the
/// catalog does not know is as old as can be.
async fn granted_in(
    connection: &mut AnyConnection,
    repository: &str,
    path: &str,
) -> Result<Option<i64>, CatalogError> {
    let id = path.rsplit('/').next().and_then(|id| id.parse().ok());
    if id.is_none_or(|id| ObjectName::data_pack(id).path() != path) {
        return Ok(None);
    }
    let granted: Option<i64> =
        sqlx::query_scalar("SELECT granted_at FROM objects WHERE repository = $1 AND path = $2")
            .bind(repository)
            .bind(path)
            .fetch_optional(connection)
            .await?;
    Ok(Some(granted.unwrap_or(0)))
}

async fn lost_in(
    connection: &mut AnyConnection,
    repository: &str,
) -> Result<Vec<LostObject>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM lost_objects WHERE repository = $1 ORDER BY path")
        .bind(repository)
        .fetch_all(connection)
        .await?;
    read_all(&rows, read)
}

/// Notes a loss, or that there is less of it now than was noted.
async fn note_in(
    connection: &mut AnyConnection,
    repository: &str,
    lost: &LostObject,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO lost_objects (repository, path, kind, length, found, granted_at, noticed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (repository, path) DO UPDATE SET
             found = excluded.found, noticed_at = excluded.noticed_at, accepted_at = NULL",
    )
    .bind(repository)
    .bind(lost.path.clone())
    .bind(lost.kind.as_str())
    .bind(int(lost.length))
    .bind(lost.found.map(int))
    .bind(micros(lost.granted_at))
    .bind(micros(lost.noticed_at))
    .execute(connection)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<LostObject, CatalogError> {
    let row = Columns::new("lost_objects", row);
    let kind = row.text("kind")?;
    let kind = ObjectKind::ALL
        .into_iter()
        .find(|it| it.as_str() == kind)
        .ok_or_else(|| row.corrupt("kind", format!("is {kind:?}")))?;
    Ok(LostObject {
        path: row.text("path")?,
        kind,
        length: row.number("length")?,
        found: row.opt_number("found")?,
        granted_at: row.time("granted_at")?,
        noticed_at: row.time("noticed_at")?,
        accepted_at: row.opt_time("accepted_at")?,
    })
}
