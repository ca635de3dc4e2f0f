//! The audit log: who did what to which object, and how it ended.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use strongroom_layout::AgentId;
use uuid::Uuid;

/// Who acts. As text: `operator:<name>`, `agent:<uuid>`, `coordinator`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person or program with an operator's token.
    Operator(String),
    /// An agent, as its certificate names it.
    Agent(AgentId),
    /// The coordinator itself: schedules, expired leases, retries.
    Coordinator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Coordinator => f.write_str("coordinator"),
        }
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || format!("{text:?} is not an actor");
        match text.split_once(':') {
            None if text == "coordinator" => Ok(Self::Coordinator),
            Some(("operator", name)) => Ok(Self::Operator(name.into())),
            Some(("agent", id)) => id.parse().map(Self::Agent).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// Done.
    Ok,
    /// Not allowed.
    Refused,
    /// Tried and failed.
    Failed,
}

impl AuditOutcome {
    /// The word in the catalog and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for AuditOutcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ok, Self::Refused, Self::Failed]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not an outcome"))
    }
}

/// An entry for the audit log; the catalog adds id and time.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAudit {
    /// Who.
    pub actor: Actor,
    /// What, as `noun.verb`: `job.create`, `agent.revoke`, `grant.refuse`.
    pub action: String,
    /// To what: a job's or agent's id, a policy's or repository's name.
    pub object: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Anything else, for people and programs. Never a secret.
    pub detail: serde_json::Value,
    /// The trace it belongs to, 32 hex digits.
    pub trace_id: Option<String>,
}

impl NewAudit {
    /// An action that was done, without detail.
    pub fn ok(actor: Actor, action: &str, object: &(impl ToString + ?Sized)) -> Self {
        Self {
            actor,
            action: action.into(),
            object: object.to_string(),
            outcome: AuditOutcome::Ok,
            detail: serde_json::Value::Null,
            trace_id: None,
        }
    }

    /// The same, ended otherwise.
    #[must_use]
    pub fn outcome(mut self, outcome: AuditOutcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same, with detail.
    #[must_use]
    pub fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }

    /// The same, as part of a trace.
    #[must_use]
    pub fn trace(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditRow {
    /// UUIDv7: sorts by time.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// See [`NewAudit::actor`].
    pub actor: Actor,
    /// See [`NewAudit::action`].
    pub action: String,
    /// See [`NewAudit::object`].
    pub object: String,
    /// See [`NewAudit::outcome`].
    pub outcome: AuditOutcome,
    /// See [`NewAudit::detail`].
    pub detail: serde_json::Value,
    /// See [`NewAudit::trace_id`].
    pub trace_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_round_trip_through_text() {
        for actor in [
            Actor::Coordinator,
            Actor::Operator("a:b".into()),
            Actor::Agent(AgentId(Uuid::from_u128(9))),
        ] {
            assert_eq!(actor.to_string().parse::<Actor>().unwrap(), actor);
        }
        assert!("agent:web".parse::<Actor>().is_err());
        assert!("root".parse::<Actor>().is_err());
    }
}
