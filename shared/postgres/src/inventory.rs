//! What a server is and holds.

use tokio_postgres::Row;

use crate::{
    connection::{ServerError, Session},
    name::Text,
    version::ServerVersion,
};

/// `pg_database.datconnlimit` of an invalid database (`DATCONNLIMIT_INVALID_DB`
/// in the server's source).
const INVALID: i32 = -2;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its version.
    pub version: ServerVersion,
    /// Made at `initdb`; standbys and restored clusters share it. `None` when
    /// the role may not ask.
    pub system_identifier: Option<u64>,
    /// Whether it follows a primary, or recovers.
    pub standby: bool,
    /// `minimal`, `replica` or `logical`.
    pub wal_level: String,
    /// Who asks.
    pub role: Role,
    /// Every database, by name.
    pub databases: Vec<Database>,
}

/// The role of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// May do anything.
    pub superuser: bool,
    /// Sessions that it may have at a time; -1: no limit.
    pub connection_limit: i32,
}

/// A database and how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its object id.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Bytes on disk; `None` when the role may not ask.
    pub size: Option<u64>,
    /// Whether one may connect to it.
    pub connectable: bool,
    /// Whether the role that asks may.
    pub permitted: bool,
    /// Sessions at a time; -1: no limit; -2: it is invalid.
    pub connection_limit: i32,
    /// Whether others are made from it.
    pub template: bool,
    /// The encoding and its locale.
    pub locale: Locale,
}

/// What cannot be changed once a database is made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Locale {
    /// `UTF8`, ….
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub provider: String,
    /// Of the providers `icu` and `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of the provider `icu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
}

impl Database {
    /// Whether it is what an interrupted `DROP DATABASE` leaves: it can be
    /// dropped, and nothing else.
    pub fn is_invalid(&self) -> bool {
        self.connection_limit == INVALID
    }
}

impl Inventory {
    /// Asks the server.
    pub async fn of(session: &Session) -> Result<Self, ServerError> {
        let what = "tell what it is";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let row = session
            .query_one(
                "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('wal_level')",
                &[],
            )
            .await
            .map_err(error)?;
        Ok(Self {
            version: session.version(),
            system_identifier: system_identifier(session).await,
            standby: row.try_get(0).map_err(error)?,
            wal_level: row.try_get(1).map_err(error)?,
            role: role(session).await?,
            databases: databases(session).await?,
        })
    }

    /// The database of that name.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }
}

fn text(row: &Row, at: usize) -> Result<String, tokio_postgres::Error> {
    row.try_get(at).map(|Text(text)| text)
}

/// Who asks.
async fn role(session: &Session) -> Result<Role, ServerError> {
    let what = "tell who asks";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let row = session
        .query_one(
            "SELECT rolname::pg_catalog.text, rolsuper, rolconnlimit FROM pg_catalog.pg_roles \
             WHERE rolname OPERATOR(pg_catalog.=) current_user",
            &[],
        )
        .await
        .map_err(error)?;
    Ok(Role {
        name: text(&row, 0).map_err(error)?,
        superuser: row.try_get(1).map_err(error)?,
        connection_limit: row.try_get(2).map_err(error)?,
    })
}

/// Not every role may ask; a broken connection is found out by the next query.
async fn system_identifier(session: &Session) -> Option<u64> {
    let row = session
        .query_one(
            "SELECT system_identifier FROM pg_catalog.pg_control_system()",
            &[],
        )
        .await
        .ok()?;
    row.try_get::<_, i64>(0).ok().map(i64::cast_unsigned)
}

/// Catalogs whose rows are objects of users, where their object ids are of
/// users; what is a part of another object of theirs is not asked for.
const OF_USERS: [&str; 25] = [
    "pg_class",
    "pg_namespace",
    "pg_proc",
    "pg_type",
    "pg_largeobject_metadata",
    "pg_event_trigger",
    "pg_extension",
    "pg_language",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_am",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_default_acl",
    "pg_transform",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_publication",
    "pg_statistic_ext",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
];

/// Whether there is anything in the session's database that `initdb` did not put
/// there: a table, a function, a large object, whatever a dump would have.
pub async fn holds_objects(session: &Session) -> Result<bool, ServerError> {
    let what = "look for objects in a template database";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let any: Vec<_> = OF_USERS
        .iter()
        .map(|catalog| {
            let oid = match *catalog {
                // Those of TOAST tables and of temporary ones are nobody's.
                "pg_class" => {
                    "oid FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.<>) 99 \
                     AND relpersistence OPERATOR(pg_catalog.<>) 't' AND"
                }
                // Their owners choose their numbers.
                "pg_largeobject_metadata" => {
                    return "EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)".to_owned();
                }
                "pg_namespace" => {
                    "oid FROM pg_catalog.pg_namespace \
                     WHERE nspname OPERATOR(pg_catalog.!~) '^pg_' AND"
                }
                "pg_type" => {
                    "oid FROM pg_catalog.pg_type WHERE typrelid OPERATOR(pg_catalog.=) 0 \
                     AND typelem OPERATOR(pg_catalog.=) 0 AND"
                }
                _ => {
                    return format!(
                        "EXISTS (SELECT FROM pg_catalog.{catalog} \
                     WHERE oid OPERATOR(pg_catalog.>=) 16384)"
                    );
                }
            };
            format!("EXISTS (SELECT {oid} oid OPERATOR(pg_catalog.>=) 16384)")
        })
        .collect();
    let row = session
        .query_one(&format!("SELECT {}", any.join(" OR ")), &[])
        .await
        .map_err(error)?;
    row.try_get(0).map_err(error)
}

/// Every database, by name.
pub async fn databases(session: &Session) -> Result<Vec<Database>, ServerError> {
    let what = "list its databases";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let (provider, locale, rules) = match session.version().major() {
        ..15 => ("'c'", "NULL", "NULL"),
        15 => ("d.datlocprovider", "d.daticulocale", "NULL"),
        16 => ("d.datlocprovider", "d.daticulocale", "d.daticurules"),
        _ => ("d.datlocprovider", "d.datlocale", "d.daticurules"),
    };
    let query = format!(
        "SELECT d.oid, d.datname::pg_catalog.text, \
         pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, \
         CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
         OR pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER') \
         THEN pg_catalog.pg_database_size(d.oid) END, \
         d.datallowconn, d.datistemplate, \
         pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, \
         d.datcollate::pg_catalog.text, d.datctype::pg_catalog.text, \
         CASE WHEN {provider}::pg_catalog.text OPERATOR(pg_catalog.=) 'i' THEN 'icu' \
         WHEN {provider}::pg_catalog.text OPERATOR(pg_catalog.=) 'b' THEN 'builtin' \
         ELSE 'libc' END, \
         {locale}::pg_catalog.text, {rules}::pg_catalog.text, \
         COALESCE(pg_catalog.has_database_privilege(d.oid, 'CONNECT'), true), d.datconnlimit \
         FROM pg_catalog.pg_database d ORDER BY d.datname COLLATE pg_catalog.\"C\""
    );
    let rows = session.query(&query, &[]).await.map_err(error)?;
    rows.iter()
        .map(|row| {
            Ok(Database {
                oid: row.try_get(0)?,
                name: text(row, 1)?,
                owner: text(row, 2)?,
                size: row.try_get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
                connectable: row.try_get(4)?,
                permitted: row.try_get(12)?,
                connection_limit: row.try_get(13)?,
                template: row.try_get(5)?,
                locale: Locale {
                    encoding: row.try_get(6)?,
                    collate: text(row, 7)?,
                    ctype: text(row, 8)?,
                    provider: row.try_get(9)?,
                    name: row.try_get(10)?,
                    icu_rules: row.try_get(11)?,
                },
            })
        })
        .collect::<Result<_, _>>()
        .map_err(error)
}
