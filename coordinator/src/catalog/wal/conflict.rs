//! What differs, for people.

use strongroom_layout::ObjectName;
use strongroom_wire::wal::StoredWal;

use super::compare::Known;
use crate::model::WalConflict;

/// The object of a part that is archived in the unit of another.
fn object_of(known: &Known, part: &StoredWal) -> ObjectName {
    let archived = StoredWal {
        start: known.start,
        end: known.end,
        id: known.id,
        ..part.clone()
    };
    archived.object()
}

/// A dataset's log is not what is archived.
pub(super) fn contradiction(part: &StoredWal, other: &Known) -> WalConflict {
    WalConflict {
        system: part.system,
        timeline: part.timeline,
        lsn: other.start,
        cause: format!(
            "what the server gives as log up to {} of timeline {} ({}) is not what is archived at \
             the same place ({}, of {}): the server was put back to an earlier state, or two \
             servers took one timeline",
            other.end,
            part.timeline,
            part.object(),
            object_of(other, part),
            other.dataset,
        ),
        refused: Some(part.object()),
    }
}
