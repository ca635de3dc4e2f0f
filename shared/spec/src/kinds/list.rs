//! The listing: reads a snapshot's trees.

use serde::{Deserialize, Deserializer, Serialize};
use strongroom_layout::ObjectId;

use super::{Facts, Figures, JobKind, Kind, Lock, Role, fitting};
use crate::{
    Invalid, RawPath,
    clip::{NAME, cut, limit},
};

/// Paths that are read back; bytes.
const LONG_PATH: usize = 64 << 10;
/// Entries of a listing; no operator may ask for more.
const LISTED: usize = 10_000;

/// Asks what is in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSpec {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// Directory inside the snapshot; `/` for the root.
    pub path: String,
    /// Everything below, or one level.
    pub recursive: bool,
    /// Entries at most.
    pub limit: u32,
    /// Continue behind this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Kind for ListSpec {
    const KIND: JobKind = JobKind::List;
    const ROLE: Role = Role::Reads;
    /// Over in a moment, and harmless if a prune comes in between.
    const LOCK: Lock = Lock::None;

    fn facts(&self) -> Facts {
        Facts {
            snapshot: Some(self.snapshot),
            ..Facts::default()
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        crate::named("path", &self.path)
    }
}

/// Entries of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListOutcome {
    /// In path order.
    pub entries: Vec<Entry>,
    /// There is more behind the last entry.
    pub truncated: bool,
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Entry {
    /// From the snapshot's root.
    pub path: RawPath,
    /// restic's node type: `file`, `dir`, `symlink`, `dev`, `chardev`, `fifo`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Permission, setuid, setgid and sticky bits, as `chmod` takes them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// RFC 3339.
    pub modified: String,
    /// Where a symlink points.
    #[serde(default, deserialize_with = "link")]
    pub link_target: Option<RawPath>,
}

/// Catalogs and outboxes of before have empty ones for whatever is no link.
fn link<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RawPath>, D::Error> {
    let target = Option::<RawPath>::deserialize(deserializer)?;
    Ok(target.filter(|target| !target.is_empty()))
}

impl Figures for ListOutcome {
    fn fit(&mut self, bytes: usize) {
        let fits = fitting(&self.entries, bytes);
        self.truncated |= fits < self.entries.len();
        self.entries.truncate(fits);
    }

    fn bound(&mut self) {
        self.truncated |= self.entries.len() > LISTED;
        self.entries.truncate(LISTED);
        for entry in &mut self.entries {
            entry.path.0.truncate(LONG_PATH);
            if let Some(target) = &mut entry.link_target {
                target.0.truncate(LONG_PATH);
            }
            cut(&mut entry.kind, NAME);
            cut(&mut entry.modified, NAME);
            limit([&mut entry.size]);
        }
    }
}
