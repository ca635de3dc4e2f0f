//! What a database holds, as its catalog says in a held snapshot; and the rows
//! of a table that was restored.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::{
    archive::Archive,
    hold::{Held, TableFile},
    list::{Inside, Listed},
    manifest::{Checksum, Content, Extension, Relation, RelationKind, Selection},
    properties,
    rights::{MissingRights, Unread},
    select::{Empty, Selected, has_rows, select},
    sum::{RowHasher, RowSum},
};
use crate::{
    connection::{ServerError, Session, TEXTS},
    inventory::{Database, Role},
    logical::manifest::Properties,
    name::{self, Text},
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
    /// What of it is dumped.
    pub selected: Selected,
    /// What the dump lacks because of who asks.
    pub unread: Unread,
    /// The catalog's relations.
    pub inside: Inside,
    /// Tables whose rows have texts that depend on the server: no checksum of
    /// them means anything elsewhere. By their object ids.
    incomparable: HashSet<u32>,
    standby: bool,
}

/// Why a database cannot be dumped.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The server cannot be asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The role may not read all of it.
    #[error("{0}")]
    Rights(MissingRights),
    /// Nothing of it is asked for.
    #[error(transparent)]
    Empty(#[from] Empty),
}

/// What to describe, for whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The policy's.
    pub selection: &'a Selection,
    /// The database.
    pub database: &'a Database,
    /// Who asks.
    pub role: &'a Role,
    /// Whether the server is a standby.
    pub standby: bool,
    /// That of other clients, if a pattern names no schema.
    pub search_path: Option<&'a str>,
}

impl Held {
    /// Names of the columns that a dump has of each of these tables, as text.
    pub async fn columns(&self, tables: &[u32]) -> Result<HashMap<u32, Vec<String>>, ServerError> {
        let what = "list the columns of its tables";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let rows = self
            .session
            .query(
                "SELECT attrelid, attname::pg_catalog.text FROM pg_catalog.pg_attribute \
                 WHERE attrelid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]) \
                 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped \
                 AND attgenerated OPERATOR(pg_catalog.=) '' ORDER BY attrelid, attnum",
                &[&tables],
            )
            .await
            .map_err(error)?;
        let mut columns: HashMap<u32, Vec<String>> = HashMap::new();
        for row in rows {
            let Text(name) = row.try_get(1).map_err(error)?;
            let table = row.try_get(0).map_err(error)?;
            columns.entry(table).or_default().push(name);
        }
        Ok(columns)
    }

    /// Large objects in all.
    pub async fn large_objects(&self) -> Result<u64, ServerError> {
        large_objects(&self.session).await
    }

    /// Describes the database, and finds out what of it is dumped and whether
    /// the role may read that.
    pub async fn describe(&self, asked: &Asked<'_>) -> Result<Described, DescribeError> {
        let session = &self.session;
        let selection = asked.selection;
        let inside = Inside::of(session, selection, asked.search_path).await?;
        let selected = select(&inside, selection)?;
        let name = &asked.database.name;
        let missing = self
            .missing_rights(&inside, &selected, selection, asked.role, name)
            .await?;
        if let Some(missing) = missing {
            return Err(DescribeError::Rights(missing));
        }
        Ok(Described {
            properties: properties::of_oid(session, asked.database.oid).await?,
            extensions: extensions(session).await?,
            schemas: inside.schemas.iter().map(|it| it.name.clone()).collect(),
            roles: roles(session, asked.database.oid).await?,
            tablespaces: tablespaces(session).await?,
            unread: self.unread(selection, asked.role).await?,
            incomparable: tables_of_types(session, vec![MONEY]).await?,
            selected,
            inside,
            standby: asked.standby,
        })
    }
}

/// Rows that are in no dump, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// `schema.name`.
    pub table: String,
    /// For people.
    pub cause: String,
}

impl Described {
    /// Files of the tables whose rows are dumped.
    pub fn files(&self, selection: &Selection) -> Vec<TableFile> {
        self.taken()
            .filter(|it| has_rows(it, selection, self.standby) && it.file != 0)
            .map(TableFile::of)
            .collect()
    }

    fn taken(&self) -> impl Iterator<Item = &Listed> {
        let taken = |it: &&Listed| self.selected.relations.contains(&it.oid);
        self.inside.relations.iter().filter(taken)
    }

    /// The relations, with the rows that the dump holds; `None`: the dump was
    /// not understood, and nothing is counted.
    pub fn relations(&self, selection: &Selection, archive: Option<&Archive>) -> Vec<Relation> {
        let dumped = archive.map(Archive::relations);
        let of_users = self.inside.relations.iter();
        let of_users = of_users.filter(|it| it.extension.is_none());
        of_users
            .map(|it| {
                let rows = archive.and_then(|archive| archive.rows.get(&it.oid));
                let columns = rows.and_then(|it| it.columns.clone());
                let columns = columns.filter(|_| !self.incomparable.contains(&it.oid));
                let checksum = rows.zip(columns).map(|(rows, columns)| Checksum {
                    columns,
                    sum: rows.sum.text(),
                });
                let rows = rows.map(|it| it.sum.rows);
                let taken = self.selected.relations.contains(&it.oid);
                let there = match &dumped {
                    // Of definitions nothing is in such a dump.
                    Some(dumped) if selection.content != Content::Data => dumped.contains(&it.oid),
                    _ => taken,
                };
                Relation {
                    schema: it.schema.clone(),
                    name: it.name.clone(),
                    owner: it.owner.clone(),
                    kind: it.kind,
                    rows,
                    checksum,
                    left_out: !there && rows.is_none(),
                }
            })
            .collect()
    }

    /// Tables whose rows are not in the dump though those of a table are that they
    /// belong to, as partitions or heirs: child, parent.
    pub fn children(
        &self,
        selection: &Selection,
        archive: Option<&Archive>,
    ) -> Vec<(String, String)> {
        match archive {
            // Of definitions nothing is in a dump of rows.
            Some(archive) if selection.content != Content::Data => {
                self.inside.children(&archive.relations())
            }
            _ => self.inside.children(&self.selected.relations),
        }
    }

    /// Tables of a standby's dump that come back empty: it does not have their rows.
    pub fn unlogged(&self, selection: &Selection) -> Vec<String> {
        if !self.standby || selection.content == Content::Schema {
            return Vec::new();
        }
        self.taken()
            .filter(|it| it.unlogged && it.kind == RelationKind::Table)
            .map(|it| sql::qualified(&it.schema, &it.name))
            .collect()
    }

    /// Rows that somebody who reads the policy would look for in the dump.
    pub fn left_out(&self, selection: &Selection, archive: &Archive) -> Vec<LeftOut> {
        if selection.content == Content::Schema {
            return Vec::new();
        }
        let mut left_out = Vec::new();
        for listed in &self.inside.relations {
            let table = || name::shown(&sql::qualified(&listed.schema, &listed.name)).into_owned();
            let dumped = archive.rows.contains_key(&listed.oid);
            let asked = match &listed.extension {
                Some(_) if selection.is_narrow() => {
                    listed.tables.contains(&true) && !listed.exclude_tables.contains(&true)
                }
                Some(_) => !listed.exclude_tables.contains(&true),
                None => self.selected.relations.contains(&listed.oid),
            };
            if !asked || dumped || listed.kind != RelationKind::Table {
                continue;
            }
            match &listed.extension {
                Some(extension) if listed.size > 0 && listed.configuration => {
                    left_out.push(LeftOut {
                        table: table(),
                        cause: format!(
                            "the table belongs to the extension {extension:?}, with which alone \
                             it is dumped: a selection of tables leaves that out"
                        ),
                    });
                }
                Some(extension) if listed.size > 0 => {
                    left_out.push(LeftOut {
                        table: table(),
                        cause: format!(
                            "the table belongs to the extension {extension:?}, and pg_dump \
                             leaves the rows of such tables out unless the extension asks for \
                             them: ALTER EXTENSION {} DROP TABLE {} makes it a table like others",
                            sql::identifier(extension),
                            table()
                        ),
                    });
                }
                None if has_rows(listed, selection, self.standby) => left_out.push(LeftOut {
                    table: table(),
                    cause: "pg_dump did not take its rows, though the policy selects it".into(),
                }),
                _ => {}
            }
        }
        left_out
    }
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
        .and_then(|row| row.map(|row| row.try_get::<_, Text>(0)).transpose())
        .map_err(|error| ServerError::query(&what, &error))?;
    // Without any column, each row is an empty line.
    let column = column.map_or_else(String::new, |Text(name)| {
        format!(" ({})", sql::identifier(&name))
    });
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

/// Lets the session write values as `pg_dump` was told to; `set`: `SET`, or `SET
/// LOCAL` where there is a transaction.
pub(super) async fn make_comparable(session: &Session, set: &str) -> Result<(), ServerError> {
    let settings = TEXTS.map(|(name, value)| format!("{set} {name} = {}", sql::literal(value)));
    session
        .run("set up the session", &settings.join("; "))
        .await
}

/// The type `money`: its text has a currency.
const MONEY: u32 = 790;

/// Types that belong to extensions whose names follow, in an array.
const OF_EXTENSIONS: &str = "SELECT d.objid FROM pg_catalog.pg_depend d \
    JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid \
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass \
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass \
    AND d.deptype OPERATOR(pg_catalog.=) 'e' \
    AND e.extname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ";

/// Types that are made of `$1`: arrays, domains, ranges, rows; multiranges, which
/// are those of ranges, from version 14 on.
fn made_of(major: u32) -> String {
    if major < 14 {
        return MADE_OF.to_owned();
    }
    format!(
        "{MADE_OF} UNION SELECT r.rngmultitypid FROM pg_catalog.pg_range r \
         WHERE r.rngtypid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])"
    )
}

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
    let names = sql::texts(extensions.iter().map(String::as_str));
    let types = oids(session, &format!("{OF_EXTENSIONS}({names})"), &[]).await?;
    tables_of_types(session, types).await
}

/// Tables with columns of these types, or of types that are made of them.
async fn tables_of_types(
    session: &Session,
    mut types: Vec<u32>,
) -> Result<HashSet<u32>, ServerError> {
    let made_of = made_of(session.version().major());
    let mut all: HashSet<u32> = types.iter().copied().collect();
    while !types.is_empty() {
        types = oids(session, &made_of, &[&types]).await?;
        types.retain(|it| all.insert(*it));
    }
    let all: Vec<u32> = all.into_iter().collect();
    let found = oids(session, WITH_COLUMNS_OF, &[&all]).await?;
    Ok(found.into_iter().collect())
}

async fn oids(
    session: &Session,
    query: &str,
    of: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<u32>, ServerError> {
    let what = "look for types whose values cannot be compared";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session.query(query, of).await.map_err(error)?;
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
        let (Text(name), Text(version)) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Extension { name, version })
    })
    .await
}

/// Schemas of users.
pub(super) async fn schemas(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace \
        WHERE nspname OPERATOR(pg_catalog.!~) '^pg_' \
        AND nspname OPERATOR(pg_catalog.<>) 'information_schema' \
        ORDER BY nspname COLLATE pg_catalog.\"C\"";
    list(session, "list its schemas", query, text).await
}

fn text(row: &Row) -> Result<String, tokio_postgres::Error> {
    row.try_get(0).map(|Text(text)| text)
}

/// Roles that objects of this database belong to, or grant to, or that its
/// policies name. The role that `initdb` made is in no dependency, so owners
/// are asked for besides.
async fn roles(session: &Session, database: u32) -> Result<Vec<String>, ServerError> {
    let query = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r \
        WHERE r.rolname OPERATOR(pg_catalog.!~) '^pg_' \
        AND r.oid OPERATOR(pg_catalog.=) ANY ( \
        SELECT refobjid FROM pg_catalog.pg_shdepend WHERE refclassid \
        OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
        AND dbid OPERATOR(pg_catalog.=) $1::pg_catalog.oid \
        UNION SELECT relowner FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT nspowner FROM pg_catalog.pg_namespace \
        WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384 \
        UNION SELECT datdba FROM pg_catalog.pg_database \
        WHERE oid OPERATOR(pg_catalog.=) $1::pg_catalog.oid) \
        ORDER BY r.rolname COLLATE pg_catalog.\"C\"";
    let what = "list the roles in use";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session.query(query, &[&database]).await.map_err(error)?;
    rows.iter()
        .map(text)
        .collect::<Result<_, _>>()
        .map_err(error)
}

async fn tablespaces(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT DISTINCT t.spcname::pg_catalog.text COLLATE pg_catalog.\"C\" \
        FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_tablespace t ON t.oid OPERATOR(pg_catalog.=) c.reltablespace \
        WHERE c.oid OPERATOR(pg_catalog.>=) 16384 ORDER BY 1";
    list(session, "list the tablespaces in use", query, text).await
}
