//! The audit log.

use jiff::Timestamp;
use sqlx::{AnyConnection, any::AnyRow};
use uuid::Uuid;

use super::{
    Catalog, CatalogError, Page,
    row::{Columns, beginning, int, json, micros, read_all},
};
use crate::model::{Actor, AuditRow, NewAudit};

/// Which entries of the audit log.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this actor.
    pub actor: Option<Actor>,
    /// Of the actions that begin so: `job`, `job.create`.
    pub action: Option<String>,
    /// Concerning this object.
    pub object: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Older than this entry.
    pub before: Option<Uuid>,
}

impl Catalog {
    /// Adds an entry on its own. Entries about changes are written by the
    /// methods that make them.
    pub async fn audit(&self, entry: NewAudit) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }

    /// The audit log, newest first.
    pub async fn audit_log(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Page<AuditRow, Uuid>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM audit
             WHERE ($1 IS NULL OR actor = $1)
               AND ($2 IS NULL OR action LIKE $2 ESCAPE '\\')
               AND ($3 IS NULL OR object = $3)
               AND ($4 IS NULL OR id < $4)
               AND at >= $5 AND at < $6
             ORDER BY id DESC LIMIT $7",
        )
        .bind(filter.actor.as_ref().map(ToString::to_string))
        .bind(filter.action.as_deref().map(beginning))
        .bind(filter.object.clone())
        .bind(filter.before.map(|id| id.to_string()))
        .bind(filter.since.map_or(i64::MIN, micros))
        .bind(filter.until.map_or(i64::MAX, micros))
        .bind(i64::from(limit) + 1)
        .fetch_all(self.pool())
        .await?;
        Ok(Page::cut(read_all(&rows, read)?, limit, |row| row.id))
    }

    /// Adds an entry as part of the transaction that it speaks of.
    pub(super) async fn audit_in(
        &self,
        connection: &mut AnyConnection,
        entry: NewAudit,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO audit (id, at, actor, action, object, outcome, detail, trace_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.new_id().to_string())
        .bind(micros(self.now()))
        .bind(entry.actor.to_string())
        .bind(entry.action)
        .bind(entry.object)
        .bind(entry.outcome.as_str())
        .bind(json(&entry.detail))
        .bind(entry.trace_id)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl<T, Cursor> Page<T, Cursor> {
    /// From up to `limit + 1` items, of which the last only shows that there
    /// are more.
    pub(super) fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Self {
        let more = int(items.len()) > i64::from(limit);
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

pub(super) fn read(row: &AnyRow) -> Result<AuditRow, CatalogError> {
    let row = Columns::new("audit", row);
    Ok(AuditRow {
        id: row.parse("id")?,
        at: row.time("at")?,
        actor: row.parse("actor")?,
        action: row.text("action")?,
        object: row.text("object")?,
        outcome: row.parse("outcome")?,
        detail: row.json("detail")?,
        trace_id: row.opt_text("trace_id")?,
    })
}
