//! Reads all log that a server will be given, before anything is written, and
//! compares what of it lies in several places.
//!
//! So it is fetched twice. The catalog could know what makes a tablespace, as it
//! knows of commits; but where a restore may write is this host's to say, and
//! nobody else is believed about what writes elsewhere.

use strongroom_layout::position::Lsn;
use strongroom_spec::Recovery;
use strongroom_wire::wal::StoredWal;

use super::{
    RecoveryError,
    chain::{Piece, Source},
    overlap,
    parts::{Parts, Shelf, Wanted},
    plan::Plan,
};
use crate::restore::{
    RestoreError,
    cluster::replayed::{
        held::HeldLog,
        reading::{LogFacts, Reading},
    },
};

/// What the log of a plan does, up to where it is given. An error when there are two
/// versions of it, also when one of them is damaged.
pub(super) fn facts(
    plan: &Plan,
    recovery: &Recovery,
    held: &HeldLog,
    shelf: &Shelf,
) -> Result<LogFacts, RecoveryError> {
    let read = read(plan, recovery, held, shelf);
    match &read {
        Ok(facts) => overlap::compare(plan, facts, held, shelf)?,
        Err(RecoveryError::Log(_)) => {
            overlap::compare(plan, &LogFacts::default(), held, shelf)?;
        }
        Err(_) => {}
    }
    read
}

fn read(
    plan: &Plan,
    recovery: &Recovery,
    held: &HeldLog,
    shelf: &Shelf,
) -> Result<LogFacts, RecoveryError> {
    let pieces: Vec<Piece> = plan
        .pieces
        .iter()
        .filter(|piece| piece.from < plan.upto)
        .map(|piece| Piece {
            to: piece.to.min(plan.upto),
            ..*piece
        })
        .collect();
    let Some(first) = pieces.first() else {
        return Ok(LogFacts::default());
    };
    let timeline = recovery
        .legs
        .last()
        .map_or(plan.timeline, |leg| leg.timeline);
    let mut reading = Reading::new(held.layout(), timeline, first.from)?;
    let wanted = pieces.iter().filter_map(|piece| part(plan, piece));
    let mut parts = Parts::new(shelf, wanted.map(Wanted::of))?;
    let mut from_snapshot = Vec::new();
    for piece in &pieces {
        if shelf.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        match piece.source {
            Source::Part(_) => {
                let opened = parts
                    .next()
                    .map_err(|error| vanished(error, plan, part(plan, piece), piece.from))?;
                let start = part(plan, piece).map_or(Lsn(0), |part| part.start);
                // Within a part, which is in memory.
                let range = (piece.from.0 - start.0) as usize..(piece.to.0 - start.0) as usize;
                let bytes = opened.as_ref().and_then(|it| it.plaintext.get(range));
                reading.feed(bytes.unwrap_or_default())?;
            }
            Source::Held(number) => {
                let Some(name) = plan.held.get(number).copied() else {
                    continue;
                };
                let start = name.start(plan.size);
                let range = (piece.from.0 - start.0, piece.to.0 - start.0);
                let mut fed = Ok(());
                held.read(name, range, |bytes| {
                    fed = reading.feed(bytes);
                    fed.is_ok()
                })?;
                fed?;
                from_snapshot.push((piece.from, piece.to, name));
            }
        }
    }
    let mut facts = LogFacts::default();
    facts.add(reading, from_snapshot);
    Ok(facts)
}

/// Another is sought for a part that cannot be read.
pub(super) fn vanished(
    error: RecoveryError,
    plan: &Plan,
    part: Option<&StoredWal>,
    at: Lsn,
) -> RecoveryError {
    match error {
        RecoveryError::Unread { object, source } => {
            let timeline = part.map(|part| part.timeline);
            RecoveryError::Vanished {
                timeline: timeline.unwrap_or(plan.timeline),
                at,
                object,
                source,
            }
        }
        other => other,
    }
}

fn part<'p>(plan: &'p Plan, piece: &Piece) -> Option<&'p StoredWal> {
    match piece.source {
        Source::Part(number) => plan.stored.get(number),
        Source::Held(_) => None,
    }
}
