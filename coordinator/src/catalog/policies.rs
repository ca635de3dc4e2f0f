//! Policies.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Catalog, CatalogError,
    row::{Columns, json, micros, read_all},
};
use crate::{
    model::{Actor, EventKind, NewAudit, NewEvent, Subject},
    policy::{Change, Policy, PolicyChange, diff},
};

/// A policy and its history in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredPolicy {
    /// The policy.
    #[serde(flatten)]
    pub policy: Policy,
    /// Counts its changes from 1.
    pub revision: u32,
    /// When it was first applied.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its schedule or its choice of agents last changed: runs due
    /// before that are not caught up.
    pub scheduled_since: Timestamp,
}

impl Catalog {
    /// Adds or replaces the named policies, all or none. Others stay.
    pub async fn apply_policies(
        &self,
        wanted: &[Policy],
        by: &Actor,
    ) -> Result<Vec<PolicyChange>, CatalogError> {
        let mut transaction = self.begin().await?;
        let stored = policies_in(&mut transaction).await?;
        let current: Vec<_> = stored.iter().map(|it| it.policy.clone()).collect();
        let changes = diff(&current, wanted);
        let by_name: BTreeMap<_, _> = stored.iter().map(|it| (&it.policy.name, it)).collect();
        for (policy, change) in wanted.iter().zip(&changes) {
            if change.change == Change::Unchanged {
                continue;
            }
            let before = by_name.get(&policy.name).copied();
            write(&mut transaction, policy, before, self.now()).await?;
            let (action, kind) = if before.is_some() {
                ("policy.change", EventKind::PolicyChanged)
            } else {
                ("policy.create", EventKind::PolicyCreated)
            };
            let event = NewEvent::new(kind, Subject::policy(&policy.name));
            self.event_in(&mut transaction, event).await?;
            let entry = NewAudit::ok(by.clone(), action, &policy.name)
                .detail(serde_json::json!({ "policy": policy, "change": change.change }));
            self.audit_in(&mut transaction, entry).await?;
        }
        self.commit(transaction).await?;
        Ok(changes)
    }

    /// All policies, by name.
    pub async fn policies(&self) -> Result<Vec<StoredPolicy>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        policies_in(&mut connection).await
    }

    /// A policy by name.
    pub async fn policy(&self, name: &str) -> Result<StoredPolicy, CatalogError> {
        let row = sqlx::query("SELECT * FROM policies WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pool())
            .await?;
        row.as_ref()
            .map(read)
            .transpose()?
            .ok_or_else(|| CatalogError::not_found("policy", name))
    }

    /// Removes a policy. Its snapshots stay; its unfinished jobs go on.
    pub async fn delete_policy(&self, name: &str, by: &Actor) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM policies WHERE name = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        if deleted.rows_affected() == 0 {
            return Err(CatalogError::not_found("policy", name));
        }
        sqlx::query("DELETE FROM dataset_runs WHERE policy = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        let event = NewEvent::new(EventKind::PolicyDeleted, Subject::policy(name));
        self.event_in(&mut transaction, event).await?;
        self.audit_in(
            &mut transaction,
            NewAudit::ok(by.clone(), "policy.delete", name),
        )
        .await?;
        self.commit(transaction).await
    }
}

async fn write(
    connection: &mut AnyConnection,
    policy: &Policy,
    before: Option<&StoredPolicy>,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let scheduled_since = before
        .filter(|it| it.policy.schedule == policy.schedule && it.policy.agents == policy.agents)
        .map_or(now, |it| it.scheduled_since);
    sqlx::query(
        "INSERT INTO policies (name, document, revision, created_at, updated_at, scheduled_since)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO UPDATE SET
             document = excluded.document, revision = excluded.revision,
             updated_at = excluded.updated_at, scheduled_since = excluded.scheduled_since",
    )
    .bind(policy.name.clone())
    .bind(json(policy))
    .bind(before.map_or(1, |it| i64::from(it.revision) + 1))
    .bind(micros(before.map_or(now, |it| it.created_at)))
    .bind(micros(now))
    .bind(micros(scheduled_since))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn policies_in(
    connection: &mut AnyConnection,
) -> Result<Vec<StoredPolicy>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM policies ORDER BY name")
        .fetch_all(connection)
        .await?;
    read_all(&rows, read)
}

fn read(row: &AnyRow) -> Result<StoredPolicy, CatalogError> {
    let row = Columns::new("policies", row);
    Ok(StoredPolicy {
        policy: row.json("document")?,
        revision: row.number("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        scheduled_since: row.time("scheduled_since")?,
    })
}
