//! Operators' tokens.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Catalog, CatalogError,
    row::{Columns, micros, read_all},
};
use crate::model::{Actor, NewAudit, Operator, SecretHash, check_name};

/// `last_used` is kept to this: not every request is a write.
const LAST_USED_STEP: SignedDuration = SignedDuration::from_mins(1);

impl Catalog {
    /// Enters an operator's token by its hash, for ever or until `expires_at`.
    /// The name must be free: neither in use nor expired, but revoked or new.
    pub async fn create_operator(
        &self,
        name: &str,
        secret: &SecretHash,
        expires_at: Option<Timestamp>,
        by: &Actor,
    ) -> Result<Operator, CatalogError> {
        check_name("operator name", name)?;
        let mut transaction = self.begin().await?;
        let operator = self
            .create_operator_in(&mut transaction, name, secret, expires_at)
            .await?;
        let entry = NewAudit::ok(by.clone(), "operator.create", name)
            .detail(serde_json::json!({ "expires_at": expires_at }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(operator)
    }

    /// A new token in the place of an operator's present one, which may have
    /// expired and is refused from now on.
    pub async fn renew_operator(
        &self,
        name: &str,
        secret: &SecretHash,
        expires_at: Option<Timestamp>,
        by: &Actor,
    ) -> Result<Operator, CatalogError> {
        let mut transaction = self.begin().await?;
        self.revoke_operator_in(&mut transaction, name).await?;
        let operator = self
            .create_operator_in(&mut transaction, name, secret, expires_at)
            .await?;
        let entry = NewAudit::ok(by.clone(), "operator.renew", name)
            .detail(serde_json::json!({ "expires_at": expires_at }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(operator)
    }

    /// A token for whoever holds the coordinator's host and has lost every other:
    /// in the place of the operator's present one, or for a new operator. `by`
    /// stands in the audit log. Whether there was one.
    pub async fn reset_operator(
        &self,
        name: &str,
        secret: &SecretHash,
        by: &serde_json::Value,
    ) -> Result<bool, CatalogError> {
        check_name("operator name", name)?;
        let mut transaction = self.begin().await?;
        let renewed = match self.revoke_operator_in(&mut transaction, name).await {
            Ok(()) => true,
            Err(CatalogError::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        self.create_operator_in(&mut transaction, name, secret, None)
            .await?;
        let entry = NewAudit::ok(Actor::Coordinator, "operator.reset", name)
            .detail(serde_json::json!({ "renewed": renewed, "by": by }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(renewed)
    }

    async fn create_operator_in(
        &self,
        connection: &mut AnyConnection,
        name: &str,
        secret: &SecretHash,
        expires_at: Option<Timestamp>,
    ) -> Result<Operator, CatalogError> {
        let operator = Operator {
            id: self.new_id(),
            name: name.into(),
            created_at: self.now(),
            expires_at,
            revoked_at: None,
            last_used: None,
        };
        let created = sqlx::query(
            "INSERT INTO operators (id, name, secret_hash, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(operator.id.to_string())
        .bind(name)
        .bind(secret.to_hex())
        .bind(micros(operator.created_at))
        .bind(expires_at.map(micros))
        .execute(connection)
        .await?;
        if created.rows_affected() == 0 {
            return Err(CatalogError::Exists {
                what: "operator",
                name: name.into(),
            });
        }
        Ok(operator)
    }

    /// Whose token this is, also when it has expired; `None` for unknown and
    /// revoked ones.
    pub async fn verify_operator(
        &self,
        secret: &SecretHash,
    ) -> Result<Option<Operator>, CatalogError> {
        let row =
            sqlx::query("SELECT * FROM operators WHERE secret_hash = $1 AND revoked_at IS NULL")
                .bind(secret.to_hex())
                .fetch_optional(self.pool())
                .await?;
        let Some(operator) = row.as_ref().map(read).transpose()? else {
            return Ok(None);
        };
        let now = self.now();
        if !operator.is_valid(now) {
            return Ok(Some(operator));
        }
        if operator
            .last_used
            .is_none_or(|last| now.duration_since(last) >= LAST_USED_STEP)
        {
            sqlx::query("UPDATE operators SET last_used = $2 WHERE id = $1")
                .bind(operator.id.to_string())
                .bind(micros(now))
                .execute(self.writers())
                .await?;
        }
        Ok(Some(operator))
    }

    /// All operators, revoked ones too, by name.
    pub async fn operators(&self) -> Result<Vec<Operator>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM operators ORDER BY name, created_at")
            .fetch_all(self.pool())
            .await?;
        read_all(&rows, read)
    }

    /// Ends an operator's token by name.
    pub async fn revoke_operator(&self, name: &str, by: &Actor) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        self.revoke_operator_in(&mut transaction, name).await?;
        self.audit_in(
            &mut transaction,
            NewAudit::ok(by.clone(), "operator.revoke", name),
        )
        .await?;
        self.commit(transaction).await
    }

    async fn revoke_operator_in(
        &self,
        connection: &mut AnyConnection,
        name: &str,
    ) -> Result<(), CatalogError> {
        let revoked = sqlx::query(
            "UPDATE operators SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL",
        )
        .bind(name)
        .bind(micros(self.now()))
        .execute(connection)
        .await?;
        if revoked.rows_affected() == 0 {
            return Err(CatalogError::not_found("operator", name));
        }
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<Operator, CatalogError> {
    let row = Columns::new("operators", row);
    Ok(Operator {
        id: row.parse("id")?,
        name: row.text("name")?,
        created_at: row.time("created_at")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        last_used: row.opt_time("last_used")?,
    })
}
