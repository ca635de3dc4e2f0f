//! Grants: S3 requests that the coordinator signs for an attempt.

mod convert;

use serde::{Deserialize, Serialize};
use strongroom_layout::{AttemptRef, Directory, ObjectId, ObjectName};

use strongroom_spec::BackupOutcome;

/// A batch of requests to sign, all for one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// Answered in this order.
    pub requests: Vec<RequestToSign>,
}

/// One S3 request, exactly as it will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestToSign {
    /// Which object of the attempt's repository.
    pub object: ObjectName,
    /// What to do with it.
    pub action: Action,
}

/// What an agent wants to do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read it, or the inclusive byte range of it.
    Get {
        /// First and last byte.
        range: Option<(u64, u64)>,
    },
    /// Ask how long it is.
    Head,
    /// Write it.
    Put {
        /// Bytes of the body.
        length: u64,
        /// SHA-256 of the body.
        sha256: ObjectId,
    },
    /// Never granted; agents that ask are audited.
    Delete,
}

/// The coordinator's answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignAnswer {
    /// Signed.
    Grant(Grant),
    /// Not signed.
    Refusal(Refusal),
}

/// A signed S3 request. The headers hold a signature, never a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `GET`, `HEAD` or `PUT`.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// To be sent as they are.
    pub headers: Vec<(String, String)>,
    /// How long the store will accept it.
    pub valid_seconds: u32,
}

/// Why a request was not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs and the audit log.
    pub reason: RefusalReason,
    /// For people.
    pub message: String,
}

/// The reasons for which a grant is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// No such attempt, or it is another agent's.
    UnknownAttempt,
    /// The attempt has ended or a newer one has begun.
    AttemptEnded,
    /// The lease ran out.
    LeaseExpired,
    /// Agents never delete.
    DeleteForbidden,
    /// This kind of job may not read this kind of object.
    ReadForbidden,
    /// This kind of job may not write this kind of object.
    WriteForbidden,
    /// The object's name is not the body's hash.
    HashMismatch,
    /// Larger than any object of its kind.
    TooLarge,
    /// The snapshot must be published through `Publish`.
    NotPublished,
    /// An object of this name lies in the store, and no agent was asked to write
    /// it.
    AlreadyThere,
    /// The attempt has used up what it may write.
    OverBudget,
    /// The store could not be checked yet; it may be soon.
    StoreUnchecked,
    /// The store accepts forged requests, and no operator has accepted that.
    StoreUnsafe,
    /// The store does not hold what is said to be there.
    NotStored,
    /// The archived log holds other content at the same place.
    LogConflict,
    /// No base backup of the cluster is there, but of another.
    OtherCluster,
}

impl RefusalReason {
    /// Every reason, for tables and tests.
    pub const ALL: [Self; 16] = [
        Self::UnknownAttempt,
        Self::AttemptEnded,
        Self::LeaseExpired,
        Self::DeleteForbidden,
        Self::ReadForbidden,
        Self::WriteForbidden,
        Self::HashMismatch,
        Self::TooLarge,
        Self::NotPublished,
        Self::AlreadyThere,
        Self::OverBudget,
        Self::StoreUnchecked,
        Self::StoreUnsafe,
        Self::NotStored,
        Self::LogConflict,
        Self::OtherCluster,
    ];

    /// The word on the wire and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownAttempt => "unknown-attempt",
            Self::AttemptEnded => "attempt-ended",
            Self::LeaseExpired => "lease-expired",
            Self::DeleteForbidden => "delete-forbidden",
            Self::ReadForbidden => "read-forbidden",
            Self::WriteForbidden => "write-forbidden",
            Self::HashMismatch => "hash-mismatch",
            Self::TooLarge => "too-large",
            Self::NotPublished => "not-published",
            Self::AlreadyThere => "already-there",
            Self::OverBudget => "over-budget",
            Self::StoreUnchecked => "store-unchecked",
            Self::StoreUnsafe => "store-unsafe",
            Self::NotStored => "not-stored",
            Self::LogConflict => "log-conflict",
            Self::OtherCluster => "other-cluster",
        }
    }
}

/// The answers to a [`SignRequest`], in the order asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignResponse {
    /// As many as there were requests.
    pub answers: Vec<SignAnswer>,
}

/// Lists one directory of the attempt's repository, page by page: one of data
/// may hold a million objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjectsRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// What to list.
    pub directory: Directory,
    /// Only what comes behind it; `None`: from the first on.
    pub after: Option<ObjectId>,
}

/// The answer to a [`ListObjectsRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjectsResponse {
    /// By id, ascending.
    pub objects: Vec<ListedObject>,
    /// There may be more behind the last of them.
    pub more: bool,
}

/// One object in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub id: ObjectId,
    /// Bytes.
    pub size: u64,
}

/// Asks the coordinator to delete locks that this attempt wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLocksRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// Which locks.
    pub ids: Vec<ObjectId>,
}

/// The last write of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// SHA-256 of the stored snapshot file; also in [`BackupOutcome::snapshot`].
    pub snapshot: ObjectId,
    /// Bytes of the stored snapshot file.
    pub length: u64,
    /// What the catalog will show.
    pub result: BackupOutcome,
    /// The time in the snapshot, Unix microseconds.
    pub snapshot_time_us: i64,
}

/// The answer to a [`PublishRequest`]: the grant to PUT the snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishResponse {
    /// Granted or refused.
    pub answer: SignAnswer,
}
