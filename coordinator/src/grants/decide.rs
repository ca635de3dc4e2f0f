//! May this request be signed? Pure: no clock, no catalog, no network.
//!
//! What an agent may do, whatever else it asks for:
//!
//! | job | GET | PUT |
//! |---|---|---|
//! | backup | config, keys, index, locks, its parent's snapshot, packs known to hold trees | packs, index, locks; config and keys if it creates the repository |
//! | restore | config, keys, index, locks, packs, its own snapshot, wal | locks |
//! | list | config, keys, index, locks, packs known to hold trees, its own snapshot | locks |
//! | download | as a restore, without wal | locks, transfers |
//! | upload | as a backup, and the pieces of this very upload | as a backup |
//! | wal | config, keys, index, locks | wal, locks; config and keys if it creates the repository |
//!
//! Of other packs, a backup may read the header, and no more (`headers`).
//!
//! Nobody may write over what the catalog does not know ([`must_be_new`]): what
//! lies in the store already is foreign, and recording it as an attempt's own
//! would let that attempt read or remove it.
//!
//! Nobody may DELETE. Everybody may ask by HEAD how long an object is whose hash
//! he knows: that is how a PUT that found its object there is told from one
//! that failed. A snapshot is written only through `Publish`, which
//! [`decide_publish`] judges. Everything is in the repository of the job: an
//! agent cannot name another.

use jiff::Timestamp;
use strongroom_layout::{AgentId, ObjectId, ObjectKind, ObjectName};
use strongroom_transfer::MAX_OBJECT;
use strongroom_wire::{
    grant::{Action, RefusalReason, RequestToSign},
    wal::UNIT,
};

/// What the coordinator knows of the attempt that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptState {
    /// Whose attempt it is.
    pub agent: AgentId,
    /// It is the job's newest attempt and has not ended.
    pub current: bool,
    /// Until when its lease holds, this moment excluded.
    pub lease_until: Timestamp,
    /// What the job may touch.
    pub scope: Scope,
}

/// What a job may touch in its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A backup.
    Backup {
        /// It creates the repository.
        create: bool,
        /// The snapshot it compares with.
        parent: Option<ObjectId>,
    },
    /// A backup of what an operator uploads.
    Upload {
        /// It creates the repository.
        create: bool,
    },
    /// A download of a part of one snapshot.
    Download {
        /// Which.
        snapshot: ObjectId,
    },
    /// Archiving of a write-ahead log.
    Wal {
        /// It creates the repository.
        create: bool,
    },
    /// A restore of one snapshot.
    Read {
        /// Which.
        snapshot: ObjectId,
    },
    /// A listing of what one snapshot holds.
    List {
        /// Which.
        snapshot: ObjectId,
    },
}

impl Scope {
    /// Whether it adds nothing to the repository.
    pub fn only_reads(self) -> bool {
        match self {
            Self::Read { .. } | Self::List { .. } | Self::Download { .. } => true,
            Self::Backup { .. } | Self::Upload { .. } | Self::Wal { .. } => false,
        }
    }
}

/// Judges one request of `asking` for `attempt`, which is `None` when there is
/// no such attempt. `known` is the kind under which the catalog recorded an
/// object of this name when it was written; `None` if it never did. For a
/// piece of a transfer it is `None` too when it is of another transfer.
///
/// The reasons are checked in an order that tells an agent nothing about the
/// attempts of others.
pub fn decide(
    attempt: Option<&AttemptState>,
    asking: AgentId,
    request: &RequestToSign,
    known: Option<ObjectKind>,
    now: Timestamp,
) -> Result<(), RefusalReason> {
    let scope = live_scope(attempt, asking, now)?;
    match request.action {
        Action::Delete => Err(RefusalReason::DeleteForbidden),
        Action::Head => Ok(()),
        Action::Get { .. } => decide_get(scope, request.object, known),
        Action::Put { length, sha256 } => decide_put(scope, request.object, length, sha256, known),
    }
}

/// Whether a PUT that was allowed also needs the store's word that there is no
/// such object yet: the catalog never granted it to anybody. `config` needs it
/// not, for the store itself lets nobody replace it.
pub fn must_be_new(request: &RequestToSign, known: Option<ObjectKind>) -> bool {
    matches!(request.action, Action::Put { .. })
        && known.is_none()
        && request.object.kind() != ObjectKind::Config
}

/// Judges the PUT of a backup's snapshot file.
pub fn decide_publish(
    attempt: Option<&AttemptState>,
    asking: AgentId,
    length: u64,
    now: Timestamp,
) -> Result<(), RefusalReason> {
    match live_scope(attempt, asking, now)? {
        Scope::Backup { .. } | Scope::Upload { .. }
            if length > max_length(ObjectKind::Snapshot) =>
        {
            Err(RefusalReason::TooLarge)
        }
        Scope::Backup { .. } | Scope::Upload { .. } => Ok(()),
        Scope::Read { .. } | Scope::List { .. } | Scope::Download { .. } | Scope::Wal { .. } => {
            Err(RefusalReason::WriteForbidden)
        }
    }
}

/// Judges what needs no object: listing a directory, releasing locks.
pub fn live_scope(
    attempt: Option<&AttemptState>,
    asking: AgentId,
    now: Timestamp,
) -> Result<Scope, RefusalReason> {
    let attempt = attempt
        .filter(|attempt| attempt.agent == asking)
        .ok_or(RefusalReason::UnknownAttempt)?;
    if !attempt.current {
        Err(RefusalReason::AttemptEnded)
    } else if attempt.lease_until <= now {
        Err(RefusalReason::LeaseExpired)
    } else {
        Ok(attempt.scope)
    }
}

#[expect(clippy::match_same_arms, reason = "one arm per rule of the table")]
fn decide_get(
    scope: Scope,
    object: ObjectName,
    known: Option<ObjectKind>,
) -> Result<(), RefusalReason> {
    let allowed = match (object.kind(), scope) {
        (ObjectKind::Config | ObjectKind::Key | ObjectKind::Index | ObjectKind::Lock, _) => true,
        (ObjectKind::Snapshot, Scope::Backup { parent, .. }) => {
            parent.is_some() && object.id() == parent
        }
        (ObjectKind::Snapshot, Scope::Upload { .. } | Scope::Wal { .. }) => false,
        (
            ObjectKind::Snapshot,
            Scope::Read { snapshot } | Scope::List { snapshot } | Scope::Download { snapshot },
        ) => object.id() == Some(snapshot),
        // Data and tree packs share a directory. What the agent calls it does
        // not matter; what it was called when it was written does.
        (
            ObjectKind::TreePack,
            Scope::Backup { .. } | Scope::Upload { .. } | Scope::List { .. },
        ) => known == Some(ObjectKind::TreePack),
        (
            ObjectKind::DataPack,
            Scope::Backup { .. } | Scope::Upload { .. } | Scope::List { .. },
        ) => false,
        (ObjectKind::DataPack | ObjectKind::TreePack, Scope::Wal { .. }) => false,
        (
            ObjectKind::DataPack | ObjectKind::TreePack,
            Scope::Read { .. } | Scope::Download { .. },
        ) => true,
        (ObjectKind::Transfer, Scope::Upload { .. }) => known == Some(ObjectKind::Transfer),
        (ObjectKind::Transfer, _) => false,
        // Only a restore needs what was archived: a stolen host cannot read
        // its history here either.
        (ObjectKind::Wal, Scope::Read { .. }) => true,
        (ObjectKind::Wal, _) => false,
    };
    allowed.then_some(()).ok_or(RefusalReason::ReadForbidden)
}

#[expect(clippy::match_same_arms, reason = "one arm per rule of the table")]
fn decide_put(
    scope: Scope,
    object: ObjectName,
    length: u64,
    sha256: ObjectId,
    known: Option<ObjectKind>,
) -> Result<(), RefusalReason> {
    let kind = object.kind();
    let allowed = match (kind, scope) {
        (ObjectKind::Lock, _) => true,
        (ObjectKind::Transfer, Scope::Download { .. }) => true,
        (ObjectKind::Transfer, _) => false,
        (ObjectKind::Wal, Scope::Wal { .. }) => true,
        (ObjectKind::Wal, _) => false,
        (
            ObjectKind::DataPack | ObjectKind::TreePack | ObjectKind::Index,
            Scope::Backup { .. } | Scope::Upload { .. },
        ) => true,
        (
            ObjectKind::Config | ObjectKind::Key,
            Scope::Backup { create, .. } | Scope::Upload { create } | Scope::Wal { create },
        ) => create,
        (ObjectKind::Snapshot, Scope::Backup { .. } | Scope::Upload { .. }) => {
            return Err(RefusalReason::NotPublished);
        }
        (
            _,
            Scope::Read { .. } | Scope::List { .. } | Scope::Download { .. } | Scope::Wal { .. },
        ) => false,
    };
    // A data pack must not become readable to backups by being declared a
    // tree pack later.
    if !allowed || known.is_some_and(|known| known != kind) {
        return Err(RefusalReason::WriteForbidden);
    }
    if object.id().is_some_and(|id| id != sha256) {
        return Err(RefusalReason::HashMismatch);
    }
    if length > max_length(kind) {
        return Err(RefusalReason::TooLarge);
    }
    Ok(())
}

/// The largest object of a kind, bytes: well above what the engine writes
/// (packs of 16 to 128 MiB, index files below 8 MiB), so that it stops abuse
/// and never work. One directory with a million entries is a tree of some
/// 100 MiB even when compressed.
pub fn max_length(kind: ObjectKind) -> u64 {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    match kind {
        ObjectKind::Config | ObjectKind::Key | ObjectKind::Lock => 64 * KIB,
        ObjectKind::Snapshot => 4 * MIB,
        ObjectKind::Transfer => MAX_OBJECT as u64,
        // A unit that does not compress.
        ObjectKind::Wal => UNIT + MIB,
        ObjectKind::Index => 64 * MIB,
        ObjectKind::DataPack | ObjectKind::TreePack => 512 * MIB,
    }
}

#[cfg(test)]
mod tests;
