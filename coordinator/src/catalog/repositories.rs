//! Repositories.

use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Catalog, CatalogError,
    row::{Columns, micros, read_all},
};
use crate::model::{
    Actor, EventKind, NewAudit, NewEvent, NewRepository, Repository, RepositoryState, Subject,
};

impl Catalog {
    /// The repository of that name; entered with the given password when
    /// there is none. An agent that took over a revoked one's name takes over
    /// its repository with it, password included.
    pub async fn ensure_repository(
        &self,
        wanted: &NewRepository,
    ) -> Result<Repository, CatalogError> {
        let mut transaction = self.begin().await?;
        if let Some(found) = repository_in(&mut transaction, &wanted.name).await? {
            if found.agent == wanted.agent {
                return Ok(found);
            }
            sqlx::query("UPDATE repositories SET agent_id = $2 WHERE name = $1")
                .bind(wanted.name.clone())
                .bind(wanted.agent.to_string())
                .execute(&mut *transaction)
                .await?;
            let kind = EventKind::RepositoryTakenOver;
            self.event_in(&mut transaction, event(kind, wanted)).await?;
            let entry = NewAudit::ok(Actor::Coordinator, "repository.take-over", &wanted.name)
                .detail(serde_json::json!({ "from": found.agent, "to": wanted.agent }));
            self.audit_in(&mut transaction, entry).await?;
        } else {
            sqlx::query(
                "INSERT INTO repositories
                     (name, store, prefix, agent_id, sealed_password, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(wanted.name.clone())
            .bind(wanted.store.clone())
            .bind(wanted.prefix.clone())
            .bind(wanted.agent.to_string())
            .bind(wanted.sealed_password.clone())
            .bind(micros(self.now()))
            .execute(&mut *transaction)
            .await?;
            let kind = EventKind::RepositoryCreated;
            self.event_in(&mut transaction, event(kind, wanted)).await?;
            let entry = NewAudit::ok(Actor::Coordinator, "repository.create", &wanted.name).detail(
                serde_json::json!({
                    "store": wanted.store, "prefix": wanted.prefix, "agent": wanted.agent,
                }),
            );
            self.audit_in(&mut transaction, entry).await?;
        }
        let repository = repository_in(&mut transaction, &wanted.name)
            .await?
            .ok_or_else(|| CatalogError::not_found("repository", &wanted.name))?;
        self.commit(transaction).await?;
        Ok(repository)
    }

    /// A repository by name.
    pub async fn repository(&self, name: &str) -> Result<Repository, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        repository_in(&mut connection, name)
            .await?
            .ok_or_else(|| CatalogError::not_found("repository", name))
    }

    /// All repositories, by name.
    pub async fn repositories(&self) -> Result<Vec<Repository>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        repositories_in(&mut connection).await
    }

    /// The repository exists in its store. The first backup that succeeds
    /// marks it too.
    pub async fn mark_repository_ready(&self, name: &str) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        self.mark_ready_in(&mut transaction, name).await?;
        self.commit(transaction).await
    }

    /// Gives whether that is news.
    pub(super) async fn mark_ready_in(
        &self,
        connection: &mut AnyConnection,
        name: &str,
    ) -> Result<bool, CatalogError> {
        let marked = sqlx::query(
            "UPDATE repositories SET ready_at = $2, compared_at = $2
             WHERE name = $1 AND ready_at IS NULL",
        )
        .bind(name)
        .bind(micros(self.now()))
        .execute(&mut *connection)
        .await?;
        if marked.rows_affected() > 0 {
            let ready = NewEvent::new(EventKind::RepositoryReady, Subject::repository(name));
            self.event_in(connection, ready).await?;
            let entry = NewAudit::ok(Actor::Coordinator, "repository.ready", name);
            self.audit_in(connection, entry).await?;
        }
        Ok(marked.rows_affected() > 0)
    }
}

/// The event of a repository that an agent gets.
fn event(kind: EventKind, wanted: &NewRepository) -> NewEvent {
    let subject = Subject {
        agent: Some(wanted.agent),
        ..Subject::repository(&wanted.name)
    };
    NewEvent::new(kind, subject).detail(serde_json::json!({ "store": wanted.store }))
}

pub(super) async fn repositories_in(
    connection: &mut AnyConnection,
) -> Result<Vec<Repository>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM repositories ORDER BY name")
        .fetch_all(connection)
        .await?;
    read_all(&rows, read)
}

pub(super) async fn repository_in(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<Repository>, CatalogError> {
    let row = sqlx::query("SELECT * FROM repositories WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) fn read(row: &AnyRow) -> Result<Repository, CatalogError> {
    let row = Columns::new("repositories", row);
    Ok(Repository {
        name: row.text("name")?,
        store: row.text("store")?,
        prefix: row.text("prefix")?,
        agent: row.parse("agent_id")?,
        state: row
            .opt_time("ready_at")?
            .map_or(RepositoryState::New, |at| RepositoryState::Ready { at }),
        sealed_password: row.text("sealed_password")?,
        created_at: row.time("created_at")?,
    })
}
