//! What a snapshot says of the dumps in it: `/manifest.json`.
//!
//! Written after the dumps, so that it can say how they went, and read before
//! they are restored. It comes out of a repository: sizes are capped, and
//! nothing in it is trusted to be sensible.

use serde::{Deserialize, Serialize};

use crate::{inventory::Locale, name};

/// The layout that this version writes. A reader refuses a newer one.
pub const FORMAT: u32 = 1;
/// Says what kind of snapshot it is.
pub const KIND: &str = "postgres-logical";
/// The same of an uploaded script of SQL.
pub const SCRIPT_KIND: &str = "postgres-sql";
/// Its path in the snapshot.
pub const PATH: &str = "/manifest.json";
/// Bytes of a manifest that are read at most: some million tables.
pub const MAX_SIZE: u64 = 256 << 20;

/// The whole file. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// [`KIND`] or [`SCRIPT_KIND`].
    pub kind: String,
    /// What `agent.toml` called the server.
    pub connection: String,
    /// Such as `15.18`.
    pub server_version: String,
    /// Such as 15.
    pub server_major: u32,
    /// Decimal; absent when the role may not ask.
    pub system_identifier: Option<String>,
    /// Whether the dumps come from a standby.
    pub standby: bool,
    /// Such as `15.18`.
    pub pg_dump_version: String,
    /// What `pg_restore` must not be older than.
    pub pg_dump_major: u32,
    /// When the first dump began.
    pub started: String,
    /// When the last one was done.
    pub finished: String,
    /// What was asked for.
    pub selection: Selection,
    /// Absent: not asked for, or not to be had.
    pub globals: Option<Globals>,
    /// Why globals that were asked for are absent, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals_missing: Option<String>,
    /// Uploaded by an operator: nothing was counted, and neither roles nor
    /// extensions are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// One per dump.
    pub databases: Vec<DumpedDatabase>,
    /// Databases that the policy asks for and the snapshot lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingDatabase>,
}

/// A database that was asked for and is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingDatabase {
    /// Its name.
    pub name: String,
    /// The word of a [`Loss`](super::loss::Loss).
    pub code: String,
    /// Why, for people.
    pub cause: String,
    /// The server has it, or the policy has its exact name: without it the
    /// snapshot is not whole.
    pub part: bool,
}

/// What is taken of each database: patterns as `pg_dump` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Only these.
    pub schemas: Vec<String>,
    /// Not these.
    pub exclude_schemas: Vec<String>,
    /// Only these.
    pub tables: Vec<String>,
    /// Not these.
    pub exclude_tables: Vec<String>,
    /// Schema, data or both.
    pub content: Content,
}

impl Selection {
    /// Whether some objects are left out.
    pub fn is_partial(&self) -> bool {
        [
            &self.schemas,
            &self.exclude_schemas,
            &self.tables,
            &self.exclude_tables,
        ]
        .iter()
        .any(|patterns| !patterns.is_empty())
    }

    /// Whether single schemas or tables are asked for: then `pg_dump` leaves
    /// out what belongs to no schema.
    pub fn is_narrow(&self) -> bool {
        !self.schemas.is_empty() || !self.tables.is_empty()
    }
}

/// See [`Selection::content`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Definitions and rows.
    #[default]
    All,
    /// Definitions.
    Schema,
    /// Rows.
    Data,
}

/// Roles, memberships, tablespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// Its path in the snapshot.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Whether the roles' password verifiers are in it.
    pub passwords: bool,
}

/// One database and its dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpedDatabase {
    /// Its name.
    pub name: String,
    /// The dump's path in the snapshot.
    pub path: String,
    /// Bytes of the dump.
    pub bytes: u64,
    /// Bytes on the server's disk, indexes and all.
    pub size_on_server: Option<u64>,
    /// Encoding and collation.
    pub locale: Locale,
    /// Owner, settings and the like, which `pg_restore` leaves to us.
    pub properties: Properties,
    /// Seconds from the snapshot to the dump's end.
    pub seconds: f64,
    /// By name.
    pub extensions: Vec<Extension>,
    /// Of users, by name.
    pub schemas: Vec<String>,
    /// Roles that objects of the database name.
    pub roles: Vec<String>,
    /// Tablespaces that objects of the database lie in, but for the default.
    pub tablespaces: Vec<String>,
    /// Tables, views, sequences, by schema and name.
    pub relations: Vec<Relation>,
    /// In all.
    pub large_objects: u64,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// As installed.
    pub version: String,
}

/// Something that has rows, or looks like it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// What it is.
    pub kind: RelationKind,
    /// Rows that the dump holds, counted in the dump's own snapshot. Absent:
    /// the dump holds no rows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Of those rows. Absent: older agents made none, and it is of no use where
    /// the text of a row depends on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Not in the dump at all: the selection leaves it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

/// What rows were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The columns whose values are summed, in this order.
    pub columns: Vec<String>,
    /// As [`RowSum::text`](super::sum::RowSum::text) has it.
    pub sum: String,
}

/// See [`Relation::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationKind {
    /// Has rows; partitions too.
    Table,
    /// Its partitions have the rows.
    PartitionedTable,
    /// Its rows lie on another server.
    ForeignTable,
    /// Its rows are computed again by a restore.
    MaterializedView,
    /// Has no rows.
    View,
    /// Has a value.
    Sequence,
}

impl RelationKind {
    /// Of `pg_class.relkind`.
    pub fn of(relkind: &str) -> Option<Self> {
        Some(match relkind {
            "r" => Self::Table,
            "p" => Self::PartitionedTable,
            "f" => Self::ForeignTable,
            "m" => Self::MaterializedView,
            "v" => Self::View,
            "S" => Self::Sequence,
            _ => return None,
        })
    }
}

/// What belongs to a database and is in no dump of `pg_dump`'s custom format
/// that is restored under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Its owner.
    pub owner: String,
    /// -1: no limit.
    pub connection_limit: i32,
    /// `COMMENT ON DATABASE`.
    pub comment: Option<String>,
    /// `ALTER DATABASE … SET`, and `ALTER ROLE … IN DATABASE … SET`.
    pub settings: Vec<Setting>,
    /// `None`: the default ones.
    pub privileges: Option<Vec<Privilege>>,
    /// Its tablespace; `None`: the default.
    pub tablespace: Option<String>,
    /// Whether others are made from it.
    pub template: bool,
}

/// A setting of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Only for this role.
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// As the catalog has it.
    pub value: String,
}

/// What a role may do with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privilege {
    /// `None`: everybody.
    pub role: Option<String>,
    /// `CREATE`, `CONNECT` or `TEMPORARY`.
    pub right: String,
    /// Whether they may pass it on.
    pub grantable: bool,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this shape.
    #[error("the snapshot's manifest is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of snapshot.
    #[error("the snapshot holds {found:?}, no dumps of PostgreSQL databases")]
    Kind {
        /// What it is.
        found: String,
    },
    /// Of a newer agent.
    #[error(
        "the snapshot's manifest has format {found}, this agent knows up to {FORMAT}: update the \
         agent"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
}

/// The part that every version has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    kind: String,
}

impl Manifest {
    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let head: Head = serde_json::from_slice(bytes)?;
        if ![KIND, SCRIPT_KIND].contains(&head.kind.as_str()) {
            let found = head.kind.chars().take(40).collect();
            return Err(ManifestError::Kind { found });
        }
        if head.format > FORMAT {
            return Err(ManifestError::Newer { found: head.format });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// For people too.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Whether its dump is SQL, not for `pg_restore`.
    pub fn is_script(&self) -> bool {
        self.kind == SCRIPT_KIND
    }

    /// Whether it lacks a database, or roles, that it should hold.
    pub fn is_partial(&self) -> bool {
        self.globals_missing.is_some() || self.missing.iter().any(|it| it.part)
    }

    /// Why it lacks the database of that name.
    pub fn missing(&self, name: &str) -> Option<&MissingDatabase> {
        self.missing.iter().find(|database| database.name == name)
    }

    /// The database of that name.
    pub fn database(&self, name: &str) -> Option<&DumpedDatabase> {
        self.databases.iter().find(|database| database.name == name)
    }
}

/// The name of a database's dump: the database's, with what would be awkward
/// in a file's name as `%` and two hexadecimal digits, and so what is no UTF-8.
pub fn file_name(database: &str) -> String {
    use std::fmt::Write as _;
    let bytes = name::encode(database);
    let mut file = String::new();
    let awkward = |file: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _infallible = write!(file, "%{byte:02X}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for next in chunk.valid().chars() {
            let at_start = file.is_empty() && matches!(next, '.' | '-' | ' ');
            if next.is_control() || matches!(next, '/' | '\\' | '%') || at_start {
                awkward(&mut file, next.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                file.push(next);
            }
        }
        awkward(&mut file, chunk.invalid());
    }
    file + ".dump"
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// With something in every field.
    pub(crate) fn sample() -> Manifest {
        let locale = Locale {
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            provider: "icu".into(),
            name: Some("de".into()),
            icu_rules: Some("&a < b".into()),
        };
        let properties = Properties {
            owner: "me".into(),
            connection_limit: -1,
            comment: Some("of the shop".into()),
            settings: vec![Setting {
                role: Some("app".into()),
                name: "search_path".into(),
                value: "shop, public".into(),
            }],
            privileges: Some(vec![Privilege {
                role: None,
                right: "CONNECT".into(),
                grantable: false,
            }]),
            tablespace: Some("fast".into()),
            template: false,
        };
        let relation = |kind, rows| Relation {
            schema: "app".into(),
            name: "orders".into(),
            owner: "me".into(),
            kind,
            rows,
            checksum: rows.map(|_| Checksum {
                columns: vec!["id".into(), "a \"b\"".into()],
                sum: "0f".repeat(16),
            }),
            left_out: rows.is_none(),
        };
        Manifest {
            format: FORMAT,
            kind: KIND.into(),
            connection: "main".into(),
            server_version: "15.18".into(),
            server_major: 15,
            system_identifier: Some(u64::MAX.to_string()),
            standby: true,
            pg_dump_version: "15.18".into(),
            pg_dump_major: 15,
            started: "2026-11-21T12:00:00Z".into(),
            finished: "2026-11-21T12:00:01Z".into(),
            selection: Selection {
                exclude_tables: vec!["*.log".into()],
                content: Content::Data,
                ..Selection::default()
            },
            globals: Some(Globals {
                path: "/globals.sql".into(),
                bytes: 300,
                passwords: true,
            }),
            globals_missing: None,
            foreign: true,
            databases: vec![DumpedDatabase {
                name: "../my shop".into(),
                path: "/databases/shop.dump".into(),
                bytes: 5_000,
                size_on_server: Some(8 << 20),
                locale,
                properties,
                seconds: 1.5,
                extensions: vec![Extension {
                    name: "citext".into(),
                    version: "1.6".into(),
                }],
                schemas: vec!["app".into()],
                roles: vec!["me".into()],
                tablespaces: vec!["fast".into()],
                relations: vec![
                    relation(RelationKind::Table, Some(3)),
                    relation(RelationKind::MaterializedView, None),
                ],
                large_objects: 2,
            }],
            missing: vec![MissingDatabase {
                name: "broken".into(),
                code: "database-invalid".into(),
                cause: "it is invalid".into(),
                part: true,
            }],
        }
    }

    #[test]
    fn file_names_are_possible_and_different() {
        for (name, file) in [
            ("orders", "orders.dump"),
            ("my orders", "my orders.dump"),
            ("../x", "%2E.%2Fx.dump"),
            ("a%2Fb", "a%252Fb.dump"),
            ("a/b", "a%2Fb.dump"),
            ("-h", "%2Dh.dump"),
            ("line\nbreak", "line%0Abreak.dump"),
            ("\u{fc}", "\u{fc}.dump"),
            ("\u{80}", "%C2%80.dump"),
            (&name::decode(b"caf\xe9"), "caf%E9.dump"),
        ] {
            assert_eq!(file_name(name), file);
        }
        // 63 bytes are the most that a database's name has.
        assert!(file_name(&"\u{80}".repeat(31)).len() <= 255);
    }

    #[test]
    fn other_kinds_and_newer_formats_are_refused() {
        for (json, wanted) in [
            ("{}", "not understood"),
            (r#"{"format":1,"kind":"redis"}"#, "redis"),
            (
                r#"{"format":2,"kind":"postgres-logical"}"#,
                "update the agent",
            ),
            (
                r#"{"format":1,"kind":"postgres-logical"}"#,
                "not understood",
            ),
        ] {
            let error = Manifest::decode(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{json}: {error}");
        }
    }
}
