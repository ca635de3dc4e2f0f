//! Join tokens. How one becomes an agent is in `enrolment.rs`.

use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Catalog, CatalogError,
    row::{Columns, json, micros, read_all},
};
use crate::model::{
    Actor, JoinToken, JoinTokenState, NewAudit, NewJoinToken, SecretHash, check_labels, check_name,
};

impl Catalog {
    /// Enters a new join token.
    pub async fn create_join_token(
        &self,
        token: &NewJoinToken,
        by: &Actor,
    ) -> Result<JoinToken, CatalogError> {
        if let Some(name) = &token.agent_name {
            check_name("agent name", name)?;
        }
        check_labels(&token.labels)?;
        let mut transaction = self.begin().await?;
        let replaces: Option<String> = match &token.agent_name {
            None => None,
            Some(name) => {
                sqlx::query_scalar("SELECT id FROM agents WHERE name = $1 AND revoked_at IS NULL")
                    .bind(name.clone())
                    .fetch_optional(&mut *transaction)
                    .await?
            }
        };
        sqlx::query(
            "INSERT INTO join_tokens (id, secret_hash, labels, agent_name, created_at, expires_at,
                                      replaces)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.id.clone())
        .bind(token.secret.to_hex())
        .bind(json(&token.labels))
        .bind(token.agent_name.clone())
        .bind(micros(self.now()))
        .bind(micros(token.expires_at))
        .bind(replaces.clone())
        .execute(&mut *transaction)
        .await?;
        let entry = NewAudit::ok(by.clone(), "token.create", &token.id).detail(serde_json::json!({
            "labels": token.labels,
            "agent_name": token.agent_name,
            "replaces": replaces,
            "expires_at": token.expires_at,
        }));
        self.audit_in(&mut transaction, entry).await?;
        let (created, _) = token_in(&mut transaction, &token.id)
            .await?
            .ok_or_else(|| CatalogError::not_found("join token", &token.id))?;
        self.commit(transaction).await?;
        Ok(created)
    }

    /// All join tokens, newest first.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM join_tokens ORDER BY created_at DESC, id")
            .fetch_all(self.pool())
            .await?;
        read_all(&rows, |row| Ok(read(row)?.0))
    }

    /// A join token by its public half.
    pub async fn join_token(&self, id: &str) -> Result<JoinToken, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let found = token_in(&mut connection, id).await?;
        found
            .map(|(token, _)| token)
            .ok_or_else(|| CatalogError::not_found("join token", &id))
    }

    /// Takes an unused join token back.
    pub async fn revoke_join_token(&self, id: &str, by: &Actor) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let (token, _) = token_in(&mut transaction, id)
            .await?
            .ok_or_else(|| CatalogError::not_found("join token", &id))?;
        match token.state {
            JoinTokenState::Revoked { .. } => return Ok(()),
            JoinTokenState::Used { by, .. } => {
                return Err(CatalogError::Conflict {
                    what: "join token",
                    name: id.into(),
                    problem: format!("was used by agent {by}: revoke that agent instead"),
                });
            }
            JoinTokenState::Open => {}
        }
        sqlx::query("UPDATE join_tokens SET revoked_at = $2 WHERE id = $1")
            .bind(id)
            .bind(micros(self.now()))
            .execute(&mut *transaction)
            .await?;
        self.audit_in(
            &mut transaction,
            NewAudit::ok(by.clone(), "token.revoke", &id),
        )
        .await?;
        self.commit(transaction).await
    }
}

pub(super) async fn token_in(
    connection: &mut AnyConnection,
    id: &str,
) -> Result<Option<(JoinToken, SecretHash)>, CatalogError> {
    let row = sqlx::query("SELECT * FROM join_tokens WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<(JoinToken, SecretHash), CatalogError> {
    let row = Columns::new("join_tokens", row);
    let state = match (row.opt_time("used_at")?, row.opt_time("revoked_at")?) {
        (Some(at), _) => JoinTokenState::Used {
            at,
            by: row.parse("used_by")?,
        },
        (None, Some(at)) => JoinTokenState::Revoked { at },
        (None, None) => JoinTokenState::Open,
    };
    let token = JoinToken {
        id: row.text("id")?,
        labels: row.json("labels")?,
        agent_name: row.opt_text("agent_name")?,
        replaces: row.opt_parse("replaces")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        state,
    };
    Ok((token, row.parse("secret_hash")?))
}
