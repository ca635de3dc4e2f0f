//! A PostgreSQL server as a target.

use serde::{Deserialize, Serialize};

use super::{Replaced, TargetKind, TargetSpec};
use crate::{DumpContent, Invalid, PostgresLogical, PostgresSource, is_usual, named};

/// A database of a logical snapshot, or all of them, into a PostgreSQL server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the command that asks for it"
)]
pub struct PostgresTarget {
    /// A connection in the agent's `agent.toml` that allows restores.
    pub connection: String,
    /// The database as it is called in the snapshot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub database: String,
    /// Instead of one: every database of the snapshot, one after the other. One
    /// that fails does not stop the others; the job fails then, and names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_databases: bool,
    /// What it is called afterwards; default: as in the snapshot. Of all
    /// databases: with a `*` that stands for the name of each.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The database that is called so now gives way once the restored one is
    /// whole; otherwise there must be none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Only these schemas; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Only these tables, as `table` or `schema.table`; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Make the snapshot's roles that are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roles: bool,
    /// Parallel jobs; default: the attempt's threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// A database that lacks rows in the end is kept under its temporary name,
    /// which the failure says, instead of being dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_incomplete: bool,
    /// How restored rows are compared with those of the dump.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub verify: VerifyRows,
}

/// How restored rows are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum VerifyRows {
    /// By their number, and by a checksum of each table: every row is read once
    /// more.
    #[default]
    Content,
    /// By their number.
    Counts,
}

impl PostgresTarget {
    /// What a database is called afterwards: a name; of all databases one with a `*`
    /// that stands for the name of each.
    pub fn name(&self) -> &str {
        let usual = if self.all_databases {
            "*"
        } else {
            &self.database
        };
        self.to.as_deref().unwrap_or(usual)
    }

    fn check_all(&self) -> Result<(), Invalid> {
        if !self.database.is_empty() {
            return Err(
                Invalid::new("either one database or all of them are restored")
                    .hint("leave `database` (--database) or `all_databases` (--all-databases) out"),
            );
        }
        if !(self.schemas.is_empty() && self.tables.is_empty()) {
            return Err(
                Invalid::new("single schemas and tables are those of one database").hint(
                    "name the database (`database`, --database), or leave `schemas` and \
                     `tables` out",
                ),
            );
        }
        if self.name().matches('*').count() != 1 {
            return Err(
                Invalid::new("all databases cannot have the same name").hint(
                    "put a * where the name of each belongs, such as *_copy (`as`, --as), or \
                     leave it out",
                ),
            );
        }
        Ok(())
    }

    fn check_one(&self) -> Result<(), Invalid> {
        named("database", &self.database)?;
        named("as", self.name())?;
        if self.replace && !(self.schemas.is_empty() && self.tables.is_empty()) {
            return Err(
                Invalid::new("single schemas or tables cannot replace a whole database").hint(
                    "restore them into a database of their own (`as`, --as) and copy from there",
                ),
            );
        }
        Ok(())
    }
}

impl TargetSpec for PostgresTarget {
    const KIND: TargetKind = TargetKind::Postgres;

    fn check(&self) -> Result<(), Invalid> {
        named("connection", &self.connection)?;
        if self.all_databases {
            self.check_all()?;
        } else {
            self.check_one()?;
        }
        if self.jobs == Some(0) {
            return Err(Invalid::new("0 parallel jobs do no work").hint("ask for at least 1"));
        }
        Ok(())
    }

    fn replaced(&self) -> Option<Replaced> {
        if !self.replace {
            return None;
        }
        let (what, name) = if self.all_databases {
            ("databases of", &*self.connection)
        } else {
            ("database", self.name())
        };
        // All that are there: which of them give way, the agent will see.
        let databases = if self.all_databases {
            Vec::new()
        } else {
            vec![name.to_owned()]
        };
        let safety = PostgresLogical {
            connection: self.connection.clone(),
            databases,
            exclude_databases: Vec::new(),
            schemas: Vec::new(),
            exclude_schemas: Vec::new(),
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            content: DumpContent::All,
            globals: false,
        };
        Some(Replaced {
            what,
            name: name.to_owned(),
            connection: self.connection.clone(),
            safety: PostgresSource::Logical(safety).into(),
        })
    }
}
