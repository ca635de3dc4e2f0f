//! A record while it is read.

use crc_fast::{CrcAlgorithm, Digest};

use super::{
    page::Fault,
    record::{self, Found, Kind, RecordHeader},
};
use crate::physical::Lsn;

/// A record whose header is known.
#[derive(Debug)]
pub(super) struct Open {
    /// Where it begins.
    pub(super) start: u64,
    header: RecordHeader,
    interest: Option<Box<Interest>>,
}

/// What is read of a record of interest, and nothing of any other.
#[derive(Debug)]
struct Interest {
    sum: Digest,
    /// Its start, behind the header.
    kept: Vec<u8>,
}

impl Open {
    pub(super) fn new(start: u64, header: RecordHeader) -> Self {
        let interest = || {
            Box::new(Interest {
                sum: Digest::new(CrcAlgorithm::Crc32Iscsi),
                kept: Vec::new(),
            })
        };
        Self {
            start,
            header,
            interest: (header.kind().kept() > 0).then(interest),
        }
    }

    /// The next bytes of it.
    pub(super) fn take(&mut self, piece: &[u8]) {
        if let Some(Interest { sum, kept }) = self.interest.as_deref_mut() {
            sum.update(piece);
            let room = self.header.kind().kept().saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// See [`RecordHeader::custom_manager`].
    pub(super) fn custom_manager(&self) -> Option<u8> {
        self.header.custom_manager()
    }

    /// The rest of the segment is empty.
    pub(super) fn is_switch(&self) -> bool {
        self.header.kind() == Kind::Switch
    }

    /// What it says; it ends at `end`.
    pub(super) fn finish(self, end: Lsn, major: u32) -> Result<Option<Found>, Fault> {
        let Some(mut interest) = self.interest else {
            return Ok(None);
        };
        interest.sum.update(self.header.summed());
        let computed = interest.sum.finalize() as u32;
        let stored = self.header.checksum();
        if computed != stored {
            return Err(Fault::Checksum { computed, stored });
        }
        let range = (Lsn(self.start), end);
        record::read(&self.header, &interest.kept, range, major)
    }
}
