//! Whether a part is of the log that is archived: pure.

use strongroom_layout::{ObjectId, position::Lsn};
use strongroom_wire::wal::StoredWal;

use crate::model::DatasetName;

/// A part that is archived, in the unit of the one that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    pub(super) id: ObjectId,
    /// Whose agent entered it.
    pub(super) dataset: DatasetName,
    /// Of the unit up to its end; `None`: of an earlier version.
    pub(super) digest: Option<ObjectId>,
    /// Of the unit up to its start; `None`: it begins the unit, or is of an earlier
    /// version.
    pub(super) start_digest: Option<ObjectId>,
    /// The store has it no more.
    pub(super) lost: bool,
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
/// A piece says what the log was up to its start: so the last of the pieces of a unit
/// speaks for those before, each of which ends where the next begins.
pub(super) fn compare<'k>(known: &'k [Known], part: &StoredWal) -> Result<Verdict, &'k Known> {
    let said = |at: Lsn| {
        let mut digests = part.digests.iter();
        digests.find(|it| it.at == at).map(|it| it.digest)
    };
    let differs = |at: Lsn, known: Option<ObjectId>| known.zip(said(at));
    let other = |it: &&Known| {
        let both = [
            differs(it.end, it.digest),
            differs(it.start, it.start_digest),
        ];
        both.into_iter()
            .flatten()
            .any(|(known, said)| known != said)
    };
    let is_there = |it: &&Known| (it.start, it.end) == (part.start, part.end);
    let there = known.iter().find(is_there);
    // Rather the very place than what touches it.
    let other = there.filter(other).or_else(|| known.iter().find(other));
    if let Some(other) = other {
        return Err(other);
    }
    if there.is_some() {
        return Ok(Verdict::There);
    }
    let is_inside = |it: &&Known| part.start <= it.start && it.end <= part.end;
    let mut inside: Vec<&Known> = known.iter().filter(is_inside).collect();
    // Those that end last first: they speak for others.
    inside.sort_unstable_by_key(|it| std::cmp::Reverse((it.end, it.start)));
    // What the log was up to where those begin that are the same, as they say.
    let mut spoken: Vec<(Lsn, ObjectId)> = Vec::new();
    let mut but = Vec::new();
    for it in inside {
        let is_spoken_for = |digest| spoken.contains(&(it.end, digest));
        let is_same = match it.digest {
            None => true,
            Some(digest) => said(it.end).is_some() || is_spoken_for(digest),
        };
        if is_same {
            spoken.extend(it.start_digest.map(|digest| (it.start, digest)));
        } else {
            but.push((it.start, it.end));
        }
    }
    but.sort_unstable();
    Ok(Verdict::New { but })
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
            dataset: DatasetName::new("orders", "db-1"),
            digest: Some(digest(b'a', end)),
            start_digest: (start > 0).then(|| digest(b'a', start)),
            lost: false,
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
        // Nor for what does not end where one of the others begins.
        let foreign = known(2, 8);
        let with = [known(0, 10), foreign, known(10, 15)];
        assert_eq!(
            compare(&with, &part(b'a', 0, 20, &[15])),
            Ok(new(&[(2, 8)]))
        );
        assert_eq!(compare(&with, &part(b'a', 0, 20, &[8, 15])), Ok(new(&[])));
    }

    #[test]
    fn a_piece_speaks_for_those_of_its_own_log_only() {
        let forged = |start_digest| Known {
            digest: Some(digest(b'b', 20)),
            start_digest,
            ..known(15, 20)
        };
        let genuine = [known(0, 10), known(10, 15)];
        for start in [None, Some(digest(b'b', 15))] {
            let [one, two] = genuine.clone();
            let archived = [one, two, forged(start)];
            // It agrees with what was forged before, and says nothing else.
            assert_eq!(
                compare(&archived, &part(b'b', 0, 30, &[20])),
                Ok(new(&[(0, 10), (10, 15)]))
            );
        }
        // What says how it begins is compared in that.
        let archived = [forged(Some(digest(b'b', 15)))];
        assert_eq!(
            compare(&archived, &part(b'a', 10, 15, &[10])),
            Err(&archived[0])
        );
        assert_eq!(
            compare(&genuine, &part(b'b', 15, 20, &[15])),
            Err(&genuine[1])
        );
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
