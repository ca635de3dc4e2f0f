//! What can go wrong while reading a repository.

use strongroom_layout::{ObjectId, ObjectName};

use crate::{
    RepositoryError,
    format::{
        FormatError,
        blob::{BlobId, BlobKind},
    },
    store::{StoreError, StoreErrorKind},
};

/// A failed read. Names the object at fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is not what its name says.
    #[error("{object} is damaged: {damage}")]
    Damaged {
        /// Which.
        object: ObjectName,
        /// How.
        #[source]
        damage: Box<Damage>,
    },
    /// A blob in a pack is not what the index says.
    #[error("{pack} is damaged: blob {blob} at byte {offset}: {damage}")]
    DamagedBlob {
        /// The pack.
        pack: ObjectName,
        /// The first half of the blob's id.
        blob: String,
        /// Where it lies.
        offset: u32,
        /// How.
        #[source]
        damage: Box<Damage>,
    },
    /// No index knows a blob that a snapshot needs.
    #[error(
        "{} {blob} is in no index{}: the repository is incomplete, `restic check` tells more",
        match kind { BlobKind::Data => "data blob", BlobKind::Tree => "tree" },
        perhaps(passed_over)
    )]
    NotIndexed {
        /// Chunk or tree.
        kind: BlobKind,
        /// Which.
        blob: BlobId,
        /// Index files that could not be read, and may have listed it.
        passed_over: Vec<ObjectName>,
    },
    /// The repository cannot be used.
    #[error(transparent)]
    Repository(RepositoryError),
    /// zstd cannot work.
    #[error("cannot make a decompressor: {0}")]
    Codec(#[source] FormatError),
    /// More than the index in memory can hold.
    #[error("the index lists more than {0}, the most that this program can handle")]
    TooLarge(&'static str),
    /// The process is ending.
    #[error("reading was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Which index files may have listed what is in none.
fn perhaps(passed_over: &[ObjectName]) -> String {
    /// So many are named.
    const NAMED: usize = 3;
    let Some(more) = passed_over.len().checked_sub(1) else {
        return String::new();
    };
    let named: Vec<_> = passed_over
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let rest = match (more + 1).saturating_sub(NAMED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!(
        " that can be read; it may have been in {}{rest}, which cannot",
        named.join(", ")
    )
}

/// How an object is damaged.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is gone.
    #[error("it is missing from the store")]
    Missing,
    /// It is too short.
    #[error("it is truncated: {got} of {expected} bytes")]
    Truncated {
        /// Bytes that are there.
        got: u64,
        /// Bytes that should be.
        expected: u64,
    },
    /// Its bytes are other bytes.
    #[error("its content hashes to {got}")]
    WrongHash {
        /// What it hashes to.
        got: ObjectId,
    },
    /// Its bytes cannot be opened or decoded.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ReadError {
    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Repository(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the repository itself is at fault, not the way to it.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::DamagedBlob { .. } | Self::NotIndexed { .. }
        )
    }

    /// Whether another place of the same blob may do better: this one is
    /// damaged, or not for this job to read.
    pub fn is_of_one_place(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::DamagedBlob { .. } => true,
            Self::Store(error) => error.is_unreadable(),
            _ => false,
        }
    }

    /// Whether an object is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Damaged { damage, .. } if matches!(**damage, Damage::Missing))
    }

    /// What a failed load of `object`, which should be there, means.
    pub fn from_repository(object: ObjectName, error: RepositoryError) -> Self {
        match error {
            RepositoryError::Store(error) => Self::from_get(object, error),
            RepositoryError::Format { source, .. } => Self::damaged(object, Damage::Format(source)),
            error => Self::Repository(error),
        }
    }

    /// What a failed GET of `object`, which should be there, means.
    pub(crate) fn from_get(object: ObjectName, error: StoreError) -> Self {
        let damage = match error.kind {
            StoreErrorKind::NotFound => Damage::Missing,
            StoreErrorKind::Truncated { got, expected } => Damage::Truncated { got, expected },
            _ => return Self::Store(error),
        };
        Self::damaged(object, damage)
    }

    /// Damage of a whole object.
    pub(crate) fn damaged(object: ObjectName, damage: Damage) -> Self {
        let damage = Box::new(damage);
        Self::Damaged { object, damage }
    }
}
