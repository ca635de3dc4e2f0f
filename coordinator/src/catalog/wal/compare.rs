//! Whether a part is of the log that is archived: pure.

use strongroom_layout::{ObjectId, position::Lsn};
use strongroom_wire::wal::StoredWal;

/// A part that is archived, in the unit of the one that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    pub(super) id: ObjectId,
    /// Of the unit up to its end; `None`: of an earlier version.
    pub(super) digest: Option<ObjectId>,
    /// Of the same dataset.
    pub(super) own: bool,
}

/// What becomes of a part that contradicts nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same bytes are archived at the same place.
    There,
    /// It is new. All parts that lie in it are superseded but for these: that
    /// they hold the same is not certain.
    New { but: Vec<(Lsn, Lsn)> },
}

/// Compares wherever both say what the log was up to one position; the error is
/// the first part that holds something else.
///
/// What an agent stores of one unit, one piece behind the other, is of one log:
/// the last of its pieces speaks for those before.
pub(super) fn compare<'k>(known: &'k [Known], part: &StoredWal) -> Result<Verdict, &'k Known> {
    let said = |at: Lsn| {
        let mut digests = part.digests.iter();
        digests.find(|it| it.at == at).map(|it| it.digest)
    };
    let other = |it: &&Known| match (it.digest, said(it.end)) {
        (Some(known), Some(said)) => known != said,
        _ => false,
    };
    if let Some(other) = known.iter().find(other) {
        return Err(other);
    }
    if known
        .iter()
        .any(|it| (it.start, it.end) == (part.start, part.end))
    {
        return Ok(Verdict::There);
    }
    let inside = || {
        let mut known = known.iter();
        std::iter::from_fn(move || known.find(|it| part.start <= it.start && it.end <= part.end))
    };
    let own = inside().filter(|it| it.own && it.digest.is_some());
    let own_is_same = own
        .map(|it| it.end)
        .max()
        .is_some_and(|end| said(end).is_some());
    let is_same =
        |it: &&Known| it.digest.is_none() || said(it.end).is_some() || (it.own && own_is_same);
    let but = inside().filter(|it| !is_same(it));
    Ok(Verdict::New {
        but: but.map(|it| (it.start, it.end)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use strongroom_layout::{SystemId, position::TimelineId};
    use strongroom_wire::wal::WalDigest;

    use super::*;

    /// The digest of a log that is told by a letter.
    fn digest(log: u8, at: u64) -> ObjectId {
        let mut digest = [log; 32];
        digest[..8].copy_from_slice(&at.to_be_bytes());
        ObjectId(digest)
    }

    fn known(start: u64, end: u64) -> Known {
        Known {
            start: Lsn(start),
            end: Lsn(end),
            id: ObjectId([0; 32]),
            digest: Some(digest(b'a', end)),
            own: true,
        }
    }

    fn part(log: u8, start: u64, end: u64, also: &[u64]) -> StoredWal {
        let at = also.iter().chain([&end]);
        StoredWal {
            system: SystemId(7),
            timeline: TimelineId(1),
            start: Lsn(start),
            end: Lsn(end),
            id: ObjectId([1; 32]),
            length: 1,
            commits: None,
            restore_points: Vec::new(),
            digests: at
                .map(|at| WalDigest {
                    at: Lsn(*at),
                    digest: digest(log, *at),
                })
                .collect(),
        }
    }

    fn new(but: &[(u64, u64)]) -> Verdict {
        let but = but.iter().map(|(start, end)| (Lsn(*start), Lsn(*end)));
        Verdict::New { but: but.collect() }
    }

    #[test]
    fn the_same_place_with_other_content_is_another_log() {
        let archived = [known(0, 10), known(10, 15)];
        assert_eq!(
            compare(&archived, &part(b'a', 0, 10, &[])),
            Ok(Verdict::There)
        );
        assert_eq!(compare(&archived, &part(b'a', 15, 20, &[])), Ok(new(&[])));
        // The same place, and whatever else speaks of one that is known.
        assert_eq!(
            compare(&archived, &part(b'b', 0, 10, &[])),
            Err(&archived[0])
        );
        assert_eq!(
            compare(&archived, &part(b'b', 0, 20, &[15])),
            Err(&archived[1])
        );
        assert_eq!(
            compare(&archived, &part(b'b', 12, 15, &[])),
            Err(&archived[1])
        );
    }

    #[test]
    fn only_what_holds_the_same_is_superseded() {
        let archived = [known(0, 10), known(10, 15)];
        assert_eq!(compare(&archived, &part(b'a', 0, 20, &[15])), Ok(new(&[])));
        // It says nothing of where the others ended.
        assert_eq!(
            compare(&archived, &part(b'b', 0, 20, &[])),
            Ok(new(&[(0, 10), (10, 15)]))
        );
        // Another dataset's pieces are not spoken for.
        let foreign = Known {
            own: false,
            ..known(2, 8)
        };
        let with = [known(0, 10), foreign, known(10, 15)];
        assert_eq!(
            compare(&with, &part(b'a', 0, 20, &[15])),
            Ok(new(&[(2, 8)]))
        );
        assert_eq!(compare(&with, &part(b'a', 0, 20, &[8, 15])), Ok(new(&[])));
    }

    #[test]
    fn what_an_earlier_version_archived_is_believed() {
        let old = Known {
            digest: None,
            ..known(0, 10)
        };
        let archived = [old];
        assert_eq!(compare(&archived, &part(b'b', 0, 20, &[])), Ok(new(&[])));
        assert_eq!(
            compare(&archived, &part(b'b', 0, 10, &[])),
            Ok(Verdict::There)
        );
    }
}
