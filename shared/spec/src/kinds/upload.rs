//! The upload: reads what an operator sealed, writes a snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use uuid::Uuid;

use super::{JobKind, Kind, Role};
use crate::{Invalid, named};

/// Asks for a snapshot of what an operator left in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSpec {
    /// `upload-NAME@agent`.
    pub dataset: String,
    /// The upload whose pieces may be read.
    pub transfer: Uuid,
    /// The manifest of its pieces, which are sealed to the agent's key.
    pub manifest: ObjectId,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// How the operator's file was called, without directories.
    pub file_name: String,
    /// What is in it.
    pub format: UploadFormat,
    /// The database that a dump is of; empty for [`UploadFormat::File`].
    pub database: String,
}

/// What an uploaded file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum UploadFormat {
    /// Any file; nothing is known of it.
    File,
    /// SQL as pg_dump --format=plain writes it, without commands of psql.
    Sql,
    /// SQL compressed by gzip; stored uncompressed.
    SqlGzip,
    /// pg_dump --format=custom.
    Custom,
}

impl fmt::Display for UploadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Sql => "sql",
            Self::SqlGzip => "sql-gzip",
            Self::Custom => "custom",
        })
    }
}

impl Kind for UploadSpec {
    const KIND: JobKind = JobKind::Upload;
    const ROLE: Role = Role::Writes;

    fn check(&self) -> Result<(), Invalid> {
        named("dataset", &self.dataset)?;
        named("file_name", &self.file_name)
    }
}
