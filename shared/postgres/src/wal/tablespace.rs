//! Records that make a tablespace, and how replay is had to make it elsewhere.
//!
//! Source: `xl_tblspc_create_rec` in PostgreSQL's `commands/tablespace.h`, and
//! `create_tablespace_directories` in `commands/tablespace.c`: replay makes the
//! version's directory at the path that the record holds, removes the link
//! `pg_tblspc/OID`, whatever it led to, and makes it anew, to that path.
//!
//! A path of no bytes stands for a tablespace *in place*. Replay then makes
//! the directory `pg_tblspc/OID` itself, is content with one that is there, and
//! makes no link. So where a link of that name is there already, a record with
//! an emptied path makes the tablespace where that link leads. To empty it, the
//! first byte of the path becomes NUL, as it is a C string, and nothing moves;
//! the checksum of the record fits again. The rest of the path stays, and tells
//! an emptied record from that of a tablespace that was made in place: whoever
//! archives the restored server archives such records.
//!
//! Servers do so from 15 on, and from the minor versions of August 2022 on:
//! [`first_in_place`].

use super::{
    edit::Edit,
    page::Layout,
    record::{RECORD_HEADER, RecordHeader},
};
use crate::physical::{Lsn, control::crc32c, u32_at};

/// Where in a header the checksum stands, and behind what it sums up.
const CRC_AT: usize = 20;

/// The path stands behind the tablespace's number.
const PATH_AT: usize = 4;

/// A record that makes a tablespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceCreation {
    /// Where the record begins.
    pub start: Lsn,
    /// Behind it.
    pub end: Lsn,
    /// The tablespace's number.
    pub oid: u32,
    /// The path that it was made at, absolute; empty: in place. Of whatever
    /// encoding.
    pub path: Vec<u8>,
    /// The record, with its header.
    record: Vec<u8>,
    /// Where in it the path begins.
    path_at: usize,
}

/// What replay makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The tablespace where it lay, and a link to that.
    AtItsPath,
    /// A tablespace in place, or where a link that is there leads.
    InPlace,
}

impl TablespaceCreation {
    /// Reads a record of that kind: its header, all that is behind it, and of
    /// that the data. `None`: no server writes such a record.
    pub(super) fn read(
        header: &RecordHeader,
        body: &[u8],
        data: &[u8],
        (start, end): (Lsn, Lsn),
    ) -> Option<Self> {
        let oid = u32_at(data, 0)?;
        let (last, text) = data.get(PATH_AT..)?.split_last()?;
        let emptied = text.first() == Some(&0);
        let mut path = text.to_vec();
        if emptied {
            // Only absolute paths are not in place.
            path[0] = b'/';
        }
        let sound = *last == 0 && !path.contains(&0) && path.first().is_none_or(|it| *it == b'/');
        sound.then(|| Self {
            start,
            end,
            oid,
            path,
            record: [header.bytes(), body].concat(),
            path_at: RECORD_HEADER + (body.len() - data.len()) + PATH_AT,
        })
    }

    /// It was made in place: it lies in the data directory.
    pub fn is_in_place(&self) -> bool {
        self.path.is_empty()
    }

    /// What changes in a log of that layout so that replay makes this of the
    /// record. Nothing does of one that was made in place.
    pub fn edits(&self, layout: &Layout, replayed: Replayed) -> Vec<Edit> {
        if self.is_in_place() {
            return Vec::new();
        }
        let mut changed = self.record.clone();
        changed[self.path_at] = match replayed {
            Replayed::AtItsPath => b'/',
            Replayed::InPlace => 0,
        };
        let summed = [&changed[RECORD_HEADER..], &changed[..CRC_AT]].concat();
        changed[CRC_AT..RECORD_HEADER].copy_from_slice(&crc32c(&summed).to_le_bytes());
        let bytes = self.record.iter().zip(&changed).enumerate();
        bytes
            .filter(|(_, (from, to))| from != to)
            .map(|(index, (from, to))| Edit {
                at: layout.ahead(self.start, index),
                from: *from,
                to: *to,
            })
            .collect()
    }
}

/// The first minor version of a major one that replays records of tablespaces
/// in place; `None`: no version does.
pub fn first_in_place(major: u32) -> Option<u32> {
    match major {
        10 => Some(22),
        11 => Some(17),
        12 => Some(12),
        13 => Some(8),
        14 => Some(5),
        15.. => Some(0),
        _ => None,
    }
}
