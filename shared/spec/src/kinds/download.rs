//! The download: reads a snapshot, seals a part of it to an operator.

use serde::{Deserialize, Serialize};
use strongroom_layout::ObjectId;
use strongroom_transfer::PublicKey;

use super::{Facts, Figures, JobKind, Kind, Role};
use crate::{
    Invalid,
    clip::{NAME, cut, limit},
};

/// Asks for a part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadSpec {
    /// Which snapshot.
    pub snapshot: ObjectId,
    /// A file of it, or a directory, which becomes a tar; `/` for all of it.
    pub path: String,
    /// Whose eyes it is for.
    pub reader: PublicKey,
}

impl Kind for DownloadSpec {
    const KIND: JobKind = JobKind::Download;
    const ROLE: Role = Role::Reads;

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

/// What waits in the store for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DownloadOutcome {
    /// The manifest of the pieces: 64 hex digits.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
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

impl Figures for DownloadOutcome {
    fn bound(&mut self) {
        cut(&mut self.file_name, NAME);
        limit([&mut self.bytes, &mut self.files]);
    }
}
