//! From what is asked for to what will be done: nothing is written yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use strongroom_postgres::{physical::manifest::Manifest, wal::Edits};
use strongroom_repository::Repository;
use strongroom_spec::{ClusterTarget, Recovery, RestoreSpec};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    Forwarding, RecoveryError,
    directory::{Choice, Stage, State, WalDirectory, boot},
    error::shown,
    index::LogIndex,
    notes,
    parts::Shelf,
    plan::{Asked, Plan},
    scan::facts,
};
use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{
        RestoreOptions,
        cluster::{
            owner::Owner,
            replayed::{held::HeldLog, reading::LogFacts},
        },
    },
};

/// More memory than this makes nothing faster, bytes.
const MEMORY: u64 = 64 << 20;

/// From where archived log comes, and what serves it to a server.
#[derive(Clone)]
pub struct LogSource {
    /// Knows what there is.
    pub index: Arc<dyn LogIndex>,
    /// This program, as the server's user can run it.
    pub program: PathBuf,
}

impl std::fmt::Debug for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSource")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// What is to be rolled forward, and how.
#[derive(Clone, Copy)]
pub(in super::super) struct Inputs<'a> {
    pub(in super::super) repository: &'a Arc<Repository>,
    pub(in super::super) runtime: &'a Handle,
    pub(in super::super) monitor: &'a Monitor,
    pub(in super::super) options: &'a RestoreOptions,
    pub(in super::super) log: &'a LogSource,
    pub(in super::super) work: &'a RestoreSpec<ClusterTarget>,
    pub(in super::super) target: &'a AllowedDirectory,
    pub(in super::super) manifest: &'a Manifest,
    pub(in super::super) owner: Option<&'a Owner>,
    /// The snapshot's own log.
    pub(in super::super) held: &'a HeldLog,
}

/// Decided, and nothing written yet.
pub(in super::super) struct RollForward<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) recovery: &'a Recovery,
    pub(super) plan: Plan,
    /// What an earlier run of the same restore has left.
    pub(super) left: Option<Stage>,
    /// Places that it has taken for tablespaces which the log makes.
    pub(super) made: BTreeMap<u32, String>,
    /// Where all tablespaces go: as an earlier run has decided, then as this one
    /// has.
    pub(super) choices: Option<BTreeMap<u32, Choice>>,
    /// Files of the plan that it has left whole.
    pub(super) whole: BTreeSet<String>,
    /// What the log does, once it was read.
    pub(super) facts: LogFacts,
    /// What is changed in it on its way to the server.
    pub(super) edits: Edits,
}

impl<'a> RollForward<'a> {
    /// Finds out what is needed.
    pub(in super::super) fn plan(
        inputs: Inputs<'a>,
        recovery: &'a Recovery,
    ) -> Result<Self, RecoveryError> {
        inputs.monitor.enter("planning");
        let target = inputs.target;
        let directory = WalDirectory::open(target, inputs.owner)?;
        let state = match &directory {
            Some(directory) => directory.state()?,
            None => None,
        };
        let left = stage_of(state.as_ref(), target.path(), inputs.work, recovery)?;
        let shelf = inputs.shelf(inputs.monitor.cancel.clone());
        let plan = inputs.asked(recovery, &shelf).plan()?;
        let whole = match (directory, &state) {
            (Some(directory), Some(state)) if state.boot == boot() => whole(&directory, &plan)?,
            _ => BTreeSet::new(),
        };
        Ok(Self {
            inputs,
            recovery,
            plan,
            left,
            choices: state.as_ref().and_then(|it| it.choices.clone()),
            made: state.map(|it| it.made).unwrap_or_default(),
            whole,
            facts: LogFacts::default(),
            edits: Edits::default(),
        })
    }

    /// Reads all of the log that the server will be given, and says what it does.
    pub(in super::super) fn read(&mut self) -> Result<&LogFacts, RecoveryError> {
        self.inputs.monitor.enter("reading the log");
        let shelf = self.inputs.shelf(self.inputs.monitor.cancel.clone());
        let (recovery, held) = (self.recovery, self.inputs.held);
        self.facts = loop {
            match facts(&self.plan, recovery, held, &shelf) {
                Err(RecoveryError::Vanished { object, source, .. }) => {
                    let asked = self.inputs.asked(recovery, &shelf);
                    let plan = asked.anew(&self.plan, (object, source))?;
                    let before: BTreeMap<_, _> = self.plan.files().into_iter().collect();
                    let files = plan.files().into_iter();
                    let same = files.filter(|(name, filled)| before.get(name) == Some(filled));
                    let same: BTreeSet<_> = same.map(|(name, _)| name).collect();
                    self.whole.retain(|name| same.contains(name));
                    self.plan = plan;
                }
                facts => break facts?,
            }
        };
        Ok(&self.facts)
    }

    /// Whether an earlier run has taken that place for a tablespace.
    pub(in super::super) fn has_taken(&self, oid: u32, place: &str) -> bool {
        self.made.get(&oid).is_some_and(|taken| taken == place)
    }

    /// These places are taken now, and the server is given the log with these
    /// edits. What an earlier run has left may be without. Where that has put a
    /// tablespace elsewhere, what it wrote leads there: an error.
    pub(in super::super) fn take(
        &mut self,
        choices: BTreeMap<u32, Choice>,
        made: BTreeMap<u32, String>,
        edits: Edits,
    ) -> Result<(), RecoveryError> {
        let path = self.inputs.target.path();
        match &self.choices {
            Some(before) => check_same(path, before, &choices, Choice::to_string)?,
            None => check_same(path, &self.made, &made, Clone::clone)?,
        }
        self.choices = Some(choices);
        self.made = made;
        let size = self.plan.size;
        for segment in &self.plan.segments {
            let (from, to) = segment.range(size);
            if edits.within(from, to).next().is_some() {
                self.whole.remove(&segment.name.file_name(size));
            }
        }
        self.edits = edits;
        Ok(())
    }

    /// The cluster's files are there already, and a server may have worked on
    /// them: they must not be restored again.
    pub(in super::super) fn has_files(&self) -> bool {
        self.left >= Some(Stage::Log)
    }

    /// An earlier run of the same restore has begun to write.
    pub(in super::super) fn resumes(&self) -> bool {
        self.left.is_some()
    }

    /// Segments of the log that are missing, and the bytes that they will take.
    pub(in super::super) fn missing(&self) -> (u64, u64) {
        let size = self.plan.size;
        let names = self.plan.segments.iter().map(|it| it.name.file_name(size));
        let missing = names.filter(|name| !self.whole.contains(name));
        let count = missing.count() as u64;
        (count, count.saturating_mul(size.bytes()))
    }

    /// What will be done, for people.
    pub(in super::super) fn describe(&self) -> Vec<String> {
        notes::planned(&self.plan, self.recovery)
    }

    /// See [`Forwarding::begin`].
    pub(in super::super) fn begin(self) -> Result<Forwarding<'a>, RecoveryError> {
        Forwarding::begin(self)
    }
}

/// Refuses to go on where something was put elsewhere before. What the log makes
/// since then may be new.
fn check_same<T: PartialEq>(
    path: &Path,
    before: &BTreeMap<u32, T>,
    now: &BTreeMap<u32, T>,
    shown: impl Fn(&T) -> String,
) -> Result<(), RecoveryError> {
    let other = before.iter().find(|(oid, it)| now.get(oid) != Some(*it));
    other.map_or(Ok(()), |(oid, before)| {
        Err(RecoveryError::OtherPlace {
            path: path.into(),
            oid: *oid,
            before: shown(before),
            now: now.get(oid).map_or("any place".into(), &shown),
        })
    })
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to)?;
        f.write_str(if self.moved { "" } else { " (where it lay)" })
    }
}

/// The files of a plan that lie there with as much log as they should hold.
/// Where the archive ended then, it may go on now.
fn whole(directory: &WalDirectory, plan: &Plan) -> Result<BTreeSet<String>, RecoveryError> {
    let before = directory.whole()?;
    let files = plan.files().into_iter();
    let same = files.filter(|(name, filled)| before.get(name) == Some(filled));
    Ok(same.map(|(name, _)| name).collect())
}

/// How far an earlier run has come; an error when it was of another restore.
fn stage_of(
    state: Option<&State>,
    target: &Path,
    work: &RestoreSpec<ClusterTarget>,
    recovery: &Recovery,
) -> Result<Option<Stage>, RecoveryError> {
    let Some(state) = state else {
        return Ok(None);
    };
    let timeline = recovery.legs.last().map(|leg| leg.timeline);
    let same = state.snapshot == work.snapshot
        && state.target == recovery.target
        && Some(state.timeline) == timeline;
    if same {
        return Ok(Some(state.stage));
    }
    Err(RecoveryError::Other {
        path: target.into(),
        target: format!(
            "{} (snapshot {}, timeline {})",
            shown(&state.target),
            state.snapshot.short(),
            state.timeline
        ),
    })
}

impl<'a> Inputs<'a> {
    pub(super) fn shelf(&self, cancel: CancellationToken) -> Shelf {
        Shelf {
            repository: Arc::clone(self.repository),
            runtime: self.runtime.clone(),
            cancel,
            memory: self.options.memory.min(MEMORY),
        }
    }

    pub(super) fn asked<'s>(&self, recovery: &'s Recovery, shelf: &'s Shelf) -> Asked<'s>
    where
        'a: 's,
    {
        Asked {
            manifest: self.manifest,
            recovery,
            index: &*self.log.index,
            shelf,
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_layout::position::{Lsn, SegmentName, SegmentSize, TimelineId};
    use strongroom_spec::RecoveryTarget;
    use strongroom_tests::scratch::Scratch;

    use super::*;
    use crate::restore::cluster::recovery::segments::Segment;

    #[test]
    fn a_segment_in_which_the_archive_ended_is_fetched_again_when_it_goes_on() {
        let scratch = Scratch::new("whole-segments");
        let directory =
            WalDirectory::create(&AllowedDirectory::named(scratch.path()).unwrap(), None).unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        let plan = |filled: &[u64]| Plan {
            segments: (0..)
                .zip(filled)
                .map(|(number, filled)| Segment {
                    name: SegmentName {
                        timeline: TimelineId(1),
                        number,
                    },
                    pieces: vec![],
                    filled: *filled,
                })
                .collect(),
            pieces: vec![],
            overlaps: vec![],
            stored: vec![],
            unread: vec![],
            held: vec![],
            histories: vec![],
            taken: vec![],
            size,
            upto: Lsn(0),
            stop: RecoveryTarget::Latest,
            timeline: TimelineId(1),
        };
        let before = plan(&[1 << 20, 1 << 20, 5]);
        let files = before.files();
        let lines = files.iter().map(|(name, filled)| (name.as_str(), *filled));
        directory.set_plan(lines).unwrap();
        for (name, _) in files.iter().skip(1) {
            directory.write(name, b"segment").unwrap();
        }
        let names =
            |plan: &Plan| -> Vec<_> { whole(&directory, plan).unwrap().into_iter().collect() };
        assert_eq!(names(&before), [files[1].0.clone(), files[2].0.clone()]);
        assert_eq!(names(&plan(&[1 << 20, 1 << 20, 7])), [files[1].0.clone()]);
    }

    #[test]
    fn a_tablespace_stays_where_an_interrupted_restore_has_put_it() {
        let choice = |to: &str, moved| Choice {
            to: to.into(),
            moved,
        };
        let before = BTreeMap::from([(16_400, choice("/a", true)), (16_401, choice("/b", false))]);
        let check = |now: &BTreeMap<u32, Choice>| {
            check_same(Path::new("/data"), &before, now, Choice::to_string)
                .map_err(|error| error.to_string())
        };
        check(&before).unwrap();
        // Made by log that was archived since.
        let mut more = before.clone();
        more.insert(16_402, choice("/c", true));
        check(&more).unwrap();
        for (oid, now, says) in [
            (16_400, Some(choice("/other", true)), "not at /other"),
            (
                16_400,
                Some(choice("/a", false)),
                "not at /a (where it lay)",
            ),
            (
                16_401,
                Some(choice("/b", true)),
                "/b (where it lay), not at /b",
            ),
            (16_401, None, "16401"),
        ] {
            let mut other = before.clone();
            match now {
                Some(now) => other.insert(oid, now),
                None => other.remove(&oid),
            };
            let error = check(&other).unwrap_err();
            for part in [says, "--tablespace", "/data"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
