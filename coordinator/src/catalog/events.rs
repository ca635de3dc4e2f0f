//! The events: what changed, in the order in which it was committed, for programs that
//! follow it (alerts, live views, webhooks, other coordinators).
//!
//! They are not the audit log. That says who did or tried what, and stays for ever; an
//! event says what is different now, names its subject in columns of its own, and is
//! forgotten after a month (by the sweeper, `dispatch/sweep.rs`). Both are written in the
//! transaction of their change, by the same methods.
//!
//! Numbers grow by one from commit to commit. Whoever writes an event is alone until it
//! commits (`Catalog::begin`; two that were not would meet at the key, and one would
//! fail), and what is rolled back gives its numbers back. So there are no holes, and
//! whoever has read up to a number never misses a smaller one that is committed later.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_spec::cut;

use super::{
    Catalog, CatalogError,
    job_rows::save_in,
    row::{Columns, int, json, micros, read_all},
    snapshots,
};
use crate::model::{Event, EventKind, Job, JobState, NewEvent, Subject};

/// How long an event is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Forgotten in one statement, so that nobody waits long for it.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// Their numbers follow one another.
    pub events: Vec<Event>,
    /// Go on behind this number.
    pub next_after: u64,
    /// The number of the newest event there is; 0: there is none.
    pub last: u64,
    /// Between the number that was asked for and the first event here some are missing:
    /// they were forgotten, or the catalog was put back to an earlier state. What is
    /// now is to be read anew.
    pub gap: bool,
}

/// What an event tells of why a job failed, bytes; the job has all of it.
const MESSAGE: usize = 1 << 10;

impl Catalog {
    /// Events behind a number, no more than `limit`. To wait for more, wait for
    /// [changes](Self::changes), and look again from time to time.
    pub async fn events_after(&self, after: u64, limit: u32) -> Result<Events, CatalogError> {
        let rows = sqlx::query("SELECT * FROM events WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(int(after))
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await?;
        let events = read_all(&rows, read)?;
        // Behind the rows: what is committed in between is no gap.
        let last = self.last_event().await?;
        let gap = match events.first() {
            Some(first) => first.seq > after.saturating_add(1),
            None => last < after,
        };
        let next_after = events.last().map_or(after.min(last), |event| event.seq);
        Ok(Events {
            events,
            next_after,
            last,
            gap,
        })
    }

    /// The newest events, no more than `limit`.
    pub async fn newest_events(&self, limit: u32) -> Result<Events, CatalogError> {
        let after = self.last_event().await?.saturating_sub(limit.into());
        let events = self.events_after(after, limit).await?;
        // Nobody has asked for those that are forgotten.
        Ok(Events {
            gap: false,
            ..events
        })
    }

    async fn last_event(&self) -> Result<u64, CatalogError> {
        let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) AS last FROM events")
            .fetch_one(self.pool())
            .await?;
        Columns::new("events", &row).number("last")
    }

    /// Forgets old events, always those with the smallest numbers, and never the newest
    /// one: numbers go on from there.
    pub async fn forget_events(&self) -> Result<(), CatalogError> {
        let now = self.now();
        let oldest = micros(now.saturating_sub(KEPT).unwrap_or(now));
        let first: Option<i64> = sqlx::query_scalar("SELECT at FROM events ORDER BY seq LIMIT 1")
            .fetch_optional(self.pool())
            .await?;
        // Mostly there is none: no need to wait for other writers.
        if first.is_none_or(|at| at >= oldest) {
            return Ok(());
        }
        sqlx::query(
            "DELETE FROM events
             WHERE seq < COALESCE((SELECT MIN(seq) FROM events WHERE at >= $1),
                                  (SELECT MAX(seq) FROM events))
               AND seq < (SELECT MIN(seq) FROM events) + $2",
        )
        .bind(oldest)
        .bind(FORGOTTEN_AT_ONCE)
        .execute(self.writers())
        .await?;
        Ok(())
    }

    /// Adds an event as part of the transaction that it speaks of, which must be
    /// [alone](Self::begin).
    pub(super) async fn event_in(
        &self,
        connection: &mut AnyConnection,
        event: NewEvent,
    ) -> Result<(), CatalogError> {
        let subject = event.subject;
        sqlx::query(
            "INSERT INTO events (seq, at, kind, job, agent, dataset, policy, repository, snapshot,
                                 trace_id, detail)
             VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM events),
                     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(micros(self.now()))
        .bind(event.kind.as_str())
        .bind(subject.job.map(|id| id.to_string()))
        .bind(subject.agent.map(|id| id.to_string()))
        .bind(subject.dataset.map(|dataset| dataset.to_string()))
        .bind(subject.policy)
        .bind(subject.repository)
        .bind(subject.snapshot.map(|id| id.to_string()))
        .bind(event.trace_id)
        .bind(json(&event.detail))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Writes what a transition has changed, with the event of the state that the job
    /// came to.
    pub(super) async fn save_job_in(
        &self,
        connection: &mut AnyConnection,
        job: &Job,
    ) -> Result<(), CatalogError> {
        save_in(connection, job).await?;
        let kind = EventKind::of(job.state.word());
        self.job_event_in(connection, kind, job).await
    }

    /// The event of a job's change.
    pub(super) async fn job_event_in(
        &self,
        connection: &mut AnyConnection,
        kind: EventKind,
        job: &Job,
    ) -> Result<(), CatalogError> {
        let failure = match &job.state {
            JobState::Pending { failure, .. } => failure.as_ref(),
            JobState::Failed { failure, .. } => Some(failure),
            _ => None,
        };
        let failure = failure.cloned().map(|mut failure| {
            cut(&mut failure.message, MESSAGE);
            failure
        });
        let event = NewEvent::new(kind, Subject::job(job))
            .detail(serde_json::json!({
                "kind": job.kind,
                "agent": job.agent_name,
                "attempt": job.attempt,
                "failure": failure,
                "warnings": job.warning_count,
            }))
            .trace(&job.trace.trace_id);
        self.event_in(connection, event).await
    }

    /// The event of a snapshot's change, by its row; without one nothing has changed.
    pub(super) async fn snapshot_event_in(
        &self,
        connection: &mut AnyConnection,
        kind: EventKind,
        changed: Option<&AnyRow>,
    ) -> Result<(), CatalogError> {
        let Some(snapshot) = changed.map(snapshots::read).transpose()? else {
            return Ok(());
        };
        let event = NewEvent::new(kind, Subject::snapshot(&snapshot)).detail(serde_json::json!({
            "agent": snapshot.dataset.agent,
            "time": snapshot.time,
            "warnings": snapshot.warning_count,
            "partial": snapshot.result.partial,
        }));
        self.event_in(connection, event).await
    }
}

fn read(row: &AnyRow) -> Result<Event, CatalogError> {
    let row = Columns::new("events", row);
    let at: Timestamp = row.time("at")?;
    Ok(Event {
        seq: row.number("seq")?,
        at,
        kind: row.text("kind")?,
        subject: Subject {
            job: row.opt_parse("job")?,
            agent: row.opt_parse("agent")?,
            dataset: row.opt_parse("dataset")?,
            policy: row.opt_text("policy")?,
            repository: row.opt_text("repository")?,
            snapshot: row.opt_parse("snapshot")?,
        },
        trace_id: row.opt_text("trace_id")?,
        detail: row.json("detail")?,
    })
}
