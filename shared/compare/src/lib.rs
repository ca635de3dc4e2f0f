//! Compares a restored directory tree with its source, byte for byte and
//! metadata for metadata.
//!
//! Written once and used by `strongroom dev`, the tests and drills, so that
//! "identical" means the same everywhere: type, mode, owner, group, time of
//! modification to the nanosecond (directories and symlinks included), size,
//! content, symlink target, device number, extended attributes with the ACLs
//! among them, and which paths are hard links of one another. Whether a file
//! is sparse is not compared, nor access and inode change times, which no
//! restore can or should bring back. Sockets are left out: backups skip them.
//!
//! Trees are walked with `openat` from their roots (see [`beneath`]), so that
//! neither symlinks nor paths beyond `PATH_MAX` matter. Memory grows with the
//! largest directory and the number of hard-linked files, with nothing else.

pub mod beneath;
mod content;
mod difference;
mod entry;
mod links;
mod metadata;
mod queue;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use difference::{Difference, EscapedPath};

/// How many differences a [`Comparison`] carries in full.
pub const MAX_DIFFERENCES: usize = 1_000;

/// Says whether a path of the source is left out: absolute path, and whether
/// it is a directory.
pub type Excluded = Box<dyn Fn(&Path, bool) -> bool + Send + Sync>;

/// What to compare and what to leave out.
pub struct CompareOptions {
    /// Absolute paths of the source that are left out, with all below them.
    pub skip: Vec<PathBuf>,
    /// Further paths of the source that are left out, with all below them.
    pub excluded: Option<Excluded>,
    /// Compare owner and group. Only root can restore them.
    pub owners: bool,
    /// Threads that read; at least one.
    pub threads: usize,
}

impl Default for CompareOptions {
    /// Everything, owners included, on all cores.
    fn default() -> Self {
        Self {
            skip: Vec::new(),
            excluded: None,
            owners: true,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl fmt::Debug for CompareOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompareOptions")
            .field("skip", &self.skip)
            .field("excluded", &self.excluded.is_some())
            .field("owners", &self.owners)
            .field("threads", &self.threads)
            .finish()
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Comparison {
    /// Entries of the source that were compared, directories included.
    pub entries: u64,
    /// Bytes of file content that were found equal or different; the links of
    /// one file count once.
    pub bytes: u64,
    /// The first [`MAX_DIFFERENCES`], sorted by path.
    pub differences: Vec<Difference>,
    /// All of them.
    pub difference_count: u64,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_identical(&self) -> bool {
        self.difference_count == 0
    }
}

/// A comparison that could not be made at all. What concerns single entries
/// is a [`Difference`].
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One of the two roots cannot be opened.
    #[error("cannot open {path} to compare it: {source}; check that it exists and is readable", path = EscapedPath(path))]
    Root {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread to compare with: {0}")]
    Thread(io::Error),
}

/// Compares `restored` with `source`. Either may also be a single file.
///
/// The restored tree of a snapshot for the paths `["/srv/a"]` lies at
/// `TARGET/srv/a`, as with restic: its root tree starts at `/`.
pub fn compare(
    source: &Path,
    restored: &Path,
    options: &CompareOptions,
) -> Result<Comparison, CompareError> {
    walk::compare(source, restored, options)
}
