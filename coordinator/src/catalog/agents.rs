//! Agents.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use strongroom_layout::AgentId;
use strongroom_wire::session::Connection;

use super::{
    Catalog, CatalogError,
    objects::ROWS_PER_STATEMENT,
    policies::policies_in,
    row::{Columns, json, micros, read_all},
};
use crate::model::{
    Actor, Agent, AgentFacts, AgentState, EventKind, Labels, NewAudit, NewEvent, Subject,
    check_labels,
};

/// What an [`Agent`] is made of. What it finds at its connections is large, and is
/// read by itself.
pub(super) const COLUMNS: &str = "agents.id, agents.name, agents.labels, agents.revoked_at, \
     agents.contest, agents.enrolled_at, agents.last_seen, agents.version, agents.hostname, \
     agents.os, agents.architecture, agents.consent, agents.transfer_key, agents.told_at";

impl Catalog {
    /// All agents, revoked ones too, by name.
    pub async fn agents(&self) -> Result<Vec<Agent>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        agents_in(&mut connection).await
    }

    /// An agent by id.
    pub async fn agent(&self, id: AgentId) -> Result<Agent, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        agent_in(&mut connection, id).await
    }

    /// An agent by its name or id, as an operator gives it: the active one of
    /// that name before revoked ones, the newest of those.
    pub async fn find_agent(&self, name_or_id: &str) -> Result<Agent, CatalogError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM agents WHERE name = $1 OR id = $1
             ORDER BY (CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END), enrolled_at DESC LIMIT 1",
        )))
        .bind(name_or_id)
        .fetch_optional(self.pool())
        .await?;
        row.as_ref()
            .map(read)
            .transpose()?
            .ok_or_else(|| CatalogError::not_found("agent", name_or_id))
    }

    /// The agent said hello: notes what it says of itself.
    pub async fn agent_hello(&self, id: AgentId, facts: &AgentFacts) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE agents SET last_seen = $2, version = $3, hostname = $4, os = $5,
                               architecture = $6, consent = $7, transfer_key = $8,
                               told_at = CASE WHEN COALESCE(consent, '') = COALESCE($7, '')
                                              THEN told_at ELSE $2 END
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(micros(self.now()))
        .bind(facts.version.clone())
        .bind(facts.hostname.clone())
        .bind(facts.os.clone())
        .bind(facts.architecture.clone())
        .bind(facts.consent.as_ref().map(json))
        .bind(facts.transfer_key.map(|key| key.to_string()))
        .execute(&mut *transaction)
        .await?;
        self.commit(transaction).await
    }

    /// Somebody with the agent's certificate said hello who is too old to be spoken with:
    /// only that is noted. Whether it is the agent nobody has found out.
    pub async fn agent_too_old(&self, id: AgentId, version: &str) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE agents SET version = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(version.to_owned())
            .execute(&mut *transaction)
            .await?;
        self.commit(transaction).await
    }

    /// The agent said what it finds at its connections; wakes somebody only when it
    /// names others than before.
    pub async fn note_connections(
        &self,
        id: AgentId,
        connections: &[Connection],
    ) -> Result<(), CatalogError> {
        let names = |all: &[Connection]| -> BTreeSet<(String, String)> {
            let names = all.iter().map(|it| (it.kind.clone(), it.name.clone()));
            names.collect()
        };
        let before = self.connections(id).await?;
        let are_others = names(&before) != names(connections);
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE agents SET connections = $2,
                               told_at = CASE WHEN $3 = 1 THEN $4 ELSE told_at END
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(json(&connections))
        .bind(i64::from(are_others))
        .bind(micros(self.now()))
        .execute(&mut *transaction)
        .await?;
        if are_others {
            self.commit(transaction).await
        } else {
            Ok(transaction.commit().await?)
        }
    }

    /// What an agent last found at the connections of its `agent.toml`; never
    /// trusted for a decision.
    pub async fn connections(&self, id: AgentId) -> Result<Vec<Connection>, CatalogError> {
        let row = sqlx::query("SELECT connections FROM agents WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await?
            .ok_or_else(|| CatalogError::not_found("agent", &id))?;
        let connections = Columns::new("agents", &row).opt_json("connections")?;
        Ok(connections.unwrap_or_default())
    }

    /// What those of these agents that have ever told last found at their connections.
    pub async fn connections_of(
        &self,
        agents: &BTreeSet<AgentId>,
    ) -> Result<HashMap<AgentId, Vec<Connection>>, CatalogError> {
        let mut all = HashMap::new();
        let agents: Vec<_> = agents.iter().collect();
        for chunk in agents.chunks(ROWS_PER_STATEMENT) {
            let places: Vec<_> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT id, connections FROM agents
                 WHERE connections IS NOT NULL AND id IN ({})",
                places.join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for agent in chunk {
                query = query.bind(agent.to_string());
            }
            let told = read_all(&query.fetch_all(self.pool()).await?, |row| {
                let row = Columns::new("agents", row);
                let connections: Option<Vec<Connection>> = row.opt_json("connections")?;
                Ok((row.parse("id")?, connections.unwrap_or_default()))
            })?;
            all.extend(told);
        }
        Ok(all)
    }

    /// Sets some of an agent's labels and takes others away. Policies choose it, or
    /// no longer do, from now on: what a policy that chooses it anew would have run
    /// before is not made up for. That a policy which archives a log lets go of it
    /// is to be `confirmed`: the server's slot is dropped, and what it would have
    /// kept is gone even when the label is back a moment later.
    pub async fn label_agent(
        &self,
        id: AgentId,
        (set, remove): (&Labels, &BTreeSet<String>),
        confirmed: bool,
        by: &Actor,
    ) -> Result<Agent, CatalogError> {
        check_labels(set)?;
        let mut transaction = self.begin().await?;
        let before = agent_in(&mut transaction, id).await?;
        let conflict = |problem: String| CatalogError::Conflict {
            what: "agent",
            name: before.name.clone(),
            problem,
        };
        if !before.is_active() {
            return Err(conflict("is revoked: invite it again".into()));
        }
        if let Some(missing) = remove.iter().find(|it| !before.labels.contains_key(*it)) {
            return Err(conflict(format!("has no label {missing:?}")));
        }
        let mut agent = before.clone();
        agent.labels.retain(|key, _| !remove.contains(key));
        agent.labels.extend(set.clone());
        if agent.labels == before.labels {
            return Ok(before);
        }
        sqlx::query("UPDATE agents SET labels = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(json(&agent.labels))
            .execute(&mut *transaction)
            .await?;
        for stored in policies_in(&mut transaction).await? {
            let (policy, chosen) = (&stored.policy, &stored.policy.agents);
            match (chosen.matches(&before), chosen.matches(&agent)) {
                (false, true) => {
                    self.begin_runs_in(&mut transaction, &policy.name, id)
                        .await?;
                }
                (true, false) if policy.wal.is_some() && !confirmed => {
                    return Err(conflict(format!(
                        "would no longer be chosen by policy {}: its log would not be archived \
                         any more, and what the server keeps for that would be dropped; say --yes \
                         if that is meant",
                        policy.name
                    )));
                }
                _ => {}
            }
        }
        let event = NewEvent::new(EventKind::AgentLabelled, Subject::agent(id))
            .detail(serde_json::json!({ "agent": agent.name, "labels": agent.labels }));
        self.event_in(&mut transaction, event).await?;
        let entry = NewAudit::ok(by.clone(), "agent.label", &id).detail(serde_json::json!({
            "name": agent.name, "before": before.labels, "labels": agent.labels,
        }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(agent)
    }

    /// Never lets the agent in again, and fails its unfinished jobs. Whoever
    /// holds its stream then closes it.
    pub async fn revoke_agent(&self, id: AgentId, by: &Actor) -> Result<Agent, CatalogError> {
        let mut transaction = self.begin().await?;
        let changed =
            sqlx::query("UPDATE agents SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
                .bind(id.to_string())
                .bind(micros(self.now()))
                .execute(&mut *transaction)
                .await?;
        let agent = agent_in(&mut transaction, id).await?;
        if changed.rows_affected() > 0 {
            let event = NewEvent::new(EventKind::AgentRevoked, Subject::agent(id))
                .detail(serde_json::json!({ "agent": agent.name }));
            self.event_in(&mut transaction, event).await?;
            let entry = NewAudit::ok(by.clone(), "agent.revoke", &id)
                .detail(serde_json::json!({ "name": agent.name }));
            self.audit_in(&mut transaction, entry).await?;
            self.abandon_jobs_of(&mut transaction, id).await?;
        }
        self.commit(transaction).await?;
        Ok(agent)
    }
}

pub(super) async fn agents_in(connection: &mut AnyConnection) -> Result<Vec<Agent>, CatalogError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM agents ORDER BY name, enrolled_at"
    )))
    .fetch_all(connection)
    .await?;
    read_all(&rows, read)
}

pub(super) async fn agent_in(
    connection: &mut AnyConnection,
    id: AgentId,
) -> Result<Agent, CatalogError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM agents WHERE id = $1"
    )))
    .bind(id.to_string())
    .fetch_optional(connection)
    .await?;
    row.as_ref()
        .map(read)
        .transpose()?
        .ok_or_else(|| CatalogError::not_found("agent", &id))
}

pub(super) fn read(row: &AnyRow) -> Result<Agent, CatalogError> {
    let row = Columns::new("agents", row);
    Ok(Agent {
        id: row.parse("id")?,
        name: row.text("name")?,
        labels: row.json("labels")?,
        state: row
            .opt_time("revoked_at")?
            .map_or(AgentState::Active, |at: Timestamp| AgentState::Revoked {
                at,
            }),
        contest: row.opt_json("contest")?,
        enrolled_at: row.time("enrolled_at")?,
        last_seen: row.opt_time("last_seen")?,
        facts: AgentFacts {
            version: row.opt_text("version")?,
            hostname: row.opt_text("hostname")?,
            os: row.opt_text("os")?,
            architecture: row.opt_text("architecture")?,
            consent: row.opt_json("consent")?,
            transfer_key: row.opt_parse("transfer_key")?,
        },
        told_at: row.opt_time("told_at")?,
    })
}
