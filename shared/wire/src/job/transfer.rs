//! Uploads and downloads: what passes between an operator and an agent as
//! sealed pieces in the store. The messages only name the manifest of a
//! transfer, so that they are small however much is transferred.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use strongroom_proto::v1;
use strongroom_transfer::PublicKey;
use uuid::Uuid;

use crate::{InvalidMessage, field::Reader};

/// See [`Work::Upload`](super::Work::Upload).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadWork {
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
#[serde(rename_all = "kebab-case")]
pub enum UploadFormat {
    /// Any file; nothing is known of it.
    File,
    /// SQL for `psql`.
    Sql,
    /// The same, compressed by gzip.
    SqlGzip,
    /// `pg_dump --format=custom`.
    Custom,
}

/// See [`Work::Download`](super::Work::Download).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadWork {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// A file of it, or a directory, which becomes a tar; `/` for all of it.
    pub path: String,
    /// Whose eyes it is for.
    pub reader: PublicKey,
}

/// What waits in the store for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadResult {
    /// The manifest of the pieces.
    pub manifest: ObjectId,
    /// Bytes of the file or tar.
    pub bytes: u64,
    /// How the operator's file may be called, without directories.
    pub file_name: String,
    /// Entries of the tar; 1 for a file.
    pub files: u64,
    /// It is a tar.
    pub archive: bool,
}

impl TryFrom<v1::UploadWork> for UploadWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::UploadWork) -> Result<Self, InvalidMessage> {
        let read = Reader("UploadWork");
        let format = match v1::UploadFormat::try_from(value.format) {
            Ok(v1::UploadFormat::File) => UploadFormat::File,
            Ok(v1::UploadFormat::Sql) => UploadFormat::Sql,
            Ok(v1::UploadFormat::SqlGzip) => UploadFormat::SqlGzip,
            Ok(v1::UploadFormat::Custom) => UploadFormat::Custom,
            Ok(v1::UploadFormat::Unspecified) | Err(_) => {
                let problem = format!("has unknown value {}", value.format);
                return Err(read.invalid("format", problem));
            }
        };
        Ok(Self {
            dataset: read.text("dataset", value.dataset)?,
            transfer: read.uuid("transfer", &value.transfer)?,
            manifest: read.hash("manifest", &value.manifest)?,
            tags: value.tags,
            file_name: read.text("file_name", value.file_name)?,
            format,
            database: value.database,
        })
    }
}

impl From<UploadWork> for v1::UploadWork {
    fn from(value: UploadWork) -> Self {
        let format = match value.format {
            UploadFormat::File => v1::UploadFormat::File,
            UploadFormat::Sql => v1::UploadFormat::Sql,
            UploadFormat::SqlGzip => v1::UploadFormat::SqlGzip,
            UploadFormat::Custom => v1::UploadFormat::Custom,
        };
        Self {
            dataset: value.dataset,
            transfer: value.transfer.to_string(),
            manifest: value.manifest.0.to_vec(),
            tags: value.tags,
            file_name: value.file_name,
            format: format.into(),
            database: value.database,
        }
    }
}

impl TryFrom<v1::DownloadWork> for DownloadWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::DownloadWork) -> Result<Self, InvalidMessage> {
        let read = Reader("DownloadWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            path: read.text("path", value.path)?,
            reader: PublicKey(read.hash("reader", &value.reader)?.0),
        })
    }
}

impl From<DownloadWork> for v1::DownloadWork {
    fn from(value: DownloadWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            path: value.path,
            reader: value.reader.0.to_vec(),
        }
    }
}

impl TryFrom<v1::DownloadResult> for DownloadResult {
    type Error = InvalidMessage;

    fn try_from(value: v1::DownloadResult) -> Result<Self, InvalidMessage> {
        let read = Reader("DownloadResult");
        Ok(Self {
            manifest: read.hash("manifest", &value.manifest)?,
            bytes: value.bytes,
            file_name: read.text("file_name", value.file_name)?,
            files: value.files,
            archive: value.archive,
        })
    }
}

impl From<DownloadResult> for v1::DownloadResult {
    fn from(value: DownloadResult) -> Self {
        Self {
            manifest: value.manifest.0.to_vec(),
            bytes: value.bytes,
            file_name: value.file_name,
            files: value.files,
            archive: value.archive,
        }
    }
}
