//! Agents whose identity has more than one holder, and what sessions they
//! begin.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strongroom_layout::AgentId;
use uuid::Uuid;

use super::{
    Catalog, CatalogError,
    agents::agent_in,
    certificates::trust_only_in,
    row::{Columns, json},
};
use crate::model::{
    Actor, Agent, AuditOutcome, Contest, ContestSign, EventKind, Holder, NewAudit, NewEvent,
    Subject,
};

/// An agent that starts again and again on one host is audited so often.
const RESTART_STEP: SignedDuration = SignedDuration::from_mins(1);
/// So many starts of an agent's sessions are audited in an hour, whatever they
/// say; those beyond are counted. An agent chooses what it calls its version.
const STARTS: u32 = 20;
const STARTS_STEP: SignedDuration = SignedDuration::from_hours(1);

/// The start of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStart {
    /// From where.
    pub address: IpAddr,
    /// The agent's process.
    pub boot: Uuid,
    /// Of its certificate.
    pub serial: String,
    /// Of its binary.
    pub version: Option<String>,
}

/// The last one that was audited.
#[derive(Debug, Serialize, Deserialize)]
struct Audited {
    #[serde(flatten)]
    start: SessionStart,
    at: Timestamp,
    /// Starts since then that were not.
    #[serde(default)]
    skipped: u64,
    /// Since when `told` counts.
    #[serde(default = "beginning")]
    since: Timestamp,
    /// How many were.
    #[serde(default)]
    told: u32,
}

fn beginning() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

impl Catalog {
    /// Audits the start of a session, if it is another one than the last: a
    /// stream that is lost and begun again says nothing new. Restarts on the
    /// same host are counted when they come too often, and so are all others
    /// beyond some in an hour.
    pub async fn session_begins(
        &self,
        id: AgentId,
        start: &SessionStart,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT session FROM agents WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| CatalogError::not_found("agent", &id))?;
        let last: Option<Audited> = Columns::new("agents", &row).opt_json("session")?;
        let now = self.now();
        let mut next = Audited {
            start: start.clone(),
            at: now,
            skipped: 0,
            since: now,
            told: 0,
        };
        let mut before = 0;
        if let Some(last) = last {
            if last.start == *start {
                return Ok(());
            }
            let restarted = SessionStart {
                boot: start.boot,
                ..last.start
            };
            if now.duration_since(last.since) < STARTS_STEP {
                (next.since, next.told) = (last.since, last.told);
            }
            let again = restarted == *start && now.duration_since(last.at) < RESTART_STEP;
            if again || next.told >= STARTS {
                next.at = last.at;
                next.skipped = last.skipped + 1;
            }
            before = last.skipped;
        }
        if next.skipped == 0 {
            next.told += 1;
            let entry = session_entry(id, start, before);
            self.audit_in(&mut transaction, entry).await?;
        }
        sqlx::query("UPDATE agents SET session = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(json(&next))
            .execute(&mut *transaction)
            .await?;
        self.commit(transaction).await
    }

    /// The agent's identity has more than one holder: none is served from now
    /// on. Of an agent that is contested already nothing changes.
    pub async fn contest_agent(
        &self,
        id: AgentId,
        sign: ContestSign,
        holders: Vec<Holder>,
    ) -> Result<Agent, CatalogError> {
        let mut transaction = self.begin().await?;
        let contest = Contest {
            at: self.now(),
            sign,
            holders,
        };
        let changed = sqlx::query(
            "UPDATE agents SET contest = $2
             WHERE id = $1 AND contest IS NULL AND revoked_at IS NULL",
        )
        .bind(id.to_string())
        .bind(json(&contest))
        .execute(&mut *transaction)
        .await?;
        let agent = agent_in(&mut transaction, id).await?;
        if changed.rows_affected() > 0 {
            let event = NewEvent::new(EventKind::AgentContested, Subject::agent(id))
                .detail(serde_json::json!({ "agent": agent.name, "sign": contest.sign }));
            self.event_in(&mut transaction, event).await?;
            let entry = NewAudit::ok(Actor::Coordinator, "agent.contest", &id)
                .outcome(AuditOutcome::Refused)
                .detail(serde_json::json!({
                    "name": agent.name,
                    "sign": contest.sign,
                    "holders": contest.holders,
                }));
            self.audit_in(&mut transaction, entry).await?;
        }
        self.commit(transaction).await?;
        Ok(agent)
    }

    /// Who last began a session as this agent, as far as it was audited.
    pub async fn last_session(&self, id: AgentId) -> Result<Option<SessionStart>, CatalogError> {
        let row = sqlx::query("SELECT session FROM agents WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await?;
        let last: Option<Audited> = match &row {
            Some(row) => Columns::new("agents", row).opt_json("session")?,
            None => None,
        };
        Ok(last.map(|last| last.start))
    }

    /// An operator has seen to it that a contested agent has one holder again:
    /// it is served, under this one of its certificates only. Without
    /// `serial`, under the one that all holders showed.
    pub async fn trust_agent(
        &self,
        id: AgentId,
        serial: Option<&str>,
        by: &Actor,
    ) -> Result<Agent, CatalogError> {
        let mut transaction = self.begin().await?;
        let agent = agent_in(&mut transaction, id).await?;
        let conflict = |problem: String| CatalogError::Conflict {
            what: "agent",
            name: agent.name.clone(),
            problem,
        };
        if !agent.is_active() {
            return Err(conflict("is revoked: invite it again".into()));
        }
        let Some(contest) = &agent.contest else {
            return Err(conflict("is not contested: it is served".into()));
        };
        let shown = contest.serials();
        let chosen = match (serial, shown.len()) {
            (Some(serial), _) if shown.contains(serial) => serial,
            (None, 1) => shown.first().copied().unwrap_or_default(),
            _ => {
                let shown: Vec<_> = shown.into_iter().collect();
                return Err(conflict(format!(
                    "is contested by holders of the certificates {}: say by --serial which of \
                     them is the right one",
                    shown.join(" and ")
                )));
            }
        };
        trust_only_in(&mut transaction, id, chosen, self.now()).await?;
        sqlx::query("UPDATE agents SET contest = NULL WHERE id = $1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        let event = NewEvent::new(EventKind::AgentTrusted, Subject::agent(id))
            .detail(serde_json::json!({ "agent": agent.name }));
        self.event_in(&mut transaction, event).await?;
        let entry = NewAudit::ok(by.clone(), "agent.trust", &id)
            .detail(serde_json::json!({ "name": agent.name, "serial": chosen }));
        self.audit_in(&mut transaction, entry).await?;
        let trusted = agent_in(&mut transaction, id).await?;
        self.commit(transaction).await?;
        Ok(trusted)
    }

    /// Says in the audit log that a certificate was shown after an operator
    /// had ended it: once for each certificate.
    pub async fn note_ended_certificate(
        &self,
        id: AgentId,
        holder: &Holder,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        // 1 becomes 2: told.
        let told = sqlx::query(
            "UPDATE agent_certificates SET ended_by_operator = 2
             WHERE serial = $1 AND ended_by_operator = 1",
        )
        .bind(holder.serial.clone())
        .execute(&mut *transaction)
        .await?;
        if told.rows_affected() == 0 {
            return Ok(());
        }
        let entry = NewAudit::ok(Actor::Agent(id), "certificate.refuse", &id)
            .outcome(AuditOutcome::Refused)
            .detail(serde_json::json!({ "holder": holder }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }
}

fn session_entry(id: AgentId, start: &SessionStart, skipped: u64) -> NewAudit {
    let mut detail = serde_json::to_value(start).unwrap_or_default();
    if skipped > 0 {
        detail["restarts_before"] = skipped.into();
    }
    NewAudit::ok(Actor::Agent(id), "session.begin", &id).detail(detail)
}
