//! Relations and schemas of a database as its catalog has them, and which of a
//! policy's patterns match them. The server matches, by the rules of `pg_dump`.

use super::{
    manifest::{RelationKind, Selection},
    pattern::{Pattern, pattern},
};
use crate::{
    connection::{SEARCH_PATH, ServerError, Session},
    name::{self, Text},
    sql,
};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    /// Of users, by name.
    pub(super) schemas: Vec<Namespace>,
    /// In them, by schema and name.
    pub(super) relations: Vec<Listed>,
    /// Parents and children, by object id: partitions and inheritance.
    pub(super) descent: Vec<(u32, u32)>,
}

/// A schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Namespace {
    pub(super) oid: u32,
    pub(super) name: String,
    /// The name's bytes in the database's encoding, as `pg_dump` has it.
    pub(super) raw: Vec<u8>,
    /// Which of the patterns match, in their order.
    pub(super) schemas: Vec<bool>,
    pub(super) exclude_schemas: Vec<bool>,
}

/// A relation as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// The names' bytes in the database's encoding, where a selection needs
    /// them.
    pub(super) raw: (Vec<u8>, Vec<u8>),
    pub(super) namespace: u32,
    pub(super) owner: String,
    pub(super) kind: RelationKind,
    /// Its rows do not outlive a crash, and are not on a standby.
    pub(super) unlogged: bool,
    /// Where its rows lie; 0: it has none.
    pub(super) file: u32,
    /// The extension that it belongs to.
    pub(super) extension: Option<String>,
    /// The extension has its rows dumped.
    pub(super) configuration: bool,
    /// Bytes of its rows on the server, of those that belong to an extension.
    pub(super) size: i64,
    /// Which of the patterns match, in their order.
    pub(super) tables: Vec<bool>,
    pub(super) exclude_tables: Vec<bool>,
}

/// Whether a table is looked for by a name without a schema.
pub fn has_bare_patterns(selection: &Selection) -> bool {
    let mut patterns = selection.tables.iter().chain(&selection.exclude_tables);
    patterns.any(|text| pattern(text).schema.is_none())
}

/// Everything of users in the session's database, without what belongs to
/// extensions.
pub(super) async fn list_all(session: &Session) -> Result<Vec<Listed>, ServerError> {
    let inside = Inside::of(session, &Selection::default(), None).await?;
    let mut relations = inside.relations;
    relations.retain(|it| it.extension.is_none());
    Ok(relations)
}

impl Inside {
    /// Asks, in the session's transaction. `search_path`: that of other clients,
    /// along which tables are found whose pattern names no schema.
    pub(super) async fn of(
        session: &Session,
        selection: &Selection,
        search_path: Option<&str>,
    ) -> Result<Self, ServerError> {
        let partial = selection.is_partial();
        let raw = if partial {
            encoding(session).await?
        } else {
            Raw::AsText
        };
        let schemas = schemas(session, selection, raw).await?;
        // Where the search path is a user's, it decides about visible tables
        // and nothing else.
        if let Some(path) = search_path {
            set_path(session, path).await?;
        }
        let relations = relations(session, selection, raw).await;
        if search_path.is_some() {
            set_path(session, SEARCH_PATH).await?;
        }
        Ok(Self {
            schemas,
            relations: relations?,
            descent: if partial {
                descent(session).await?
            } else {
                Vec::new()
            },
        })
    }
}

/// Local to the transaction.
async fn set_path(session: &Session, path: &str) -> Result<(), ServerError> {
    let path = sql::literal(path);
    let set = format!("SELECT pg_catalog.set_config('search_path', {path}, true)");
    session.run("list its tables", &set).await
}

/// Where names in the database's own encoding come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raw {
    /// They are the text that we are given.
    AsText,
    /// The server converts what it gives us, and must be asked for the bytes.
    Asked,
}

async fn encoding(session: &Session) -> Result<Raw, ServerError> {
    let what = "tell its encoding";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let question = "SELECT pg_catalog.current_setting('server_encoding')";
    let row = session.query_one(question, &[]).await.map_err(error)?;
    let encoding: String = row.try_get(0).map_err(error)?;
    Ok(match encoding.as_str() {
        "UTF8" | "SQL_ASCII" => Raw::AsText,
        _ => Raw::Asked,
    })
}

impl Raw {
    fn column(self, column: &str) -> String {
        match self {
            Self::AsText => "NULL::pg_catalog.bytea".into(),
            Self::Asked => format!(
                "pg_catalog.convert_to({column}::pg_catalog.text, \
                 pg_catalog.getdatabaseencoding())"
            ),
        }
    }
}

fn raw(bytes: Option<Vec<u8>>, text: &str, wanted: bool) -> Vec<u8> {
    if !wanted {
        return Vec::new();
    }
    bytes.unwrap_or_else(|| name::encode(text))
}

type Parameters<'a> = Vec<&'a (dyn tokio_postgres::types::ToSql + Sync)>;

fn parameters(texts: &[String]) -> Parameters<'_> {
    texts
        .iter()
        .map(|text| text as &(dyn tokio_postgres::types::ToSql + Sync))
        .collect()
}

async fn schemas(
    session: &Session,
    selection: &Selection,
    bytes: Raw,
) -> Result<Vec<Namespace>, ServerError> {
    let what = "list its schemas";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let mut texts = Vec::new();
    let query = format!(
        "SELECT n.oid, n.nspname::pg_catalog.text, {}, {}, {} \
         FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.!~) '^pg_' \
         AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema' \
         ORDER BY n.nspname COLLATE pg_catalog.\"C\"",
        bytes.column("n.nspname"),
        each(&selection.schemas, &mut texts, schema),
        each(&selection.exclude_schemas, &mut texts, schema),
    );
    let rows = session
        .query(&query, &parameters(&texts))
        .await
        .map_err(error)?;
    rows.iter()
        .map(|row| {
            let Text(name) = row.try_get(1)?;
            Ok(Namespace {
                oid: row.try_get(0)?,
                raw: raw(row.try_get(2)?, &name, true),
                name,
                schemas: row.try_get(3)?,
                exclude_schemas: row.try_get(4)?,
            })
        })
        .collect::<Result<_, _>>()
        .map_err(error)
}

async fn relations(
    session: &Session,
    selection: &Selection,
    bytes: Raw,
) -> Result<Vec<Listed>, ServerError> {
    let what = "list its tables";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let mut texts = Vec::new();
    let query = format!(
        "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
         pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, \
         c.relkind::pg_catalog.text, c.relnamespace, \
         c.relpersistence OPERATOR(pg_catalog.=) 'u', c.relfilenode, \
         e.extname::pg_catalog.text, \
         COALESCE(c.oid OPERATOR(pg_catalog.=) ANY (e.extconfig), false), \
         CASE WHEN e.oid IS NOT NULL AND c.relkind OPERATOR(pg_catalog.=) 'r' \
         THEN pg_catalog.pg_relation_size(c.oid) END, {}, {}, {}, {} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
         ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         LEFT JOIN pg_catalog.pg_depend d \
         ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.objsubid OPERATOR(pg_catalog.=) 0 \
         AND d.deptype OPERATOR(pg_catalog.=) 'e' \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid \
         WHERE c.relkind OPERATOR(pg_catalog.=) \
         ANY (ARRAY['r', 'p', 'f', 'm', 'v', 'S']::pg_catalog.\"char\"[]) \
         AND c.relpersistence OPERATOR(pg_catalog.<>) 't' \
         AND n.nspname OPERATOR(pg_catalog.!~) '^pg_' \
         AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema' \
         ORDER BY n.nspname COLLATE pg_catalog.\"C\", c.relname COLLATE pg_catalog.\"C\"",
        bytes.column("n.nspname"),
        bytes.column("c.relname"),
        each(&selection.tables, &mut texts, table),
        each(&selection.exclude_tables, &mut texts, table),
    );
    let partial = selection.is_partial();
    let rows = session
        .query(&query, &parameters(&texts))
        .await
        .map_err(error)?;
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: String = row.try_get(4).map_err(error)?;
        let Some(kind) = RelationKind::of(&kind) else {
            continue;
        };
        let Text(schema) = row.try_get(1).map_err(error)?;
        let Text(name) = row.try_get(2).map_err(error)?;
        let Text(owner) = row.try_get(3).map_err(error)?;
        let extension: Option<Text> = row.try_get(8).map_err(error)?;
        listed.push(Listed {
            oid: row.try_get(0).map_err(error)?,
            raw: (
                raw(row.try_get(11).map_err(error)?, &schema, partial),
                raw(row.try_get(12).map_err(error)?, &name, partial),
            ),
            schema,
            name,
            owner,
            kind,
            namespace: row.try_get(5).map_err(error)?,
            unlogged: row.try_get(6).map_err(error)?,
            file: row.try_get(7).map_err(error)?,
            extension: extension.map(|Text(name)| name),
            configuration: row.try_get(9).map_err(error)?,
            size: row
                .try_get::<_, Option<i64>>(10)
                .map_err(error)?
                .unwrap_or_default(),
            tables: row.try_get(13).map_err(error)?,
            exclude_tables: row.try_get(14).map_err(error)?,
        });
    }
    Ok(listed)
}

async fn descent(session: &Session) -> Result<Vec<(u32, u32)>, ServerError> {
    let what = "list which tables inherit";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let question = "SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits";
    let rows = session.query(question, &[]).await.map_err(error)?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// An array of whether each of the patterns matches.
fn each(
    patterns: &[String],
    parameters: &mut Vec<String>,
    condition: impl Fn(&Pattern, &mut Vec<String>) -> String,
) -> String {
    let conditions: Vec<_> = patterns
        .iter()
        .map(|text| condition(&pattern(text), parameters))
        .collect();
    format!("ARRAY[{}]::pg_catalog.bool[]", conditions.join(", "))
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
