//! What a check found.

use serde::Serialize;

use crate::read::ReadError;

/// How many problems a report carries in full.
pub const MAX_PROBLEMS: usize = 1_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object's path in the repository, or the path in a snapshot.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Trees that were read, each once.
    pub trees: u64,
    /// Blobs in the index.
    pub blobs: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Bytes of packs that were read and verified.
    pub bytes_read: u64,
    /// The first [`MAX_PROBLEMS`], sorted.
    pub problems: Vec<Problem>,
    /// All of them.
    pub problem_count: u64,
    /// What is odd but harmless, such as packs that no index names.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    pub(super) fn add(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                object: object.into(),
                what: what.into(),
            });
        }
    }

    pub(super) fn add_error(&mut self, error: &ReadError) {
        match error {
            ReadError::Damaged { object, damage } => self.add(object.path(), damage.to_string()),
            ReadError::DamagedBlob {
                pack,
                blob,
                offset,
                damage,
            } => self.add(
                pack.path(),
                format!("blob {blob} at byte {offset}: {damage}"),
            ),
            error => self.add("repository", error.to_string()),
        }
    }

    pub(super) fn finish(&mut self) {
        self.problems.sort();
    }
}
