//! What an attempt does.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use strongroom_proto::v1;

use super::{
    DownloadWork, RestoreClusterWork, RestorePostgresWork, RestoreRedisWork, Source, UploadWork,
    WalMethod, WalWork,
};
use crate::{InvalidMessage, field::Reader};

/// What an attempt does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Read a source, write a snapshot.
    Backup(BackupWork),
    /// Read a snapshot, write a directory.
    Restore(RestoreWork),
    /// Read a logical snapshot, make a database of it.
    RestorePostgres(RestorePostgresWork),
    /// Read a physical snapshot, make a cluster of it.
    RestoreCluster(RestoreClusterWork),
    /// Read a Redis snapshot, fill a live server.
    RestoreRedis(RestoreRedisWork),
    /// Read a snapshot's trees.
    List(ListWork),
    /// Read what an operator sealed, write a snapshot.
    Upload(UploadWork),
    /// Read a snapshot, seal a part of it to an operator.
    Download(DownloadWork),
    /// Archive a cluster's write-ahead log, for as long as it is wanted.
    Wal(WalWork),
}

impl Work {
    /// The snapshot that it reads.
    pub fn snapshot(&self) -> Option<ObjectId> {
        match self {
            Self::Backup(_) | Self::Upload(_) | Self::Wal(_) => None,
            Self::Restore(work) => Some(work.snapshot),
            Self::RestorePostgres(work) => Some(work.snapshot),
            Self::RestoreCluster(work) => Some(work.snapshot),
            Self::RestoreRedis(work) => Some(work.snapshot),
            Self::List(work) => Some(work.snapshot),
            Self::Download(work) => Some(work.snapshot),
        }
    }

    /// Whether it goes on until it is not wanted any more.
    pub fn is_endless(&self) -> bool {
        match self {
            Self::Wal(work) => !matches!(work.method, WalMethod::Forget { .. }),
            _ => false,
        }
    }

    /// Whether it is a restore that really writes.
    pub fn restores(&self) -> bool {
        match self {
            Self::Restore(work) => !work.dry_run,
            Self::RestorePostgres(work) => !work.dry_run,
            Self::RestoreCluster(work) => !work.dry_run,
            Self::RestoreRedis(work) => !work.dry_run,
            Self::Backup(_)
            | Self::List(_)
            | Self::Upload(_)
            | Self::Download(_)
            | Self::Wal(_) => false,
        }
    }
}

/// See [`Work::Backup`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupWork {
    /// `policy@agent`.
    pub dataset: String,
    /// What to read.
    pub source: Source,
    /// The dataset's last snapshot, to skip what has not changed.
    pub parent: Option<ObjectId>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
}

/// What to do with files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// Refuse a target that is not empty of what would be written.
    #[default]
    Never,
    /// Read what is there and rewrite what differs in content.
    IfChanged,
    /// Rewrite everything.
    Always,
}

/// Which zeros of restored files become holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sparse {
    /// Long runs of them, but in files that had none: where the backup knew.
    #[default]
    Auto,
    /// None: all are written.
    Never,
}

/// See [`Work::Restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreWork {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// Absolute directory on the agent's host; made if missing.
    pub target: String,
    /// Paths inside the snapshot; empty: everything.
    pub paths: Vec<String>,
    /// What to do with files that are there.
    pub overwrite: Overwrite,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Owners have their numbers of the snapshot; otherwise those that their
    /// names have on the host.
    pub numeric_ids: bool,
    /// Which zeros become holes.
    #[serde(default)]
    pub sparse: Sparse,
}

/// See [`Work::List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListWork {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// Directory inside the snapshot; `/` for the root.
    pub path: String,
    /// Everything below, or one level.
    pub recursive: bool,
    /// Entries at most.
    pub limit: u32,
    /// Continue behind this path.
    pub after: Option<String>,
}

impl TryFrom<v1::job_offer::Work> for Work {
    type Error = InvalidMessage;

    fn try_from(value: v1::job_offer::Work) -> Result<Self, InvalidMessage> {
        Ok(match value {
            v1::job_offer::Work::Backup(work) => Self::Backup(work.try_into()?),
            v1::job_offer::Work::Restore(work) => Self::Restore(work.try_into()?),
            v1::job_offer::Work::RestorePostgres(work) => Self::RestorePostgres(work.try_into()?),
            v1::job_offer::Work::RestoreCluster(work) => Self::RestoreCluster(work.try_into()?),
            v1::job_offer::Work::RestoreRedis(work) => Self::RestoreRedis(work.try_into()?),
            v1::job_offer::Work::List(work) => Self::List(work.try_into()?),
            v1::job_offer::Work::Upload(work) => Self::Upload(work.try_into()?),
            v1::job_offer::Work::Download(work) => Self::Download(work.try_into()?),
            v1::job_offer::Work::Wal(work) => Self::Wal(work.try_into()?),
        })
    }
}

impl From<Work> for v1::job_offer::Work {
    fn from(value: Work) -> Self {
        match value {
            Work::Backup(work) => Self::Backup(work.into()),
            Work::Restore(work) => Self::Restore(work.into()),
            Work::RestorePostgres(work) => Self::RestorePostgres(work.into()),
            Work::RestoreCluster(work) => Self::RestoreCluster(work.into()),
            Work::RestoreRedis(work) => Self::RestoreRedis(work.into()),
            Work::List(work) => Self::List(work.into()),
            Work::Upload(work) => Self::Upload(work.into()),
            Work::Download(work) => Self::Download(work.into()),
            Work::Wal(work) => Self::Wal(work.into()),
        }
    }
}

impl TryFrom<v1::BackupWork> for BackupWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::BackupWork) -> Result<Self, InvalidMessage> {
        let read = Reader("BackupWork");
        Ok(Self {
            dataset: read.text("dataset", value.dataset)?,
            source: read.required("source", value.source)?.try_into()?,
            parent: match value.parent.as_str() {
                "" => None,
                parent => Some(read.hex("parent", parent)?),
            },
            tags: value.tags,
        })
    }
}

impl From<BackupWork> for v1::BackupWork {
    fn from(value: BackupWork) -> Self {
        Self {
            dataset: value.dataset,
            source: Some(value.source.into()),
            parent: value.parent.map(|id| id.to_string()).unwrap_or_default(),
            tags: value.tags,
        }
    }
}

/// Reads the number of an enum: unknown and unspecified values are refused.
fn overwrite(number: i32) -> Result<Overwrite, InvalidMessage> {
    match v1::Overwrite::try_from(number) {
        Ok(v1::Overwrite::Never) => Ok(Overwrite::Never),
        Ok(v1::Overwrite::IfChanged) => Ok(Overwrite::IfChanged),
        Ok(v1::Overwrite::Always) => Ok(Overwrite::Always),
        Ok(v1::Overwrite::Unspecified) | Err(_) => {
            Err(Reader("RestoreWork").invalid("overwrite", format!("has unknown value {number}")))
        }
    }
}

impl From<Overwrite> for v1::Overwrite {
    fn from(value: Overwrite) -> Self {
        match value {
            Overwrite::Never => Self::Never,
            Overwrite::IfChanged => Self::IfChanged,
            Overwrite::Always => Self::Always,
        }
    }
}

impl TryFrom<v1::RestoreWork> for RestoreWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestoreWork) -> Result<Self, InvalidMessage> {
        let read = Reader("RestoreWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            target: read.text("target", value.target)?,
            paths: value.paths,
            overwrite: overwrite(value.overwrite)?,
            dry_run: value.dry_run,
            numeric_ids: value.numeric_ids,
            sparse: if value.write_zeros {
                Sparse::Never
            } else {
                Sparse::Auto
            },
        })
    }
}

impl From<RestoreWork> for v1::RestoreWork {
    fn from(value: RestoreWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            target: value.target,
            paths: value.paths,
            overwrite: v1::Overwrite::from(value.overwrite).into(),
            dry_run: value.dry_run,
            numeric_ids: value.numeric_ids,
            write_zeros: value.sparse == Sparse::Never,
        }
    }
}

impl TryFrom<v1::ListWork> for ListWork {
    type Error = InvalidMessage;

    fn try_from(value: v1::ListWork) -> Result<Self, InvalidMessage> {
        let read = Reader("ListWork");
        Ok(Self {
            snapshot: read.hex("snapshot", &value.snapshot)?,
            path: read.text("path", value.path)?,
            recursive: value.recursive,
            limit: value.limit,
            after: (!value.after.is_empty()).then_some(value.after),
        })
    }
}

impl From<ListWork> for v1::ListWork {
    fn from(value: ListWork) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            path: value.path,
            recursive: value.recursive,
            limit: value.limit,
            after: value.after.unwrap_or_default(),
        }
    }
}
