//! The keys with which the catalog was written.

use sqlx::AnyConnection;

use super::{
    Catalog, CatalogError,
    row::{Columns, micros, read_all},
};
use crate::model::{Actor, NewAudit, OwnKey, OwnKeyKind};

impl Catalog {
    /// The key of this kind, if the catalog names one.
    pub async fn own_key(&self, kind: OwnKeyKind) -> Result<Option<OwnKey>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        own_key_in(&mut connection, kind).await
    }

    /// Enters a key, unless the catalog names one of its kind; gives the one that it
    /// names now.
    pub async fn enter_own_key(
        &self,
        kind: OwnKeyKind,
        fingerprint: &str,
    ) -> Result<OwnKey, CatalogError> {
        let mut transaction = self.begin().await?;
        if let Some(known) = own_key_in(&mut transaction, kind).await? {
            return Ok(known);
        }
        let entered = self.put(&mut transaction, kind, fingerprint).await?;
        self.commit(transaction).await?;
        Ok(entered)
    }

    /// Names another key than before, on the word of whoever started this
    /// coordinator; audited.
    pub async fn replace_own_key(
        &self,
        kind: OwnKeyKind,
        fingerprint: &str,
    ) -> Result<OwnKey, CatalogError> {
        let mut transaction = self.begin().await?;
        let before = own_key_in(&mut transaction, kind).await?;
        let entered = self.put(&mut transaction, kind, fingerprint).await?;
        let entry = NewAudit::ok(Actor::Coordinator, "keys.replace", &kind.as_str()).detail(
            serde_json::json!({
                "before": before.map(|it| it.fingerprint),
                "fingerprint": fingerprint,
            }),
        );
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(entered)
    }

    async fn put(
        &self,
        connection: &mut AnyConnection,
        kind: OwnKeyKind,
        fingerprint: &str,
    ) -> Result<OwnKey, CatalogError> {
        let entered_at = self.now();
        sqlx::query(
            "INSERT INTO own_keys (kind, fingerprint, entered_at) VALUES ($1, $2, $3)
             ON CONFLICT (kind) DO UPDATE SET
                 fingerprint = excluded.fingerprint, entered_at = excluded.entered_at",
        )
        .bind(kind.as_str())
        .bind(fingerprint)
        .bind(micros(entered_at))
        .execute(connection)
        .await?;
        Ok(OwnKey {
            fingerprint: fingerprint.to_owned(),
            entered_at,
        })
    }
}

async fn own_key_in(
    connection: &mut AnyConnection,
    kind: OwnKeyKind,
) -> Result<Option<OwnKey>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM own_keys WHERE kind = $1")
        .bind(kind.as_str())
        .fetch_all(connection)
        .await?;
    let keys = read_all(&rows, |row| {
        let row = Columns::new("own_keys", row);
        Ok(OwnKey {
            fingerprint: row.text("fingerprint")?,
            entered_at: row.time("entered_at")?,
        })
    })?;
    Ok(keys.into_iter().next())
}
