//! The backup: reads a source, writes a snapshot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;

use super::{Figures, JobKind, Kind, Role};
use crate::{ClusterPoint, Invalid, Source, clip::limit};

/// Asks for a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// `policy@agent`.
    pub dataset: String,
    /// What to read.
    pub source: Source,
    /// The dataset's last snapshot, to skip what has not changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectId>,
    /// Tags of the snapshot.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Kind for BackupSpec {
    const KIND: JobKind = JobKind::Backup;
    const ROLE: Role = Role::Writes;

    fn check(&self) -> Result<(), Invalid> {
        crate::named("dataset", &self.dataset)?;
        self.source.check()
    }
}

/// Figures of a finished backup. Bytes throughout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BackupOutcome {
    /// The snapshot's id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub snapshot: ObjectId,
    /// Entries that are not directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Files taken over from the parent without reading them.
    pub files_unmodified: u64,
    /// Read from the source this time.
    pub bytes_read: u64,
    /// All files of the snapshot.
    pub bytes_total: u64,
    /// Plaintext of new blobs.
    pub bytes_new: u64,
    /// As uploaded: compressed and sealed.
    pub bytes_stored: u64,
    /// New blobs.
    #[serde(default)]
    pub blobs_new: u64,
    /// New packs.
    #[serde(default)]
    pub packs_new: u64,
    /// Of a physical backup of PostgreSQL: where it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPoint>,
    /// The snapshot lacks something that was asked for, such as one of several
    /// databases, and must not stand for a whole one; the warnings say what.
    #[serde(default)]
    pub partial: bool,
}

impl BackupOutcome {
    /// That of a snapshot of nothing.
    pub fn of(snapshot: ObjectId) -> Self {
        Self {
            snapshot,
            files: 0,
            directories: 0,
            files_unmodified: 0,
            bytes_read: 0,
            bytes_total: 0,
            bytes_new: 0,
            bytes_stored: 0,
            blobs_new: 0,
            packs_new: 0,
            cluster: None,
            partial: false,
        }
    }

    /// Takes back what it says of the future: it tells of what has happened, and
    /// its clock may be wrong.
    pub fn no_later_than(&mut self, now: Timestamp) {
        if let Some(cluster) = &mut self.cluster {
            cluster.ended = cluster.ended.min(now);
        }
    }
}

impl Figures for BackupOutcome {
    fn bound(&mut self) {
        limit([
            &mut self.files,
            &mut self.directories,
            &mut self.files_unmodified,
            &mut self.bytes_read,
            &mut self.bytes_total,
            &mut self.bytes_new,
            &mut self.bytes_stored,
            &mut self.blobs_new,
            &mut self.packs_new,
        ]);
    }

    fn check(&self) -> Result<(), Invalid> {
        self.cluster.as_ref().map_or(Ok(()), ClusterPoint::check)
    }
}
