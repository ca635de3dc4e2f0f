//! Single bytes of a log, replaced.

use std::collections::BTreeMap;

use crate::physical::Lsn;

/// A byte that becomes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where it lies.
    pub at: Lsn,
    /// As it was written.
    pub from: u8,
    /// As it is to be.
    pub to: u8,
}

/// Edits of one log, in its order. However it is cut into pieces, the pieces
/// with the edits made are the log with the edits made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(BTreeMap<u64, Edit>);

/// Another log than that which the edits were made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log at {at} is not what it was when it was read first")]
pub struct Unexpected {
    /// The byte.
    pub at: Lsn,
}

impl Edits {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edits from `from` on and before `to`.
    pub fn within(&self, from: Lsn, to: Lsn) -> impl Iterator<Item = &Edit> {
        self.0.range(from.0..to.0.max(from.0)).map(|(_, edit)| edit)
    }

    /// Makes the edits in `bytes`, which begin at `at`. Those that are made
    /// already are left; any other byte than those of an edit is an error, and
    /// then some may have been made.
    pub fn apply(&self, at: Lsn, bytes: &mut [u8]) -> Result<(), Unexpected> {
        let end = Lsn(at.0.saturating_add(bytes.len() as u64));
        for edit in self.within(at, end) {
            // Within the bytes, which are in memory.
            let byte = &mut bytes[(edit.at.0 - at.0) as usize];
            if *byte != edit.from && *byte != edit.to {
                return Err(Unexpected { at: edit.at });
            }
            *byte = edit.to;
        }
        Ok(())
    }
}

impl Extend<Edit> for Edits {
    fn extend<T: IntoIterator<Item = Edit>>(&mut self, edits: T) {
        self.0
            .extend(edits.into_iter().map(|edit| (edit.at.0, edit)));
    }
}
