//! Snapshots: found, listed, pinned. How they get here is in
//! `publications.rs`.

use std::{collections::HashMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::{AgentId, AttemptRef, ObjectId};

use super::{
    Catalog, CatalogError, Page,
    row::{Columns, beginning, micros, read_all},
};
use crate::model::{Actor, DatasetName, EventKind, Job, NewAudit, Snapshot};

/// Which snapshots.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Of this policy.
    pub policy: Option<String>,
    /// Taken by this agent.
    pub agent: Option<AgentId>,
    /// Of this dataset.
    pub dataset: Option<DatasetName>,
    /// In this repository.
    pub repository: Option<String>,
    /// Not those whose files are known to be gone from the store.
    pub there: bool,
    /// Taken at this moment or later.
    pub since: Option<Timestamp>,
    /// Taken before this moment.
    pub until: Option<Timestamp>,
    /// Behind this one in the list.
    pub before: Option<SnapshotCursor>,
}

/// A place in the list of snapshots. As text: a time, or a time and an id with
/// `~` between them; a time alone stands before all snapshots of that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotCursor {
    /// The last one's time.
    pub time: Timestamp,
    /// The last one's id.
    pub id: ObjectId,
}

impl fmt::Display for SnapshotCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.time, self.id)
    }
}

impl FromStr for SnapshotCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, id) = match text.split_once('~') {
            Some((time, id)) => (time, id.parse().ok()),
            None => (text, Some(ObjectId([0xff; 32]))),
        };
        time.parse()
            .ok()
            .zip(id)
            .map(|(time, id)| Self { time, id })
            .ok_or_else(|| {
                format!(
                    "{text:?} is no place in a list of snapshots: take `next_before` of the page \
                     before, or a time like 2026-03-01T12:00:00Z"
                )
            })
    }
}

impl<'de> Deserialize<'de> for SnapshotCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Catalog {
    /// Snapshots, newest first.
    pub async fn snapshots(
        &self,
        filter: &SnapshotFilter,
        limit: u32,
    ) -> Result<Page<Snapshot, SnapshotCursor>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM snapshots
             WHERE confirmed = 1
               AND ($1 IS NULL OR policy = $1)
               AND ($2 IS NULL OR agent_id = $2)
               AND ($3 IS NULL OR dataset = $3)
               AND ($4 IS NULL OR repository = $4)
               AND ($5 IS NULL OR taken_at < $5 OR (taken_at = $5 AND id > $6))
               AND ($7 = 0 OR lost_at IS NULL)
               AND taken_at >= $8 AND taken_at < $9
             ORDER BY taken_at DESC, id LIMIT $10",
        )
        .bind(filter.policy.clone())
        .bind(filter.agent.map(|id| id.to_string()))
        .bind(filter.dataset.as_ref().map(ToString::to_string))
        .bind(filter.repository.clone())
        .bind(filter.before.map(|it| micros(it.time)))
        .bind(filter.before.map(|it| it.id.to_string()))
        .bind(i64::from(filter.there))
        .bind(filter.since.map_or(i64::MIN, micros))
        .bind(filter.until.map_or(i64::MAX, micros))
        .bind(i64::from(limit) + 1)
        .fetch_all(self.pool())
        .await?;
        Ok(Page::cut(read_all(&rows, read)?, limit, |it| {
            SnapshotCursor {
                time: it.time,
                id: it.id,
            }
        }))
    }

    /// A snapshot by its id or the beginning of it, if only one begins so.
    pub async fn find_snapshot(&self, prefix: &str) -> Result<Snapshot, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM snapshots WHERE confirmed = 1 AND id LIKE $1 ESCAPE '\\'
             ORDER BY taken_at DESC LIMIT 6",
        )
        .bind(beginning(prefix))
        .fetch_all(self.pool())
        .await?;
        let mut found = read_all(&rows, read)?;
        match found.pop() {
            Some(snapshot) if found.is_empty() && !prefix.is_empty() => Ok(snapshot),
            None => Err(CatalogError::not_found("snapshot", prefix)),
            Some(last) => {
                found.push(last);
                Err(CatalogError::Ambiguous {
                    what: "snapshot",
                    prefix: prefix.into(),
                    matches: found.iter().map(|it| it.id.short()).collect(),
                })
            }
        }
    }

    /// The newest snapshot of a dataset, by the coordinator's own clock.
    pub async fn latest_snapshot(
        &self,
        dataset: &DatasetName,
    ) -> Result<Option<Snapshot>, CatalogError> {
        let row = sqlx::query(
            "SELECT * FROM snapshots
             WHERE confirmed = 1 AND lost_at IS NULL AND dataset = $1
             ORDER BY published_at DESC LIMIT 1",
        )
        .bind(dataset.to_string())
        .fetch_optional(self.pool())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest snapshot of every dataset, also of those that no policy
    /// covers any more.
    pub async fn latest_snapshots(&self) -> Result<HashMap<DatasetName, Snapshot>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM snapshots s
             WHERE confirmed = 1 AND lost_at IS NULL
               AND published_at = (SELECT MAX(published_at) FROM snapshots x
                               WHERE x.dataset = s.dataset AND x.confirmed = 1
                                 AND x.lost_at IS NULL)",
        )
        .fetch_all(self.pool())
        .await?;
        let latest = read_all(&rows, read)?;
        Ok(latest
            .into_iter()
            .map(|it| (it.dataset.clone(), it))
            .collect())
    }

    /// When the newest whole snapshot of every dataset was taken: one that lacks
    /// something does not stand for it.
    pub async fn latest_whole(&self) -> Result<HashMap<DatasetName, Timestamp>, CatalogError> {
        let rows = sqlx::query(
            "SELECT dataset, taken_at FROM snapshots s
             WHERE confirmed = 1 AND partial = 0 AND lost_at IS NULL
               AND published_at = (SELECT MAX(published_at) FROM snapshots x
                               WHERE x.dataset = s.dataset AND x.confirmed = 1
                                 AND x.partial = 0 AND x.lost_at IS NULL)",
        )
        .fetch_all(self.pool())
        .await?;
        let latest = read_all(&rows, |row| {
            let row = Columns::new("snapshots", row);
            Ok((row.parse("dataset")?, row.time("taken_at")?))
        })?;
        Ok(latest.into_iter().collect())
    }

    /// Keeps a snapshot whatever retention says, or no longer.
    pub async fn pin_snapshot(
        &self,
        snapshot: &Snapshot,
        pinned: bool,
        by: &Actor,
    ) -> Result<Snapshot, CatalogError> {
        let mut transaction = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE snapshots SET pinned = $3 WHERE repository = $1 AND id = $2 AND confirmed = 1
             RETURNING *",
        )
        .bind(snapshot.repository.clone())
        .bind(snapshot.id.to_string())
        .bind(i64::from(pinned))
        .fetch_optional(&mut *transaction)
        .await?;
        if changed.is_none() {
            return Err(CatalogError::not_found("snapshot", &snapshot.id));
        }
        let (action, kind) = if pinned {
            ("snapshot.pin", EventKind::SnapshotPinned)
        } else {
            ("snapshot.unpin", EventKind::SnapshotUnpinned)
        };
        self.snapshot_event_in(&mut transaction, kind, changed.as_ref())
            .await?;
        self.audit_in(
            &mut transaction,
            NewAudit::ok(by.clone(), action, &snapshot.id),
        )
        .await?;
        self.commit(transaction).await?;
        Ok(Snapshot {
            pinned,
            ..snapshot.clone()
        })
    }
}

/// What a new backup may compare with: the newest snapshot of its dataset in
/// its repository.
pub(super) async fn parent_in(
    connection: &mut AnyConnection,
    job: &Job,
) -> Result<Option<ObjectId>, CatalogError> {
    let row = sqlx::query(
        "SELECT * FROM snapshots
         WHERE confirmed = 1 AND lost_at IS NULL AND dataset = $1 AND repository = $2
         ORDER BY published_at DESC LIMIT 1",
    )
    .bind(job.dataset.as_ref().map(ToString::to_string))
    .bind(job.repository.clone())
    .fetch_optional(connection)
    .await?;
    Ok(row.as_ref().map(read).transpose()?.map(|it| it.id))
}

pub(super) fn read(row: &AnyRow) -> Result<Snapshot, CatalogError> {
    let row = Columns::new("snapshots", row);
    Ok(Snapshot {
        id: row.parse("id")?,
        dataset: row.parse("dataset")?,
        repository: row.text("repository")?,
        agent: row.parse("agent_id")?,
        attempt: AttemptRef {
            job: row.parse("job_id")?,
            attempt: row.number("attempt")?,
        },
        time: row.time("taken_at")?,
        result: row.json("result")?,
        warning_count: row.number("warning_count")?,
        pinned: row.flag("pinned")?,
        lost_at: row.opt_time("lost_at")?,
    })
}
