//! The moment that a dump shows: an exported snapshot, held open, and what is
//! in it.
//!
//! `TRUNCATE` and some forms of `ALTER TABLE` do not heed snapshots, so every
//! table is locked (as `pg_dump` locks them, against nothing but changes of
//! definition) *before* the snapshot is taken: what is counted is what is
//! dumped. Tables made in between are found out and the whole begun anew.

use std::{collections::HashSet, time::Duration};

use super::{
    arguments::LOCK_TIMEOUT,
    manifest::{Content, RelationKind, Selection},
    pattern::{Pattern, pattern},
};
use crate::{
    connection::{Connection, ServerError, Session},
    sql,
};

/// How often a database that changes under our eyes is looked at again.
const ATTEMPTS: usize = 5;
/// Tables locked by one statement.
const BATCH: usize = 500;
/// SQLSTATEs of a table that is gone: undefined table, schema, or in between.
const GONE: [&str; 3] = ["42P01", "3F000", "XX000"];

/// An exported snapshot; it ends with this.
#[derive(Debug)]
pub struct Held {
    pub(super) session: Session,
    /// For `pg_dump --snapshot`.
    pub snapshot: String,
    pub(super) relations: Vec<Listed>,
    pub(super) selection: Selection,
}

/// A relation as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) kind: RelationKind,
    /// In the dump, as far as the patterns say.
    pub(super) selected: bool,
    /// Its rows are in the dump.
    pub(super) rows: bool,
}

impl Held {
    /// Locks the tables that `selection` takes of `database` and exports a
    /// snapshot.
    pub async fn take(
        connection: &Connection,
        database: &str,
        selection: &Selection,
    ) -> Result<Self, ServerError> {
        let session = Session::open(connection, Some(database)).await?;
        session
            .unhurried(Duration::from_millis(LOCK_TIMEOUT.into()))
            .await?;
        let lister = Lister::new(&session, selection).await?;
        let mut attempt = 1;
        loop {
            let known = lister.list(&session).await?;
            session
                .run(
                    "begin a transaction",
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                )
                .await?;
            match lock(&session, &known).await {
                Err(error)
                    if attempt < ATTEMPTS
                        && error.state().is_some_and(|state| GONE.contains(&state)) =>
                {
                    session.run("start over", "ROLLBACK").await?;
                    attempt += 1;
                    continue;
                }
                locked => locked?,
            }
            let relations = lister.list(&session).await?;
            let locked: HashSet<u32> = known.iter().map(|it| it.oid).collect();
            let missed = relations
                .iter()
                .any(|it| it.rows && !locked.contains(&it.oid));
            if missed && attempt < ATTEMPTS {
                session.run("start over", "ROLLBACK").await?;
                attempt += 1;
                continue;
            }
            // Where tables come and go all the time, the newest few are locked
            // a moment late, as all of them are by pg_dump itself.
            if missed {
                lock(&session, &relations).await?;
            }
            let snapshot = export(&session).await?;
            return Ok(Self {
                session,
                snapshot,
                relations,
                selection: selection.clone(),
            });
        }
    }

    /// Gives up what [`Held::describe`] may be at, and lets go.
    pub async fn abandon(self, connection: &Connection) {
        self.session.abandon(connection).await;
    }

    /// Lets the snapshot and the locks go.
    pub async fn release(self) {
        self.session.close().await;
    }
}

async fn export(session: &Session) -> Result<String, ServerError> {
    let what = "export a snapshot";
    let row = session
        .query_one("SELECT pg_export_snapshot()", &[])
        .await
        .map_err(|error| ServerError::query(what, &error))?;
    row.try_get(0)
        .map_err(|error| ServerError::query(what, &error))
}

async fn lock(session: &Session, relations: &[Listed]) -> Result<(), ServerError> {
    let tables: Vec<_> = relations.iter().filter(|it| it.rows).collect();
    for batch in tables.chunks(BATCH) {
        let names: Vec<_> = batch
            .iter()
            .map(|it| format!("ONLY {}", sql::qualified(&it.schema, &it.name)))
            .collect();
        let statement = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        let what = "lock the tables against changes of their definitions";
        session.run(what, &statement).await?;
    }
    Ok(())
}

/// Everything of users in the session's database.
pub(super) async fn list_all(session: &Session) -> Result<Vec<Listed>, ServerError> {
    let lister = Lister::new(session, &Selection::default()).await?;
    lister.list(session).await
}

/// Asks what there is and what of it is dumped.
struct Lister {
    query: String,
    parameters: Vec<String>,
    /// The role's own, for patterns without a schema.
    search_path: String,
}

impl Lister {
    async fn new(session: &Session, selection: &Selection) -> Result<Self, ServerError> {
        let what = "list its tables";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let row = session
            .query_one(
                "SELECT reset_val, pg_is_in_recovery() FROM pg_settings \
                 WHERE name = 'search_path'",
                &[],
            )
            .await
            .map_err(error)?;
        let standby: bool = row.try_get(1).map_err(error)?;
        let (query, parameters) = query(selection, standby);
        Ok(Self {
            query,
            parameters,
            search_path: row.try_get(0).map_err(error)?,
        })
    }

    async fn list(&self, session: &Session) -> Result<Vec<Listed>, ServerError> {
        let what = "list its tables";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let visible = format!(
            "SELECT set_config('search_path', {}, false)",
            sql::literal(&self.search_path)
        );
        session.run(what, &visible).await?;
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = self
            .parameters
            .iter()
            .map(|text| text as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let rows = session
            .query(&self.query, &parameters)
            .await
            .map_err(error)?;
        session.run(what, "SET search_path = pg_catalog").await?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in rows {
            let kind: String = row.try_get(4).map_err(error)?;
            let Some(kind) = RelationKind::of(&kind) else {
                continue;
            };
            listed.push(Listed {
                oid: row.try_get(0).map_err(error)?,
                schema: row.try_get(1).map_err(error)?,
                name: row.try_get(2).map_err(error)?,
                owner: row.try_get(3).map_err(error)?,
                kind,
                selected: row.try_get(5).map_err(error)?,
                rows: row.try_get(6).map_err(error)?,
            });
        }
        Ok(listed)
    }
}

/// Relations of users that belong to no extension, with whether the dump has
/// them, and their rows. All names are qualified: the search path is a user's.
fn query(selection: &Selection, standby: bool) -> (String, Vec<String>) {
    let mut parameters = Vec::new();
    let tables = any(&selection.tables, &mut parameters, table);
    let schemas = any(&selection.schemas, &mut parameters, schema);
    let without_schemas = any(&selection.exclude_schemas, &mut parameters, schema);
    let without_tables = any(&selection.exclude_tables, &mut parameters, table);
    let or = |condition: Option<String>, else_: &str| condition.unwrap_or_else(|| else_.into());
    // Tables that are asked for by name are taken whatever their schema.
    let included = match tables {
        Some(tables) => tables,
        None => format!(
            "({} AND NOT {})",
            or(schemas, "true"),
            or(without_schemas, "false")
        ),
    };
    let selected = format!("({included} AND NOT {})", or(without_tables, "false"));
    let rows = match selection.content {
        Content::Schema => "false".to_owned(),
        // Unlogged tables are empty on a standby, and cannot be read.
        _ if standby => format!("{selected} AND c.relkind = 'r' AND c.relpersistence <> 'u'"),
        _ => format!("{selected} AND c.relkind = 'r'"),
    };
    let query = format!(
        "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
         pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, \
         c.relkind::pg_catalog.text, {selected}, {rows} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v', 'S') AND c.relpersistence <> 't' \
         AND n.nspname OPERATOR(pg_catalog.!~) '^pg_' \
         AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
         AND d.deptype = 'e') \
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    );
    (query, parameters)
}

/// Whether one of the patterns matches; `None` when there are none.
fn any(
    patterns: &[String],
    parameters: &mut Vec<String>,
    condition: impl Fn(&Pattern, &mut Vec<String>) -> String,
) -> Option<String> {
    let conditions: Vec<_> = patterns
        .iter()
        .map(|text| condition(&pattern(text), parameters))
        .collect();
    (!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR ")))
}

fn matches(column: &str, regex: &str, parameters: &mut Vec<String>) -> String {
    parameters.push(regex.to_owned());
    format!(
        "{column} OPERATOR(pg_catalog.~) ${}::pg_catalog.text COLLATE pg_catalog.\"default\"",
        parameters.len()
    )
}

fn table(pattern: &Pattern, parameters: &mut Vec<String>) -> String {
    let name = matches("c.relname", &pattern.name, parameters);
    match &pattern.schema {
        Some(schema) => {
            let schema = matches("n.nspname", schema, parameters);
            format!("({name} AND {schema})")
        }
        None => format!("({name} AND pg_catalog.pg_table_is_visible(c.oid))"),
    }
}

fn schema(pattern: &Pattern, parameters: &mut Vec<String>) -> String {
    matches("n.nspname", &pattern.name, parameters)
}
