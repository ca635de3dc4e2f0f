//! Counts the rows of a held snapshot, and describes the rest of it.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::{
    hold::{Held, Listed},
    manifest::{Extension, Relation},
    properties,
    sum::{RowHasher, RowSum, SETTINGS},
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
    /// Places in `relations` of tables whose rows have texts that depend on the
    /// server: no checksum of them means anything elsewhere.
    pub incomparable: HashSet<usize>,
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
        let odd = tables_of_types(session, vec![MONEY]).await?;
        let mut incomparable = HashSet::new();
        let mut relations = Vec::with_capacity(self.relations.len());
        for (place, listed) in self.relations.iter().enumerate() {
            if odd.contains(&listed.oid) {
                incomparable.insert(place);
            }
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
                checksum: None,
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
            incomparable,
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
    let mut count = 0;
    // Line feeds inside of values are escaped.
    let take = |rows: &[u8]| count += memchr::memchr_iter(b'\n', rows).count() as u64;
    session.rows_out(&what, &copy, take).await?;
    Ok(count)
}

/// Rows of a table itself, and their sum over these columns, in a session that
/// is [comparable](make_comparable). Read as [`rows_of`] reads them.
pub(super) async fn sum_of(
    session: &Session,
    table: &str,
    columns: &[String],
    encoding: &str,
) -> Result<RowSum, ServerError> {
    let what = format!("read the rows of {table}");
    let columns: Vec<_> = columns.iter().map(|it| sql::identifier(it)).collect();
    let columns = match columns.as_slice() {
        [] => String::new(),
        columns => format!(" ({})", columns.join(", ")),
    };
    let encoding = sql::literal(encoding);
    let copy = format!("COPY {table}{columns} TO STDOUT (ENCODING {encoding})");
    let mut hasher = RowHasher::default();
    session
        .rows_out(&what, &copy, |rows| hasher.feed(rows))
        .await?;
    Ok(hasher.sum())
}

/// Lets the session write values as `pg_dump` was told to.
pub(super) async fn make_comparable(session: &Session) -> Result<(), ServerError> {
    let settings = SETTINGS.map(|(name, value)| format!("SET {name} = {}", sql::literal(value)));
    session
        .run("set up the session", &settings.join("; "))
        .await
}

/// The type `money`: its text has a currency.
const MONEY: u32 = 790;

/// Types that belong to the extensions named by `$1`.
const OF_EXTENSIONS: &str = "SELECT d.objid FROM pg_catalog.pg_depend d \
    JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid \
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass \
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass \
    AND d.deptype OPERATOR(pg_catalog.=) 'e' \
    AND e.extname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])";

/// Types that are made of `$1`: arrays, domains, ranges, rows.
const MADE_OF: &str = "SELECT t.oid FROM pg_catalog.pg_type t \
    WHERE t.typelem OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]) \
    OR t.typbasetype OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]) \
    OR EXISTS (SELECT FROM pg_catalog.pg_range r \
    WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid \
    AND r.rngsubtype OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])) \
    OR EXISTS (SELECT FROM pg_catalog.pg_attribute a \
    WHERE t.typrelid OPERATOR(pg_catalog.<>) 0 \
    AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid \
    AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
    AND a.atttypid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]))";

/// Relations with columns of the types `$1`.
const WITH_COLUMNS_OF: &str = "SELECT DISTINCT a.attrelid FROM pg_catalog.pg_attribute a \
    WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
    AND a.atttypid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])";

/// Tables with values of the extensions' types.
pub(super) async fn tables_of_extensions(
    session: &Session,
    extensions: &[String],
) -> Result<HashSet<u32>, ServerError> {
    let types = oids(session, OF_EXTENSIONS, &extensions).await?;
    tables_of_types(session, types).await
}

/// Tables with columns of these types, or of types that are made of them.
async fn tables_of_types(
    session: &Session,
    mut types: Vec<u32>,
) -> Result<HashSet<u32>, ServerError> {
    let mut all: HashSet<u32> = types.iter().copied().collect();
    while !types.is_empty() {
        types = oids(session, MADE_OF, &types).await?;
        types.retain(|it| all.insert(*it));
    }
    let all: Vec<u32> = all.into_iter().collect();
    let found = oids(session, WITH_COLUMNS_OF, &all).await?;
    Ok(found.into_iter().collect())
}

async fn oids(
    session: &Session,
    query: &str,
    of: &(dyn tokio_postgres::types::ToSql + Sync),
) -> Result<Vec<u32>, ServerError> {
    let what = "look for types whose values cannot be compared";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session.query(query, &[of]).await.map_err(error)?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(error))
        .collect()
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

pub(super) async fn extensions(session: &Session) -> Result<Vec<Extension>, ServerError> {
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
