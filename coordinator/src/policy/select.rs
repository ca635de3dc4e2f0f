//! Which agents a policy is for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strongroom_layout::AgentId;
use strongroom_spec::Source;

use super::{
    Policy,
    consent::{Connections, foretold},
};
use crate::model::{Agent, Labels};

/// `{ labels = { role = "web" } }` or `{ names = ["web-1"] }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum AgentSelector {
    /// Agents that carry all of these labels.
    Labels(Labels),
    /// Agents of these names.
    Names(BTreeSet<String>),
}

impl AgentSelector {
    /// Whether an agent is chosen; revoked agents never are.
    pub fn matches(&self, agent: &Agent) -> bool {
        agent.is_active()
            && match self {
                Self::Labels(labels) => labels
                    .iter()
                    .all(|(key, value)| agent.labels.get(key) == Some(value)),
                Self::Names(names) => names.contains(&agent.name),
            }
    }
}

/// The agents that policies choose to back up by a connection: whose connections
/// [`warnings`] looks at.
pub fn users_of_connections(policies: &[Policy], agents: &[Agent]) -> BTreeSet<AgentId> {
    let by_connection = |policy: &&Policy| match policy.source {
        Source::Postgres(_) | Source::Redis(_) => true,
        Source::Files(_) | Source::Command(_) => false,
    };
    let policies: Vec<_> = policies.iter().filter(by_connection).collect();
    let chosen = |agent: &&Agent| policies.iter().any(|it| it.agents.matches(agent));
    agents.iter().filter(chosen).map(|agent| agent.id).collect()
}

/// Warnings that are told; of the others only their number.
const MAX_WARNINGS: usize = 100;

/// What is allowed but probably not meant: policies that no agent is chosen
/// by, names that no active agent has, and what agents have said they will refuse.
pub fn warnings(policies: &[Policy], agents: &[Agent], connections: &Connections) -> Vec<String> {
    let active = agents.iter().filter(|it| it.is_active());
    let known: BTreeSet<_> = active.map(|it| &it.name).collect();
    let mut warnings = Vec::new();
    for policy in policies {
        let name = &policy.name;
        match &policy.agents {
            AgentSelector::Labels(_) => {
                if !agents.iter().any(|agent| policy.agents.matches(agent)) {
                    warnings.push(format!(
                        "policy {name} matches no agent: nothing is backed up until one with \
                         these labels is enrolled"
                    ));
                }
            }
            AgentSelector::Names(names) => {
                warnings.extend(names.iter().filter(|it| !known.contains(it)).map(|wanted| {
                    format!(
                        "policy {name} names the agent {wanted}, which is not enrolled: nothing \
                         is backed up there until it is"
                    )
                }));
            }
        }
        let chosen = agents.iter().filter(|agent| policy.agents.matches(agent));
        warnings.extend(chosen.flat_map(|agent| foretold(policy, agent, connections)));
    }
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(format!("… and {more} more"));
    }
    warnings
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Labels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<BTreeSet<String>>,
}

impl TryFrom<Raw> for AgentSelector {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        match (raw.labels, raw.names) {
            (Some(labels), None) if !labels.is_empty() => Ok(Self::Labels(labels)),
            (None, Some(names)) if !names.is_empty() => Ok(Self::Names(names)),
            (Some(_), Some(_)) => {
                Err("agents are chosen by `labels` or by `names`, not by both: remove one")
            }
            _ => Err(
                "no agents are chosen: write `labels = { role = \"web\" }` or \
                 `names = [\"web-1\"]`, not empty",
            ),
        }
    }
}

impl From<AgentSelector> for Raw {
    fn from(selector: AgentSelector) -> Self {
        match selector {
            AgentSelector::Labels(labels) => Self {
                labels: Some(labels),
                names: None,
            },
            AgentSelector::Names(names) => Self {
                labels: None,
                names: Some(names),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::{AgentState, agent::testing};

    fn agent(name: &str, labels: &[(&str, &str)]) -> Agent {
        testing::agent(name, 0, labels)
    }

    fn selector(json: &str) -> AgentSelector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_who_backs_up_by_a_connection_is_concerned_by_connections() {
        let policy = |agents: &str, source: &str| -> Policy {
            serde_json::from_str(&format!(
                r#"{{"name": "p", "agents": {agents}, "store": "s", "source": {source}}}"#
            ))
            .unwrap()
        };
        let agents = [
            testing::agent("db-1", 1, &[("role", "db")]),
            testing::agent("web-1", 2, &[("role", "web")]),
            testing::agent("cache-1", 3, &[]),
        ];
        let files = policy(
            r#"{"labels": {"role": "web"}}"#,
            r#"{"files": {"paths": ["/srv"]}}"#,
        );
        let redis = policy(
            r#"{"names": ["cache-1"]}"#,
            r#"{"redis": {"connection": "a"}}"#,
        );
        assert!(users_of_connections(std::slice::from_ref(&files), &agents).is_empty());
        let concerned = users_of_connections(&[files, redis], &agents);
        assert_eq!(concerned, BTreeSet::from([agents[2].id]));
    }

    #[test]
    fn all_labels_must_be_carried_and_revoked_agents_are_never_chosen() {
        let mut web = agent("web-1", &[("role", "web"), ("zone", "a")]);
        for (wanted, matches) in [
            (r#"{"labels": {"role": "web"}}"#, true),
            (r#"{"labels": {"role": "web", "zone": "a"}}"#, true),
            (r#"{"labels": {"role": "web", "zone": "b"}}"#, false),
            (r#"{"labels": {"rack": "1"}}"#, false),
            (r#"{"names": ["db-1", "web-1"]}"#, true),
            (r#"{"names": ["web"]}"#, false),
        ] {
            assert_eq!(selector(wanted).matches(&web), matches, "{wanted}");
        }
        web.state = AgentState::Revoked {
            at: Timestamp::UNIX_EPOCH,
        };
        assert!(!selector(r#"{"names": ["web-1"]}"#).matches(&web));
    }

    #[test]
    fn a_policy_for_nobody_is_warned_of() {
        let policy = |agents: &str| -> Policy {
            serde_json::from_str(&format!(
                r#"{{"name": "p", "agents": {agents}, "store": "s",
                    "source": {{"files": {{"paths": ["/"]}}}}}}"#
            ))
            .unwrap()
        };
        let agents = [agent("web-1", &[("role", "web")])];
        let warn = |selector: &str| warnings(&[policy(selector)], &agents, &Connections::new());
        assert!(warn(r#"{"labels": {"role": "web"}}"#).is_empty());
        assert!(warn(r#"{"names": ["web-1"]}"#).is_empty());
        assert_eq!(warn(r#"{"labels": {"role": "db"}}"#).len(), 1);
        let named = warn(r#"{"names": ["web-1", "db-1"]}"#);
        assert_eq!(named.len(), 1);
        assert!(named[0].contains("db-1"), "{named:?}");
    }
}
