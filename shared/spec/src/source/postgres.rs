//! PostgreSQL as a source: dumps of databases, or a base backup of the whole cluster.

use serde::{Deserialize, Serialize};

use super::{SourceKind, SourceSpec};

/// Dumps of databases, or a base backup of a cluster. Connections are only named: what
/// they are stands in `agent.toml` on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub enum PostgresSource {
    /// Dumps of databases.
    Logical(PostgresLogical),
    /// A base backup of the whole cluster.
    Physical(PostgresPhysical),
}

impl PostgresSource {
    /// The connection's name in `agent.toml`.
    pub fn connection(&self) -> &str {
        match self {
            Self::Logical(logical) => &logical.connection,
            Self::Physical(physical) => &physical.connection,
        }
    }
}

/// See [`PostgresSource::Logical`]. Schemas and tables are patterns as
/// `pg_dump` takes them; without any, everything is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresLogical {
    /// The connection's name in `agent.toml`.
    pub connection: String,
    /// Names or globs; empty: all that allow connections and are no templates.
    pub databases: Vec<String>,
    /// Names or globs; they win.
    pub exclude_databases: Vec<String>,
    /// Only these.
    pub schemas: Vec<String>,
    /// Not these.
    pub exclude_schemas: Vec<String>,
    /// Only these.
    pub tables: Vec<String>,
    /// Not these.
    pub exclude_tables: Vec<String>,
    /// Schema, data, or both.
    pub content: DumpContent,
    /// Roles, their memberships and tablespaces too.
    pub globals: bool,
}

/// See [`PostgresSource::Physical`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPhysical {
    /// The connection's name in `agent.toml`.
    pub connection: String,
    /// Ask for the checkpoint at once, instead of waiting for it to be spread
    /// over time.
    pub fast_checkpoint: bool,
}

/// A [`PostgresSource`] as it is spelled: one flat table, so that an unknown
/// key is refused at its own line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelled {
    connection: String,
    method: Method,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    databases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude_databases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schemas: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude_schemas: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude_tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<DumpContent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    globals: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fast_checkpoint: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Logical,
    Physical,
}

impl Spelled {
    /// The first key that says something about dumps.
    fn of_dumps(&self) -> Option<&'static str> {
        [
            ("databases", !self.databases.is_empty()),
            ("exclude_databases", !self.exclude_databases.is_empty()),
            ("schemas", !self.schemas.is_empty()),
            ("exclude_schemas", !self.exclude_schemas.is_empty()),
            ("tables", !self.tables.is_empty()),
            ("exclude_tables", !self.exclude_tables.is_empty()),
            ("content", self.content.is_some()),
            ("globals", self.globals.is_some()),
        ]
        .into_iter()
        .find_map(|(key, given)| given.then_some(key))
    }
}

impl TryFrom<Spelled> for PostgresSource {
    type Error = String;

    fn try_from(spelled: Spelled) -> Result<Self, String> {
        match spelled.method {
            Method::Logical if spelled.fast_checkpoint.is_some() => Err(
                "`fast_checkpoint` belongs to method = \"physical\": a dump needs no checkpoint"
                    .into(),
            ),
            Method::Logical => Ok(Self::Logical(PostgresLogical {
                connection: spelled.connection,
                databases: spelled.databases,
                exclude_databases: spelled.exclude_databases,
                schemas: spelled.schemas,
                exclude_schemas: spelled.exclude_schemas,
                tables: spelled.tables,
                exclude_tables: spelled.exclude_tables,
                content: spelled.content.unwrap_or_default(),
                globals: spelled.globals.unwrap_or(true),
            })),
            Method::Physical => match spelled.of_dumps() {
                Some(key) => Err(format!(
                    "`{key}` belongs to method = \"logical\": a physical backup always takes the \
                     whole cluster"
                )),
                None => Ok(Self::Physical(PostgresPhysical {
                    connection: spelled.connection,
                    fast_checkpoint: spelled.fast_checkpoint.unwrap_or(false),
                })),
            },
        }
    }
}

impl From<PostgresSource> for Spelled {
    fn from(source: PostgresSource) -> Self {
        let empty = |connection, method| Self {
            connection,
            method,
            databases: Vec::new(),
            exclude_databases: Vec::new(),
            schemas: Vec::new(),
            exclude_schemas: Vec::new(),
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            content: None,
            globals: None,
            fast_checkpoint: None,
        };
        match source {
            PostgresSource::Logical(logical) => Self {
                databases: logical.databases,
                exclude_databases: logical.exclude_databases,
                schemas: logical.schemas,
                exclude_schemas: logical.exclude_schemas,
                tables: logical.tables,
                exclude_tables: logical.exclude_tables,
                content: Some(logical.content),
                globals: Some(logical.globals),
                ..empty(logical.connection, Method::Logical)
            },
            PostgresSource::Physical(physical) => Self {
                fast_checkpoint: Some(physical.fast_checkpoint),
                ..empty(physical.connection, Method::Physical)
            },
        }
    }
}

/// What a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DumpContent {
    /// Schema and data.
    #[default]
    All,
    /// Definitions only.
    Schema,
    /// Rows only.
    Data,
}

impl SourceSpec for PostgresSource {
    const KIND: SourceKind = SourceKind::Postgres;

    fn named(&self) -> Option<(&'static str, &str)> {
        Some(("connection", self.connection()))
    }
}
