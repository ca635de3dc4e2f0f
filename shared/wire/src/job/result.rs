//! What an attempt achieved, in figures.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use strongroom_proto::v1;

use super::{ClusterPoint, MAX_WARNINGS};
use crate::{
    InvalidMessage,
    field::{Reader, into_all},
};

/// Figures of a finished backup. Bytes throughout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupResult {
    /// The snapshot's id.
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
    pub blobs_new: u64,
    /// New packs.
    pub packs_new: u64,
    /// Of a physical backup of PostgreSQL: where it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPoint>,
    /// The snapshot lacks something that the policy asks for, such as one of
    /// several databases: it must not stand for a whole one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Figures of a finished restore. Bytes throughout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreResult {
    /// Entries restored that are not directories.
    pub files: u64,
    /// Directories restored.
    pub directories: u64,
    /// Written to the target.
    pub bytes_written: u64,
    /// Files that were already as in the snapshot.
    pub files_kept: u64,
    /// Fetched from the store.
    pub bytes_fetched: u64,
    /// Dry run: the first [`MAX_WARNINGS`] actions.
    pub plan: Vec<PlannedAction>,
    /// Dry run: all of them.
    pub plan_count: u64,
    /// For people: what is where now, and what else they should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// A server that was started on what was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<StartedServer>,
}

/// A PostgreSQL server that runs on a restored cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedServer {
    /// Of 127.0.0.1.
    pub port: u16,
    /// Where its socket is; absolute.
    pub socket_directory: String,
    /// The file that it writes to; absolute.
    pub log: String,
}

/// What a restore would do to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAction {
    /// Below the target, or the name of what is made in a server; need not be
    /// UTF-8.
    pub path: Vec<u8>,
    /// `create`, `replace`, `keep`; of a server's restore any verb.
    pub action: String,
    /// Size of the file; 0 where there is none.
    pub bytes: u64,
}

/// Entries of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListResult {
    /// In path order.
    pub entries: Vec<Entry>,
    /// There is more behind the last entry.
    pub truncated: bool,
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From the snapshot's root; need not be UTF-8.
    pub path: Vec<u8>,
    /// restic's node type: `file`, `dir`, `symlink`, `dev`, `chardev`, `fifo`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Permission, setuid, setgid and sticky bits, as `chmod` takes them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of a file.
    pub size: u64,
    /// RFC 3339.
    pub modified: String,
    /// Target of a symlink, else empty.
    pub link_target: Vec<u8>,
}

impl BackupResult {
    /// Takes back what it says of the future: it tells of what has happened, and
    /// its clock may be wrong.
    pub fn no_later_than(&mut self, now: Timestamp) {
        if let Some(cluster) = &mut self.cluster {
            cluster.ended = cluster.ended.min(now);
        }
    }
}

impl TryFrom<v1::BackupResult> for BackupResult {
    type Error = InvalidMessage;

    fn try_from(value: v1::BackupResult) -> Result<Self, InvalidMessage> {
        Ok(Self {
            snapshot: Reader("BackupResult").hex("snapshot", &value.snapshot)?,
            files: value.files,
            directories: value.directories,
            files_unmodified: value.files_unmodified,
            bytes_read: value.bytes_read,
            bytes_total: value.bytes_total,
            bytes_new: value.bytes_new,
            bytes_stored: value.bytes_stored,
            blobs_new: value.blobs_new,
            packs_new: value.packs_new,
            cluster: value.cluster.map(TryInto::try_into).transpose()?,
            partial: value.partial,
        })
    }
}

impl From<BackupResult> for v1::BackupResult {
    fn from(value: BackupResult) -> Self {
        Self {
            snapshot: value.snapshot.to_string(),
            files: value.files,
            directories: value.directories,
            files_unmodified: value.files_unmodified,
            bytes_read: value.bytes_read,
            bytes_total: value.bytes_total,
            bytes_new: value.bytes_new,
            bytes_stored: value.bytes_stored,
            blobs_new: value.blobs_new,
            packs_new: value.packs_new,
            cluster: value.cluster.map(Into::into),
            partial: value.partial,
        }
    }
}

impl TryFrom<v1::RestoreResult> for RestoreResult {
    type Error = InvalidMessage;

    fn try_from(value: v1::RestoreResult) -> Result<Self, InvalidMessage> {
        let read = Reader("RestoreResult");
        read.at_most("plan", MAX_WARNINGS, &value.plan)?;
        read.at_most("notes", MAX_WARNINGS, &value.notes)?;
        Ok(Self {
            files: value.files,
            directories: value.directories,
            bytes_written: value.bytes_written,
            files_kept: value.files_kept,
            bytes_fetched: value.bytes_fetched,
            plan: into_all(value.plan),
            plan_count: value.plan_count,
            notes: value.notes,
            server: value.server.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<RestoreResult> for v1::RestoreResult {
    fn from(value: RestoreResult) -> Self {
        Self {
            files: value.files,
            directories: value.directories,
            bytes_written: value.bytes_written,
            files_kept: value.files_kept,
            bytes_fetched: value.bytes_fetched,
            plan: into_all(value.plan),
            plan_count: value.plan_count,
            notes: value.notes,
            server: value.server.map(Into::into),
        }
    }
}

impl TryFrom<v1::StartedServer> for StartedServer {
    type Error = InvalidMessage;

    fn try_from(value: v1::StartedServer) -> Result<Self, InvalidMessage> {
        let port = u16::try_from(value.port).map_err(|_| {
            Reader("StartedServer").invalid("port", format!("{} is no port", value.port))
        })?;
        Ok(Self {
            port,
            socket_directory: value.socket_directory,
            log: value.log,
        })
    }
}

impl From<StartedServer> for v1::StartedServer {
    fn from(value: StartedServer) -> Self {
        Self {
            port: value.port.into(),
            socket_directory: value.socket_directory,
            log: value.log,
        }
    }
}

impl From<v1::PlannedAction> for PlannedAction {
    fn from(value: v1::PlannedAction) -> Self {
        Self {
            path: value.path,
            action: value.action,
            bytes: value.bytes,
        }
    }
}

impl From<PlannedAction> for v1::PlannedAction {
    fn from(value: PlannedAction) -> Self {
        Self {
            path: value.path,
            action: value.action,
            bytes: value.bytes,
        }
    }
}

impl From<v1::ListResult> for ListResult {
    fn from(value: v1::ListResult) -> Self {
        Self {
            entries: into_all(value.entries),
            truncated: value.truncated,
        }
    }
}

impl From<ListResult> for v1::ListResult {
    fn from(value: ListResult) -> Self {
        Self {
            entries: into_all(value.entries),
            truncated: value.truncated,
        }
    }
}

impl From<v1::Entry> for Entry {
    fn from(value: v1::Entry) -> Self {
        Self {
            kind: value.r#type,
            path: value.path,
            mode: value.mode,
            uid: value.uid,
            gid: value.gid,
            size: value.size,
            modified: value.modified,
            link_target: value.link_target,
        }
    }
}

impl From<Entry> for v1::Entry {
    fn from(value: Entry) -> Self {
        Self {
            r#type: value.kind,
            path: value.path,
            mode: value.mode,
            uid: value.uid,
            gid: value.gid,
            size: value.size,
            modified: value.modified,
            link_target: value.link_target,
        }
    }
}
