//! Why a repository cannot be used.

use jiff::Timestamp;
use strongroom_layout::ObjectName;

use crate::{format::FormatError, store::StoreError};

/// A failed operation on a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store failed; the error names the object.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is damaged, swapped, or not what it should be.
    #[error("{object}: {source}")]
    Format {
        /// Its path.
        object: String,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// There is no config.
    #[error(
        "there is no repository here (no object named `config`): check the location, or create one first"
    )]
    NoRepository,
    /// There is a config already.
    #[error("there is a repository here already: open it, or choose another location")]
    AlreadyExists,
    /// `keys/` is empty.
    #[error("the repository has no key in `keys/`: restore that directory from a copy")]
    NoKeys,
    /// No key opens.
    #[error(
        "wrong password: it opens none of the repository's {keys} key(s); is it the password of another repository?"
    )]
    WrongPassword {
        /// How many were tried.
        keys: usize,
    },
    /// Somebody else holds a lock that excludes ours.
    #[error(
        "the repository is locked{} by {holder} since {since} ({object}): wait until it has ended, or if it is gone run `restic unlock`",
        if *exclusive { " exclusively" } else { "" }
    )]
    Locked {
        /// The lock's path.
        object: String,
        /// Whether it excludes everybody.
        exclusive: bool,
        /// User, host and process.
        holder: String,
        /// When the lock was last refreshed.
        since: Timestamp,
    },
    /// No snapshot fits.
    #[error("no snapshot {query:?} in the repository, which holds {count}")]
    NoSuchSnapshot {
        /// What was asked for.
        query: String,
        /// How many there are.
        count: usize,
    },
    /// More than one snapshot fits.
    #[error("{query:?} stands for {count} snapshots: give more digits")]
    AmbiguousSnapshot {
        /// What was asked for.
        query: String,
        /// How many fit.
        count: usize,
    },
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

impl RepositoryError {
    /// Puts the object's name to what is wrong with it.
    pub fn in_object(object: ObjectName) -> impl FnOnce(FormatError) -> Self {
        move |source| Self::Format {
            object: object.path(),
            source,
        }
    }

    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Locked { .. } => true,
            _ => false,
        }
    }
}
