//! The audit of refused requests. The first refusal of its sort is written at
//! once; more of them within a minute are counted and written as one entry, so
//! that a hostile agent cannot flood the audit log.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use strongroom_layout::{AgentId, AttemptRef};
use strongroom_wire::grant::RefusalReason;

use crate::model::{Actor, AuditOutcome, NewAudit};

const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// A refused request.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// Who asked.
    pub(super) agent: AgentId,
    /// For which attempt, as it claims.
    pub(super) attempt: AttemptRef,
    /// `get data-pack`, `put config`, `list locks`, `publish`.
    pub(super) action: String,
    /// The object's path in its repository, or what else was asked for.
    pub(super) object: String,
    /// Why not.
    pub(super) reason: RefusalReason,
    /// The job's trace, if the attempt is the agent's own.
    pub(super) trace_id: Option<String>,
}

/// What makes two refusals of one sort. Few values per agent: no ids.
type Sort = (AgentId, RefusalWord, String);
type RefusalWord = &'static str;

/// Remembers what was refused lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Sort, Window>>);

#[derive(Debug)]
struct Window {
    since: Timestamp,
    /// Refusals since the last entry, and the last of them.
    more: Option<(u64, Refused)>,
}

impl Refusals {
    /// Notes a refusal; gives the entry that is to be written now, if any.
    pub(super) fn note(&self, refused: Refused, now: Timestamp) -> Option<NewAudit> {
        let sort = (
            refused.agent,
            refused.reason.as_str(),
            refused.action.clone(),
        );
        let mut windows = self.0.lock();
        if let Some(window) = windows.get_mut(&sort) {
            let count = window.more.take().map_or(0, |(count, _)| count) + 1;
            window.more = Some((count, refused));
            return None;
        }
        let window = Window {
            since: now,
            more: None,
        };
        windows.insert(sort, window);
        Some(entry(&refused, 1))
    }

    /// Closes windows that are over; gives the entries of what they counted.
    pub(super) fn due(&self, now: Timestamp) -> Vec<NewAudit> {
        let mut entries = Vec::new();
        self.0.lock().retain(|_, window| {
            if now.duration_since(window.since) < WINDOW {
                return true;
            }
            let Some((count, refused)) = window.more.take() else {
                return false;
            };
            entries.push(entry(&refused, count));
            // Still going on: count for another while.
            window.since = now;
            true
        });
        entries
    }
}

fn entry(refused: &Refused, count: u64) -> NewAudit {
    let entry = NewAudit::ok(
        Actor::Agent(refused.agent),
        "grant.refuse",
        &refused.attempt.job,
    )
    .outcome(AuditOutcome::Refused)
    .detail(serde_json::json!({
        "attempt": refused.attempt.attempt,
        "request": refused.action,
        "object": refused.object,
        "reason": refused.reason.as_str(),
        "count": count,
    }));
    match &refused.trace_id {
        Some(trace_id) => entry.trace(trace_id),
        None => entry,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::JobId;
    use uuid::Uuid;

    use super::*;

    fn refused(agent: u128, job: u128, action: &str) -> Refused {
        Refused {
            agent: AgentId(Uuid::from_u128(agent)),
            attempt: AttemptRef {
                job: JobId(Uuid::from_u128(job)),
                attempt: 1,
            },
            action: action.into(),
            object: "data/00".into(),
            reason: RefusalReason::ReadForbidden,
            trace_id: None,
        }
    }

    #[test]
    fn a_flood_becomes_two_entries_and_hides_no_other_sort() {
        let refusals = Refusals::default();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let written: Vec<_> = (0..1000)
            .filter_map(|job| refusals.note(refused(1, job, "get data-pack"), now))
            .collect();
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].detail["count"], 1);
        assert!(refusals.note(refused(1, 1, "get snapshot"), now).is_some());
        assert!(refusals.note(refused(2, 1, "get data-pack"), now).is_some());

        assert!(refusals.due(now).is_empty());
        let due = refusals.due(now + WINDOW);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].detail["count"], 999);
        assert_eq!(due[0].outcome, AuditOutcome::Refused);
        assert!(refusals.due(now + WINDOW * 2).is_empty());
        let after = refused(1, 1, "get data-pack");
        assert!(refusals.note(after, now + WINDOW * 3).is_some());
    }
}
