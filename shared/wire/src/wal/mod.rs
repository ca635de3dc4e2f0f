//! The write-ahead log in the store: what agents enter into the catalog, and
//! what they learn from it.

mod bounds;
mod convert;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_layout::{
    AttemptRef, ObjectId, ObjectName, SystemId, WalName, WalPart,
    position::{Lsn, TimelineId},
};

use strongroom_spec::Leg;

/// What a [`RecordWalRequest`] holds at most of parts, and an
/// [`ArchivedWalResponse`] too.
pub const MAX_STORED: usize = 1_000;
/// What a part holds at most of restore points: its first ones. Whoever does not
/// find his among them reads the log.
pub const MAX_POINTS: usize = 100;
/// What a [`RecordWalRequest`] holds at most of restore points and of legs of
/// histories, together: each is written by itself.
pub const MAX_DETAILS: usize = 1_000;
/// The log is stored in parts that lie within multiples of this, bytes: a whole
/// segment of the usual size, and a bounded piece of a larger one.
pub const UNIT: u64 = 16 << 20;
/// What a [`StoredWal`] holds at most of digests.
pub const MAX_DIGESTS: usize = 16;
/// The longest name that `pg_create_restore_point` takes, bytes.
pub const MAX_RESTORE_POINT: usize = 63;

/// Enters what is in the store into the catalog. Said twice, it is said once.
/// Has [`MAX_DETAILS`] restore points and legs at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordWalRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// Parts of the log.
    pub stored: Vec<StoredWal>,
    /// Timelines' history files.
    pub histories: Vec<StoredHistory>,
    /// How far the log is known.
    pub position: Option<WalPosition>,
    /// The server's log ends before what is archived of it.
    pub behind: Option<WalBehind>,
}

/// A server that was put back to an earlier state: what it writes from now on is
/// another story than what is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalBehind {
    /// Whose log.
    pub system: SystemId,
    /// Which history.
    pub timeline: TimelineId,
    /// Where the server's log ends.
    pub flushed: Lsn,
    /// Where the archived log of that timeline ends.
    pub archived: Lsn,
}

/// A keyed digest of the log from where its unit begins up to here: what is the
/// same at the same place has the same. It says nothing to who lacks the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalDigest {
    /// Behind the last byte.
    pub at: Lsn,
    /// HMAC-SHA-256.
    pub digest: ObjectId,
}

/// A part of the log that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWal {
    /// Whose log.
    pub system: SystemId,
    /// Which history.
    pub timeline: TimelineId,
    /// The first byte.
    pub start: Lsn,
    /// Behind the last byte.
    pub end: Lsn,
    /// SHA-256 of the stored bytes.
    pub id: ObjectId,
    /// How many those are.
    pub length: u64,
    /// The transactions that are committed in it; `None`: none.
    pub commits: Option<Commits>,
    /// What was named in it, [`MAX_POINTS`] at most: each in it, or at its end.
    pub restore_points: Vec<RestorePoint>,
    /// Said when it is entered, never in answers: that of its end, and more where
    /// earlier parts of its unit ended.
    pub digests: Vec<WalDigest>,
}

impl StoredWal {
    /// The object that holds it.
    pub fn object(&self) -> ObjectName {
        ObjectName::Wal(WalName {
            system: self.system,
            timeline: self.timeline,
            part: WalPart::Range {
                start: self.start,
                end: self.end,
            },
            id: self.id,
        })
    }
}

/// Transactions whose commit ends in a part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commits {
    /// How many; not 0.
    pub count: u64,
    /// The latest time in them.
    pub last: Timestamp,
    /// The least transaction id.
    pub first_xid: u32,
    /// The greatest.
    pub last_xid: u32,
}

/// What `pg_create_restore_point` named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name; need not be unique.
    pub name: String,
    /// Behind its record.
    pub lsn: Lsn,
    /// When.
    pub at: Timestamp,
}

/// A timeline's history file that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHistory {
    /// Whose log.
    pub system: SystemId,
    /// Whose history.
    pub timeline: TimelineId,
    /// SHA-256 of the stored bytes.
    pub id: ObjectId,
    /// How many those are.
    pub length: u64,
    /// What came before it, oldest first: each with where it was left.
    pub legs: Vec<Leg>,
    /// Keyed, of the file; `None`: it was archived by an earlier version.
    pub digest: Option<ObjectId>,
}

impl StoredHistory {
    /// The object that holds it.
    pub fn object(&self) -> ObjectName {
        ObjectName::Wal(WalName {
            system: self.system,
            timeline: self.timeline,
            part: WalPart::History,
            id: self.id,
        })
    }
}

/// The log is in the store up to here, and at that time there was no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalPosition {
    /// Whose log.
    pub system: SystemId,
    /// Which history.
    pub timeline: TimelineId,
    /// Behind the last byte.
    pub lsn: Lsn,
    /// By the server's clock; `None`: not known.
    pub as_of: Option<Timestamp>,
    /// What the server keeps because of us, bytes.
    pub waiting: u64,
    /// What is wrong, for people.
    pub problem: Option<String>,
}

/// Asks what the catalog knows of a cluster's log in the attempt's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedWalRequest {
    /// Who asks.
    pub attempt: AttemptRef,
    /// Whose log.
    pub system: SystemId,
    /// Which parts; `None`: only the tail and the histories.
    pub parts: Option<WalRange>,
    /// Of several logs of one cluster that hold different things at one place.
    /// Who archives is told of the one that goes on, whatever this says.
    pub line: u32,
}

/// Parts of one timeline. No part crosses a multiple of [`UNIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRange {
    /// Which.
    pub timeline: TimelineId,
    /// What begins at this or behind it.
    pub from: Lsn,
    /// And before this; `None`: all.
    pub to: Option<Lsn>,
}

/// The answer to an [`ArchivedWalRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedWalResponse {
    /// By start, ascending; of several with one start the longest first.
    pub stored: Vec<StoredWal>,
    /// There may be more behind the start of the last.
    pub more: bool,
    /// Of the cluster, by timeline.
    pub histories: Vec<StoredHistory>,
    /// Where the newest stretch of each timeline ends. A coordinator of an earlier
    /// version says only that of the newest.
    pub tails: BTreeMap<TimelineId, Lsn>,
}
