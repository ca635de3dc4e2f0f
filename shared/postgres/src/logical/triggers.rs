//! Triggers that would act on rows which are loaded into tables that are
//! there, and how to switch them off.

use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// A trigger of a user that fires when rows come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Of its table.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// When it fires, as `pg_trigger.tgenabled` has it.
    enabled: String,
}

/// Up to PostgreSQL 14 those that partitions have from their parents pass for
/// internal; what is, such as a foreign key's, calls a function of the server's own.
const OF_USERS: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
    t.tgname::pg_catalog.text, t.tgenabled::pg_catalog.text \
    FROM pg_catalog.pg_trigger t \
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
    WHERE (NOT t.tgisinternal \
    OR p.pronamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid) \
    AND t.tgenabled OPERATOR(pg_catalog.<>) 'D' \
    AND (t.tgtype OPERATOR(pg_catalog.&) 4::pg_catalog.int2) OPERATOR(pg_catalog.<>) 0 \
    ORDER BY n.nspname, c.relname, t.tgname";

/// Those of the session's database that are not switched off.
pub async fn list(session: &Session) -> Result<Vec<Trigger>, ServerError> {
    let error =
        |error: tokio_postgres::Error| ServerError::query("list the triggers of tables", &error);
    let rows = session.query(OF_USERS, &[]).await.map_err(error)?;
    rows.iter()
        .map(|row| {
            let Text(schema) = row.try_get(0).map_err(error)?;
            let Text(table) = row.try_get(1).map_err(error)?;
            let Text(name) = row.try_get(2).map_err(error)?;
            Ok(Trigger {
                schema,
                table,
                name,
                enabled: row.try_get(3).map_err(error)?,
            })
        })
        .collect()
}

impl Trigger {
    /// Switches it off; its table's owner may.
    pub async fn switch_off(&self, session: &Session) -> Result<(), ServerError> {
        self.alter(session, "DISABLE").await
    }

    /// Lets it fire again when it fired before.
    pub async fn switch_on(&self, session: &Session) -> Result<(), ServerError> {
        let how = match self.enabled.as_str() {
            "R" => "ENABLE REPLICA",
            "A" => "ENABLE ALWAYS",
            _ => "ENABLE",
        };
        self.alter(session, how).await
    }

    async fn alter(&self, session: &Session, how: &str) -> Result<(), ServerError> {
        let table = sql::qualified(&self.schema, &self.table);
        let name = sql::identifier(&self.name);
        let what = format!("switch the trigger {name} of {table} off and on");
        let statement = format!("ALTER TABLE ONLY {table} {how} TRIGGER {name}");
        session.run(&what, &statement).await
    }
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = sql::qualified(&self.schema, &self.table);
        write!(f, "{} of {table}", sql::identifier(&self.name))
    }
}
