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
    connection::{Connection, SEARCH_PATH, ServerError, Session, default_search_path},
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
    /// For `pg_dump`, which finds tables along it whose pattern names no
    /// schema.
    pub search_path: String,
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
        let search_path = if has_bare_patterns(selection) {
            Some(default_search_path(connection, database).await?)
        } else {
            None
        };
        let lister = Lister::new(&session, selection, search_path).await?;
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
                search_path: lister.search_path.unwrap_or_else(|| SEARCH_PATH.into()),
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
        .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])
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

/// Whether a table is looked for by a name without a schema.
fn has_bare_patterns(selection: &Selection) -> bool {
    let mut patterns = selection.tables.iter().chain(&selection.exclude_tables);
    patterns.any(|text| pattern(text).schema.is_none())
}

/// Everything of users in the session's database.
pub(super) async fn list_all(session: &Session) -> Result<Vec<Listed>, ServerError> {
    let lister = Lister::new(session, &Selection::default(), None).await?;
    lister.list(session).await
}

/// Asks what there is and what of it is dumped.
struct Lister {
    query: String,
    parameters: Vec<String>,
    /// That of other clients, if there are patterns without a schema.
    search_path: Option<String>,
}

impl Lister {
    async fn new(
        session: &Session,
        selection: &Selection,
        search_path: Option<String>,
    ) -> Result<Self, ServerError> {
        let what = "list its tables";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let row = session
            .query_one("SELECT pg_catalog.pg_is_in_recovery()", &[])
            .await
            .map_err(error)?;
        let standby: bool = row.try_get(0).map_err(error)?;
        let (query, parameters) = query(selection, standby);
        Ok(Self {
            query,
            parameters,
            search_path,
        })
    }

    async fn list(&self, session: &Session) -> Result<Vec<Listed>, ServerError> {
        let what = "list its tables";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        if let Some(path) = &self.search_path {
            let path = sql::literal(path);
            let visible = format!("SELECT pg_catalog.set_config('search_path', {path}, false)");
            session.run(what, &visible).await?;
        }
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = self
            .parameters
            .iter()
            .map(|text| text as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let rows = session
            .query(&self.query, &parameters)
            .await
            .map_err(error)?;
        if self.search_path.is_some() {
            let ours = format!("SET search_path = {SEARCH_PATH}");
            session.run(what, &ours).await?;
        }
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
/// them, and their rows. Where the search path is a user's, it decides about
/// visible tables and nothing else.
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
        _ if standby => format!(
            "{selected} AND c.relkind OPERATOR(pg_catalog.=) 'r' \
             AND c.relpersistence OPERATOR(pg_catalog.<>) 'u'"
        ),
        _ => format!("{selected} AND c.relkind OPERATOR(pg_catalog.=) 'r'"),
    };
    let query = format!(
        "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
         pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, \
         c.relkind::pg_catalog.text, {selected}, {rows} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
         ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.relkind OPERATOR(pg_catalog.=) \
         ANY (ARRAY['r', 'p', 'f', 'm', 'v', 'S']::pg_catalog.\"char\"[]) \
         AND c.relpersistence OPERATOR(pg_catalog.<>) 't' \
         AND n.nspname OPERATOR(pg_catalog.!~) '^pg_' \
         AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e') \
         ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\""
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
