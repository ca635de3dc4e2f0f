//! The steps of rolling a cluster forward, in the order in which a restore
//! takes them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use strongroom_postgres::physical::manifest::Manifest;
use strongroom_repository::Repository;
use strongroom_wire::job::{Recovery, RestoreClusterWork, RestoreResult};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{
    RecoveryError,
    directory::{Stage, State, WalDirectory},
    ended::{ended, failure},
    error::shown,
    fetch::{Fetch, Fetched},
    index::LogIndex,
    notes,
    parts::Shelf,
    plan::{Asked, Plan},
    settings::{self, Settings},
};
use crate::{
    monitor::Monitor,
    restore::{
        RestoreError,
        cluster::{
            ClusterRestoreError,
            owner::Owner,
            server::{Programs, Running},
        },
    },
};

/// For the run in which the log is replayed. Without a hot standby the server
/// accepts connections only when recovery has ended, and needs no settings as
/// large as the original's; and we read its log.
const WHILE_REPLAYING: [(&str, &str); 3] = [
    ("hot_standby", "off"),
    ("lc_messages", "C"),
    ("log_min_messages", "warning"),
];

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
pub(in crate::restore::cluster) struct Inputs<'a> {
    pub(in crate::restore::cluster) repository: &'a Arc<Repository>,
    pub(in crate::restore::cluster) runtime: &'a Handle,
    pub(in crate::restore::cluster) monitor: &'a Monitor,
    pub(in crate::restore::cluster) log: &'a LogSource,
    pub(in crate::restore::cluster) work: &'a RestoreClusterWork,
    pub(in crate::restore::cluster) manifest: &'a Manifest,
    pub(in crate::restore::cluster) owner: Option<&'a Owner>,
}

/// Decided, and nothing written yet.
pub(in crate::restore::cluster) struct RollForward<'a> {
    inputs: Inputs<'a>,
    recovery: &'a Recovery,
    plan: Plan,
    /// What an earlier run of the same restore has left.
    left: Option<Stage>,
    /// Files of the log that it has left whole.
    whole: BTreeMap<String, u64>,
}

/// Begun: the directory for the log is there.
pub(in crate::restore::cluster) struct Forwarding<'a> {
    roll: RollForward<'a>,
    directory: WalDirectory,
    state: State,
}

/// Rolled forward, or ready to be.
#[derive(Debug)]
pub(in crate::restore::cluster) struct Forwarded {
    fetched: Fetched,
    notes: Vec<String>,
}

impl Forwarded {
    /// For the job's report.
    pub(in crate::restore::cluster) fn add_to(self, result: &mut RestoreResult) {
        result.files += self.fetched.files;
        result.bytes_written += self.fetched.written;
        result.bytes_fetched += self.fetched.transferred;
        result.notes.extend(self.notes);
    }
}

impl<'a> RollForward<'a> {
    /// Finds out what is needed.
    pub(in crate::restore::cluster) fn plan(
        inputs: Inputs<'a>,
        recovery: &'a Recovery,
    ) -> Result<Self, RecoveryError> {
        inputs.monitor.enter("planning");
        let target = Path::new(&inputs.work.target);
        let (mut left, mut whole) = (None, BTreeMap::new());
        if let Some(directory) = WalDirectory::open(target, inputs.owner)? {
            left = stage_of(directory.state()?.as_ref(), target, inputs.work, recovery)?;
            if left.is_some() {
                whole = directory.whole()?;
            }
        }
        let shelf = inputs.shelf(inputs.monitor.cancel.clone());
        let plan = inputs.asked(recovery, &shelf).plan()?;
        Ok(Self {
            inputs,
            recovery,
            plan,
            left,
            whole,
        })
    }

    /// The cluster's files are there already, and a server may have worked on
    /// them: they must not be restored again.
    pub(in crate::restore::cluster) fn has_files(&self) -> bool {
        self.left >= Some(Stage::Log)
    }

    /// An earlier run of the same restore has begun to write.
    pub(in crate::restore::cluster) fn resumes(&self) -> bool {
        self.left.is_some()
    }

    /// Files of the log that are missing, and the bytes that they will take.
    pub(in crate::restore::cluster) fn missing(&self) -> (u64, u64) {
        let files = self.plan.files();
        let missing = files
            .iter()
            .filter(|(name, filled)| self.whole.get(name) != Some(filled));
        let count = missing.count() as u64;
        (count, count.saturating_mul(self.plan.size.bytes()))
    }

    /// What will be done, for people.
    pub(in crate::restore::cluster) fn describe(&self) -> Vec<String> {
        notes::planned(&self.plan, self.recovery)
    }

    /// Makes the directory for the log, in a data directory that is there.
    pub(in crate::restore::cluster) fn begin(self) -> Result<Forwarding<'a>, RecoveryError> {
        let target = Path::new(&self.inputs.work.target);
        let directory = WalDirectory::create(target, self.inputs.owner)?;
        let state = State {
            snapshot: self.inputs.work.snapshot,
            target: self.recovery.target.clone(),
            timeline: self.plan.timeline,
            stage: self.left.unwrap_or(Stage::Files),
        };
        directory.set_state(&state)?;
        Ok(Forwarding {
            roll: self,
            directory,
            state,
        })
    }
}

/// How far an earlier run has come; an error when it was of another restore.
fn stage_of(
    state: Option<&State>,
    target: &Path,
    work: &RestoreClusterWork,
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
    fn shelf(&self, cancel: CancellationToken) -> Shelf {
        Shelf {
            repository: Arc::clone(self.repository),
            runtime: self.runtime.clone(),
            cancel,
        }
    }

    fn asked<'s>(&self, recovery: &'s Recovery, shelf: &'s Shelf) -> Asked<'s>
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

    fn target(&self) -> &'a Path {
        Path::new(&self.work.target)
    }
}

impl Forwarding<'_> {
    /// Tells the server where to stop. A server that has ended its recovery is
    /// not sent back into it.
    pub(in crate::restore::cluster) fn tell(&self) -> Result<(), RecoveryError> {
        let inputs = &self.roll.inputs;
        if self.state.stage == Stage::Replay && !settings::is_signalled(inputs.target())? {
            return Ok(());
        }
        let directory = self.directory.path();
        let command = if inputs.work.start {
            settings::waiting(&inputs.log.program, directory)
        } else {
            settings::copying(directory)
        };
        let unspeakable = || {
            let error = io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8");
            RecoveryError::file("name in a command", &inputs.log.program)(error)
        };
        let settings = Settings {
            restore_command: command.ok_or_else(unspeakable)?,
            timeline: self.roll.plan.timeline,
            stop: self.roll.plan.stop.clone(),
        };
        settings.write(inputs.target(), inputs.owner)
    }

    /// Notes that the cluster's files are complete.
    pub(in crate::restore::cluster) fn files_are_there(&mut self) -> Result<(), RecoveryError> {
        let stage = self.state.stage.max(Stage::Log);
        self.enter(stage)
    }

    fn enter(&mut self, stage: Stage) -> Result<(), RecoveryError> {
        self.state.stage = stage;
        self.directory.set_state(&self.state)
    }

    /// Fetches all of the log, for whoever will start the server.
    pub(in crate::restore::cluster) fn prepare(self) -> Result<Forwarded, RecoveryError> {
        let inputs = self.roll.inputs;
        inputs.monitor.enter("fetching the log");
        let _fetching = self.directory.fetching()?;
        self.announce()?;
        let began = Instant::now();
        let fetched = self.fetch(inputs.monitor.cancel.clone())?;
        let mut notes = vec![notes::fetched(&fetched, began.elapsed())];
        notes.extend(notes::to_start(
            &self.roll.plan,
            self.directory.path(),
            &inputs,
        ));
        self.directory.leave()?;
        Ok(Forwarded { fetched, notes })
    }

    /// Starts a server that replays the log while it comes, and waits until it
    /// has.
    pub(in crate::restore::cluster) fn replay(
        mut self,
        programs: &Programs,
        owner: &Owner,
    ) -> Result<(Running, Forwarded), ClusterRestoreError> {
        let inputs = self.roll.inputs;
        let target = inputs.target();
        inputs.monitor.enter("replaying the log");
        if self.state.stage == Stage::Replay {
            // Of an agent that was killed: nobody brings it any log.
            programs.stop(target, owner, inputs.runtime);
        }
        let fetching = self.directory.fetching()?;
        self.announce()?;
        self.enter(Stage::Replay)?;
        let (began, span) = (Instant::now(), Span::current());
        let cancel = inputs.monitor.cancel.child_token();
        let (started, fetched) = thread::scope(|scope| {
            let (this, token) = (&self, cancel.clone());
            let fetch = move || {
                let fetched = span.in_scope(|| this.fetch(token));
                // Who waits for a file that did not come need not wait longer.
                drop(fetching);
                (fetched, began.elapsed())
            };
            let fetch = scope.spawn(fetch);
            let (runtime, monitor) = (inputs.runtime, inputs.monitor);
            let started = programs.start(target, owner, runtime, monitor, &WHILE_REPLAYING);
            // It has what it needs, or will need nothing more.
            cancel.cancel();
            (started, fetch.join())
        });
        let Ok((fetched, fetching_took)) = fetched else {
            let source = io::Error::other("it panicked: please report it");
            return Err(RestoreError::Thread(source).into());
        };
        if started.is_err() && inputs.monitor.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        let (running, fetched) = match (started, fetched) {
            (Ok(running), fetched) => (running, fetched.unwrap_or_default()),
            // The server ended because its log did not come.
            (Err(ClusterRestoreError::Start { .. }), Err(error)) if !is_cancelled(&error) => {
                return Err(error.into());
            }
            (Err(error), _) => return Err(failure(error, &self.roll.recovery.target)),
        };
        let said = ended(target, &running.log())?;
        let mut notes = vec![notes::fetched(&fetched, fetching_took)];
        notes.extend(notes::replayed(&said, self.roll.recovery, began.elapsed()));
        self.clean_up();
        Ok((running, Forwarded { fetched, notes }))
    }

    /// Names the files that will come.
    fn announce(&self) -> Result<(), RecoveryError> {
        let files = self.roll.plan.files();
        self.directory
            .set_plan(files.iter().map(|(name, filled)| (name.as_str(), *filled)))
    }

    fn fetch(&self, cancel: CancellationToken) -> Result<Fetched, RecoveryError> {
        let RollForward {
            inputs,
            recovery,
            plan,
            whole,
            ..
        } = &self.roll;
        let shelf = inputs.shelf(cancel);
        let mut fetch = Fetch {
            asked: &inputs.asked(recovery, &shelf),
            shelf: &shelf,
            directory: &self.directory,
            target: inputs.target(),
            monitor: inputs.monitor,
            whole: whole.clone(),
        };
        fetch.run(plan)
    }

    /// The server is up: what is left behind is a blemish, no failure.
    fn clean_up(self) {
        let inputs = self.roll.inputs;
        let (target, path) = (inputs.target(), self.directory.path().to_owned());
        let forgotten = settings::forget(target, inputs.owner);
        for result in [forgotten, self.directory.remove(target)] {
            if let Err(error) = result {
                let path = path.to_string_lossy().into_owned();
                inputs.monitor.warn(path, error.to_string());
            }
        }
    }
}

fn is_cancelled(error: &RecoveryError) -> bool {
    matches!(error, RecoveryError::Restore(RestoreError::Cancelled))
}
