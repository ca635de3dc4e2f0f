//! What is backed up.
//!
//! The same shapes stand in a policy's `source`. Commands and connections are
//! only named: what they are stands in `agent.toml` on the host.

use serde::{Deserialize, Serialize};
use strongroom_proto::v1;

use crate::{InvalidMessage, field::Reader};

/// What is backed up. The same shape stands in a policy's `source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// Files and directories.
    Files(FilesSource),
    /// The standard output of a command that `agent.toml` names.
    Command(CommandSource),
    /// A PostgreSQL server that `agent.toml` names.
    Postgres(PostgresSource),
    /// A Redis server that `agent.toml` names.
    Redis(RedisSource),
}

impl Source {
    /// The word in policies and consent.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Command(_) => "command",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
        }
    }
}

/// See [`Source::Files`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSource {
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Globs; empty: everything. A file is taken when one matches.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs; a match is left out, with all below it.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Do not descend into other file systems.
    #[serde(default)]
    pub one_file_system: bool,
    /// Leave out directories that a valid `CACHEDIR.TAG` marks.
    #[serde(default)]
    pub exclude_caches: bool,
}

/// See [`Source::Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSource {
    /// The command's name in `agent.toml`.
    pub name: String,
}

/// See [`Source::Redis`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSource {
    /// The connection's name in `agent.toml`.
    pub connection: String,
}

/// See [`Source::Postgres`].
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

impl TryFrom<v1::Source> for Source {
    type Error = InvalidMessage;

    fn try_from(value: v1::Source) -> Result<Self, InvalidMessage> {
        let read = Reader("Source");
        Ok(match read.required("source", value.source)? {
            v1::source::Source::Files(files) => Self::Files(files.try_into()?),
            v1::source::Source::Command(command) => Self::Command(command.try_into()?),
            v1::source::Source::Postgres(postgres) => Self::Postgres(postgres.try_into()?),
            v1::source::Source::Redis(redis) => Self::Redis(redis.try_into()?),
        })
    }
}

impl From<Source> for v1::Source {
    fn from(value: Source) -> Self {
        Self {
            source: Some(match value {
                Source::Files(files) => v1::source::Source::Files(files.into()),
                Source::Command(command) => v1::source::Source::Command(command.into()),
                Source::Postgres(postgres) => v1::source::Source::Postgres(postgres.into()),
                Source::Redis(redis) => v1::source::Source::Redis(redis.into()),
            }),
        }
    }
}

impl TryFrom<v1::FilesSource> for FilesSource {
    type Error = InvalidMessage;

    fn try_from(value: v1::FilesSource) -> Result<Self, InvalidMessage> {
        if value.paths.is_empty() {
            return Err(Reader("FilesSource").invalid("paths", "is empty"));
        }
        Ok(Self {
            paths: value.paths,
            include: value.include,
            exclude: value.exclude,
            one_file_system: value.one_file_system,
            exclude_caches: value.exclude_caches,
        })
    }
}

impl From<FilesSource> for v1::FilesSource {
    fn from(value: FilesSource) -> Self {
        Self {
            paths: value.paths,
            include: value.include,
            exclude: value.exclude,
            one_file_system: value.one_file_system,
            exclude_caches: value.exclude_caches,
        }
    }
}

impl TryFrom<v1::CommandSource> for CommandSource {
    type Error = InvalidMessage;

    fn try_from(value: v1::CommandSource) -> Result<Self, InvalidMessage> {
        Ok(Self {
            name: Reader("CommandSource").text("name", value.name)?,
        })
    }
}

impl From<CommandSource> for v1::CommandSource {
    fn from(value: CommandSource) -> Self {
        Self { name: value.name }
    }
}

impl TryFrom<v1::RedisSource> for RedisSource {
    type Error = InvalidMessage;

    fn try_from(value: v1::RedisSource) -> Result<Self, InvalidMessage> {
        Ok(Self {
            connection: Reader("RedisSource").text("connection", value.connection)?,
        })
    }
}

impl From<RedisSource> for v1::RedisSource {
    fn from(value: RedisSource) -> Self {
        Self {
            connection: value.connection,
        }
    }
}

impl TryFrom<v1::PostgresSource> for PostgresSource {
    type Error = InvalidMessage;

    fn try_from(value: v1::PostgresSource) -> Result<Self, InvalidMessage> {
        use v1::postgres_source::Method;
        let read = Reader("PostgresSource");
        let connection = read.text("connection", value.connection)?;
        Ok(match read.required("method", value.method)? {
            Method::Logical(logical) => Self::Logical(PostgresLogical {
                connection,
                databases: logical.databases,
                exclude_databases: logical.exclude_databases,
                schemas: logical.schemas,
                exclude_schemas: logical.exclude_schemas,
                tables: logical.tables,
                exclude_tables: logical.exclude_tables,
                content: content(logical.content)?,
                globals: logical.globals,
            }),
            Method::Physical(physical) => Self::Physical(PostgresPhysical {
                connection,
                fast_checkpoint: physical.fast_checkpoint,
            }),
        })
    }
}

impl From<PostgresSource> for v1::PostgresSource {
    fn from(value: PostgresSource) -> Self {
        use v1::postgres_source::Method;
        let (connection, method) = match value {
            PostgresSource::Logical(logical) => (
                logical.connection,
                Method::Logical(v1::PostgresLogical {
                    databases: logical.databases,
                    exclude_databases: logical.exclude_databases,
                    schemas: logical.schemas,
                    exclude_schemas: logical.exclude_schemas,
                    tables: logical.tables,
                    exclude_tables: logical.exclude_tables,
                    content: v1::DumpContent::from(logical.content).into(),
                    globals: logical.globals,
                }),
            ),
            PostgresSource::Physical(physical) => (
                physical.connection,
                Method::Physical(v1::PostgresPhysical {
                    fast_checkpoint: physical.fast_checkpoint,
                }),
            ),
        };
        Self {
            connection,
            method: Some(method),
        }
    }
}

/// Reads the number of an enum: unknown and unspecified values are refused.
fn content(number: i32) -> Result<DumpContent, InvalidMessage> {
    match v1::DumpContent::try_from(number) {
        Ok(v1::DumpContent::All) => Ok(DumpContent::All),
        Ok(v1::DumpContent::Schema) => Ok(DumpContent::Schema),
        Ok(v1::DumpContent::Data) => Ok(DumpContent::Data),
        Ok(v1::DumpContent::Unspecified) | Err(_) => {
            Err(Reader("PostgresLogical").invalid("content", format!("has unknown value {number}")))
        }
    }
}

impl From<DumpContent> for v1::DumpContent {
    fn from(value: DumpContent) -> Self {
        match value {
            DumpContent::All => Self::All,
            DumpContent::Schema => Self::Schema,
            DumpContent::Data => Self::Data,
        }
    }
}
