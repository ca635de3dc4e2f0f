//! Records that say what became of a transaction, and others that matter.
//!
//! Source: PostgreSQL's `access/xlogrecord.h`, `access/xact.h`,
//! `catalog/pg_control.h` and `access/xlog_internal.h`.

use super::{page::Fault, tablespace::TablespaceCreation, unix_micros};
use crate::physical::{Lsn, u32_at, u64_at};

/// `SizeOfXLogRecord`.
pub(super) const RECORD_HEADER: usize = 24;
/// `XLogRecordMaxSize`, and what versions before 16 could write.
pub(super) const LONGEST_RECORD: u32 = 1 << 30;

/// Before this the header is summed up.
const CRC_AT: usize = 20;
const RM_XLOG: u8 = 0;
const RM_XACT: u8 = 1;
const RM_TBLSPC: u8 = 5;
/// `RM_MIN_CUSTOM_ID`: from here on they are of extensions.
const FIRST_CUSTOM: u8 = 128;

/// Of a commit or an abort, the time stands at the start.
const START_OF_RECORD: usize = 64;
/// A restore point's name is of 64 bytes.
const RESTORE_POINT: usize = 128;
/// Of a prepared transaction's end: its number stands behind the lists of its
/// subtransactions, files and invalidations, which seldom are long.
const PREPARED: usize = 1 << 20;
/// Of a new tablespace: a number, and a path of at most 1,024 bytes.
const TABLESPACE: usize = 2048;

/// What a log says that matters to whoever wants to go back to a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A transaction that counts from here on.
    Commit {
        /// Behind its record.
        end: Lsn,
        /// Its number; 0: a prepared one's that stands too far back in a very
        /// long record.
        xid: u32,
        /// When, by the server's clock: microseconds since 1970.
        at: i64,
    },
    /// A transaction that was taken back.
    Abort {
        /// Behind its record.
        end: Lsn,
        /// As that of a commit.
        xid: u32,
        /// When, by the server's clock: microseconds since 1970.
        at: i64,
    },
    /// `pg_create_restore_point`.
    RestorePoint {
        /// Behind its record.
        end: Lsn,
        /// As given; what is no UTF-8 is replaced.
        name: String,
        /// When, by the server's clock: microseconds since 1970.
        at: i64,
    },
    /// `CREATE TABLESPACE`.
    Tablespace(TablespaceCreation),
}

impl Found {
    /// Behind its record.
    pub fn end(&self) -> Lsn {
        match self {
            Self::Commit { end, .. } | Self::Abort { end, .. } | Self::RestorePoint { end, .. } => {
                *end
            }
            Self::Tablespace(creation) => creation.end,
        }
    }
}

/// What a record is about, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that is read.
    Other,
    /// The rest of the segment is empty.
    Switch,
    /// A transaction's end.
    Ending {
        /// Or an abort.
        commit: bool,
        /// In two phases, of which this is the second.
        prepared: bool,
    },
    /// A name for this place.
    RestorePoint,
    /// A new tablespace.
    Tablespace,
}

/// `XLogRecord`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader([u8; RECORD_HEADER]);

impl RecordHeader {
    pub(super) fn new(bytes: [u8; RECORD_HEADER]) -> Self {
        Self(bytes)
    }

    fn word(&self, at: usize) -> u32 {
        u32_at(&self.0, at).unwrap_or_default()
    }

    /// Bytes of the record, with this header.
    pub(super) fn length(&self) -> u32 {
        self.word(0)
    }

    fn xid(&self) -> u32 {
        self.word(4)
    }

    /// Where the record before begins.
    pub(super) fn previous(&self) -> u64 {
        u64_at(&self.0, 8).unwrap_or_default()
    }

    /// The record's checksum.
    pub(super) fn checksum(&self) -> u32 {
        self.word(CRC_AT)
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8; RECORD_HEADER] {
        &self.0
    }

    /// Of an extension's resource manager: that one's number.
    pub(super) fn custom_manager(&self) -> Option<u8> {
        Some(self.0[17]).filter(|manager| *manager >= FIRST_CUSTOM)
    }

    /// What is summed up behind the rest of the record.
    pub(super) fn summed(&self) -> &[u8] {
        &self.0[..CRC_AT]
    }

    pub(super) fn kind(&self) -> Kind {
        let (info, manager) = (self.0[16], self.0[17]);
        match (manager, info & 0xF0) {
            (RM_XLOG, 0x40) => Kind::Switch,
            (RM_XLOG, 0x70) => Kind::RestorePoint,
            (RM_TBLSPC, 0x00) => Kind::Tablespace,
            (RM_XACT, _) => match info & 0x70 {
                0x00 => Kind::ending(true, false),
                0x20 => Kind::ending(false, false),
                0x30 => Kind::ending(true, true),
                0x40 => Kind::ending(false, true),
                _ => Kind::Other,
            },
            _ => Kind::Other,
        }
    }

    /// `XLOG_XACT_HAS_INFO`
    fn has_info(&self) -> bool {
        self.0[16] & 0x80 != 0
    }
}

impl Kind {
    fn ending(commit: bool, prepared: bool) -> Self {
        Self::Ending { commit, prepared }
    }

    /// How much is kept of such a record, behind its header.
    pub(super) fn kept(self) -> usize {
        match self {
            Self::Other | Self::Switch => 0,
            Self::Ending { prepared: true, .. } => PREPARED,
            Self::Ending { .. } => START_OF_RECORD,
            Self::RestorePoint => RESTORE_POINT,
            Self::Tablespace => TABLESPACE,
        }
    }
}

/// Reads a record from `start` to `end`, whose bytes behind the header begin
/// with `kept`.
pub(super) fn read(
    header: &RecordHeader,
    kept: &[u8],
    (start, end): (Lsn, Lsn),
    major: u32,
) -> Result<Option<Found>, Fault> {
    let length = header.length() as usize - RECORD_HEADER;
    let data = main_data(kept, length);
    let time = |data| u64_at(data, 0).map(|time| unix_micros(time.cast_signed()));
    match header.kind() {
        Kind::Other | Kind::Switch => Ok(None),
        Kind::RestorePoint => {
            let point = data.and_then(|data| {
                let name = data.get(8..)?.split(|byte| *byte == 0).next()?;
                Some(Found::RestorePoint {
                    end,
                    name: String::from_utf8_lossy(name).into_owned(),
                    at: time(data)?,
                })
            });
            point.map(Some).ok_or(Fault::Record("restore point"))
        }
        Kind::Tablespace => {
            let creation = data
                .filter(|_| kept.len() == length)
                .and_then(|data| TablespaceCreation::read(header, kept, data, (start, end)));
            creation
                .map(|it| Some(Found::Tablespace(it)))
                .ok_or(Fault::Record("creation of a tablespace"))
        }
        Kind::Ending { commit, prepared } => {
            let what = if commit { "commit" } else { "abort" };
            let data = data.ok_or(Fault::Record(what))?;
            let at = time(data).ok_or(Fault::Record(what))?;
            let xid = if prepared {
                prepared_xid(header, data, commit, major).unwrap_or_default()
            } else {
                header.xid()
            };
            Ok(Some(if commit {
                Found::Commit { end, xid, at }
            } else {
                Found::Abort { end, xid, at }
            }))
        }
    }
}

/// The data of a record that refers to no pages, as far as they were kept.
/// `length` is that of all that is behind the header.
fn main_data(kept: &[u8], length: usize) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let (start, data) = match *kept.get(at)? {
            255 => (at + 2, usize::from(*kept.get(at + 1)?)),
            254 => (at + 5, u32_at(kept, at + 1)? as usize),
            // Where the transaction came from, and the transaction around it.
            253 => {
                at += 3;
                continue;
            }
            252 => {
                at += 5;
                continue;
            }
            _ => return None,
        };
        return (start + data == length).then(|| kept.get(start..))?;
    }
}

/// The number of a prepared transaction: the session that ends it has none.
fn prepared_xid(header: &RecordHeader, data: &[u8], commit: bool, major: u32) -> Option<u32> {
    /// Flags, and the bytes of an element of the list that each stands for.
    const DATABASE: u32 = 1 << 0;
    const SUBTRANSACTIONS: (u32, usize) = (1 << 1, 4);
    const FILES: (u32, usize) = (1 << 2, 12);
    const INVALIDATIONS: (u32, usize) = (1 << 3, 16);
    const TWO_PHASE: u32 = 1 << 4;
    const STATISTICS: u32 = 1 << 8;

    if !header.has_info() {
        return None;
    }
    let info = u32_at(data, 8)?;
    if info & TWO_PHASE == 0 {
        return None;
    }
    let mut at: usize = 12;
    if info & DATABASE != 0 {
        at += 8;
    }
    let statistics = (STATISTICS, if major >= 18 { 16 } else { 12 });
    let lists = [SUBTRANSACTIONS, FILES, statistics, INVALIDATIONS];
    for (flag, size) in lists {
        // Aborts invalidate nothing.
        let present = info & flag != 0 && (commit || flag != INVALIDATIONS.0);
        if present {
            let count = u32_at(data, at)? as usize;
            at = at.checked_add(4)?.checked_add(count.checked_mul(size)?)?;
        }
    }
    u32_at(data, at)
}
