//! Counts the rows of a held snapshot, and describes the rest of it.

use tokio_postgres::Row;

use super::{
    hold::{Held, Listed},
    manifest::{Extension, Relation},
    properties,
};
use crate::{
    connection::{ServerError, Session},
    logical::manifest::{Content, Properties},
    sql,
};

/// What a database holds at the moment of its dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Owner, settings and the like.
    pub properties: Properties,
    /// By name.
    pub extensions: Vec<Extension>,
    /// Of users.
    pub schemas: Vec<String>,
    /// That objects name.
    pub roles: Vec<String>,
    /// That objects lie in.
    pub tablespaces: Vec<String>,
    /// With the rows of those that are dumped.
    pub relations: Vec<Relation>,
    /// In all, when they are dumped.
    pub large_objects: u64,
}

impl Held {
    /// Counts and describes. Takes as long as reading every table; drop it to
    /// stop.
    pub async fn describe(&self) -> Result<Described, ServerError> {
        let session = &self.session;
        // One worker is enough beside a dump.
        session
            .run(
                "set up the session",
                "SET max_parallel_workers_per_gather = 0",
            )
            .await?;
        let mut relations = Vec::with_capacity(self.relations.len());
        for listed in &self.relations {
            let rows = if listed.rows {
                Some(count(session, listed).await?)
            } else {
                None
            };
            relations.push(Relation {
                schema: listed.schema.clone(),
                name: listed.name.clone(),
                owner: listed.owner.clone(),
                kind: listed.kind,
                rows,
                left_out: !listed.selected,
            });
        }
        let blobs = self.selection.content != Content::Schema && !self.selection.is_narrow();
        Ok(Described {
            properties: properties::of_current(session).await?,
            extensions: extensions(session).await?,
            schemas: schemas(session).await?,
            roles: roles(session).await?,
            tablespaces: tablespaces(session).await?,
            relations,
            large_objects: if blobs {
                large_objects(session).await?
            } else {
                0
            },
        })
    }
}

async fn count(session: &Session, listed: &Listed) -> Result<u64, ServerError> {
    let table = sql::qualified(&listed.schema, &listed.name);
    rows_of(session, &table).await
}

/// The column of table `$1` whose text is short and made by the server alone:
/// one value is enough to count a row.
const COLUMN: &str = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute \
    WHERE attrelid OPERATOR(pg_catalog.=) ($1::pg_catalog.text)::pg_catalog.regclass \
    AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped \
    AND attgenerated OPERATOR(pg_catalog.=) '' \
    ORDER BY attlen OPERATOR(pg_catalog.<) 0, attlen, attnum LIMIT 1";

/// Rows of a table itself, without those that inherit from it.
///
/// By `COPY`, which is not planned: whoever plans a `SELECT` evaluates the
/// expressions of the table's indexes and statistics, and with them what its
/// owner calls immutable, as the user who asks.
pub(super) async fn rows_of(session: &Session, table: &str) -> Result<u64, ServerError> {
    let what = format!("count the rows of {table}");
    let column = session
        .query_opt(COLUMN, &[&table])
        .await
        .and_then(|row| row.map(|row| row.try_get::<_, String>(0)).transpose())
        .map_err(|error| ServerError::query(&what, &error))?;
    // Without any column, each row is an empty line.
    let column = column.map_or_else(String::new, |name| format!(" ({})", sql::identifier(&name)));
    let copy = format!("COPY {table}{column} TO STDOUT");
    session.rows_out(&what, &copy).await
}

/// Large objects in all.
pub(super) async fn large_objects(session: &Session) -> Result<u64, ServerError> {
    let query = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata";
    number(session, query, || "count large objects".into()).await
}

async fn number(
    session: &Session,
    query: &str,
    what: impl Fn() -> String,
) -> Result<u64, ServerError> {
    let row = session
        .query_one(query, &[])
        .await
        .map_err(|error| ServerError::query(what(), &error))?;
    row.try_get::<_, i64>(0)
        .map(i64::unsigned_abs)
        .map_err(|error| ServerError::query(what(), &error))
}

async fn list<T>(
    session: &Session,
    what: &str,
    query: &str,
    read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
) -> Result<Vec<T>, ServerError> {
    let rows = session
        .query(query, &[])
        .await
        .map_err(|error| ServerError::query(what, &error))?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(|error| ServerError::query(what, &error))
}

async fn extensions(session: &Session) -> Result<Vec<Extension>, ServerError> {
    let query = "SELECT extname::pg_catalog.text, extversion FROM pg_catalog.pg_extension \
        ORDER BY extname COLLATE pg_catalog.\"C\"";
    list(session, "list its extensions", query, |row| {
        Ok(Extension {
            name: row.try_get(0)?,
            version: row.try_get(1)?,
        })
    })
    .await
}

/// Schemas of users.
pub(super) async fn schemas(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace \
        WHERE nspname OPERATOR(pg_catalog.!~) '^pg_' \
        AND nspname OPERATOR(pg_catalog.<>) 'information_schema' \
        ORDER BY nspname COLLATE pg_catalog.\"C\"";
    list(session, "list its schemas", query, |row| row.try_get(0)).await
}

/// Roles that objects of this database belong to, or grant to, or that its
/// policies name. The role that `initdb` made is in no dependency, so owners
/// are asked for besides.
async fn roles(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r \
        WHERE r.rolname OPERATOR(pg_catalog.!~) '^pg_' \
        AND r.oid OPERATOR(pg_catalog.=) ANY ( \
        SELECT refobjid FROM pg_catalog.pg_shdepend WHERE refclassid \
        OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
        AND dbid OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database \
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
        UNION SELECT relowner FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT nspowner FROM pg_catalog.pg_namespace \
        WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT datdba FROM pg_catalog.pg_database \
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
        ORDER BY r.rolname COLLATE pg_catalog.\"C\"";
    list(session, "list the roles in use", query, |row| {
        row.try_get(0)
    })
    .await
}

async fn tablespaces(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT DISTINCT t.spcname::pg_catalog.text COLLATE pg_catalog.\"C\" \
        FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_tablespace t ON t.oid OPERATOR(pg_catalog.=) c.reltablespace \
        WHERE c.oid OPERATOR(pg_catalog.>=) 16384 ORDER BY 1";
    list(session, "list the tablespaces in use", query, |row| {
        row.try_get(0)
    })
    .await
}
