//! Carrying out what was decided: the server is told, the log is fetched, and
//! replayed, or left for whoever starts the server.

use std::{io, path::Path, thread, time::Instant};

use strongroom_spec::{RecoveryTarget, RestoreOutcome, WarningCode};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{
    RecoveryError, RollForward,
    directory::{self, Fetching, Stage, State, WalDirectory, boot, sync},
    ended::{ended, failure},
    fetch::{Fetch, Fetched},
    notes,
    plan::Plan,
    scan::facts,
    server_log::Said,
    settings::{self, Settings},
    watch::until_ready,
};
use crate::{
    allowed::AllowedDirectory,
    restore::{
        RestoreError,
        cluster::{
            ClusterRestoreError,
            owner::Owner,
            programs::Programs,
            server::{Running, stop},
        },
    },
};

/// For the run in which the log is replayed: we read what the server says.
const WHILE_REPLAYING: [(&str, &str); 2] = [("lc_messages", "C"), ("log_min_messages", "warning")];

/// Begun: the directory for the log is there.
pub(in super::super) struct Forwarding<'a> {
    pub(super) roll: RollForward<'a>,
    directory: WalDirectory,
    state: State,
    /// `None`: nothing more will come.
    fetching: Option<Fetching>,
}

/// Rolled forward, or ready to be.
#[derive(Debug)]
pub(in super::super) struct Forwarded {
    fetched: Fetched,
    notes: Vec<String>,
}

impl Forwarded {
    /// For the job's report.
    pub(in super::super) fn add_to(self, result: &mut RestoreOutcome) {
        result.files += self.fetched.files;
        result.bytes_written += self.fetched.written;
        result.bytes_fetched += self.fetched.received;
        result.notes.extend(self.notes);
    }
}

impl<'a> Forwarding<'a> {
    /// Makes the directory for the log, in a data directory that is there. From
    /// here on no other restore works on it.
    pub(super) fn begin(roll: RollForward<'a>) -> Result<Self, RecoveryError> {
        let inputs = &roll.inputs;
        let directory = WalDirectory::create(inputs.target, inputs.owner)?;
        let fetching = Some(directory.fetching()?);
        let state = State {
            snapshot: inputs.work.snapshot,
            target: roll.recovery.target.clone(),
            timeline: roll.plan.timeline,
            stage: roll.left.unwrap_or(Stage::Files),
            made: roll.made.clone(),
            choices: roll.choices.clone(),
            boot: boot(),
        };
        // A server that waits takes what it finds.
        directory.keep(&roll.whole)?;
        directory.set_state(&state)?;
        Ok(Self {
            roll,
            directory,
            state,
            fetching,
        })
    }

    /// Tells the server where to stop. A server that has ended its recovery is
    /// not sent back into it.
    pub(in super::super) fn tell(&self) -> Result<(), RecoveryError> {
        let inputs = &self.roll.inputs;
        if self.state.stage == Stage::Replay && !settings::is_signalled(inputs.target)? {
            return Ok(());
        }
        // The server works in its data directory, wherever that has been moved.
        let directory = Path::new(directory::NAME);
        let command = if inputs.work.target.start {
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
        settings.write(inputs.target, inputs.owner)
    }

    /// Notes that the cluster's files are complete: they are not looked at
    /// again. Those of tablespaces may lie on other file systems.
    pub(in super::super) fn files_are_there<'p>(
        &mut self,
        directories: impl Iterator<Item = &'p AllowedDirectory>,
    ) -> Result<(), RecoveryError> {
        for directory in directories {
            let written = directory.descriptor().and_then(|opened| sync(&opened));
            written.map_err(RecoveryError::file("write to disk", directory.path()))?;
        }
        let stage = self.state.stage.max(Stage::Log);
        self.enter(stage)
    }

    fn enter(&mut self, stage: Stage) -> Result<(), RecoveryError> {
        self.state.stage = stage;
        self.directory.set_state(&self.state)
    }

    /// Fetches all of the log, for whoever will start the server.
    pub(in super::super) fn prepare(self) -> Result<Forwarded, RecoveryError> {
        let inputs = self.roll.inputs;
        inputs.monitor.enter("fetching the log");
        self.announce()?;
        let began = Instant::now();
        let (fetched, result) = self.fetch(inputs.monitor.cancel.clone());
        result?;
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
    pub(in super::super) fn replay(
        mut self,
        programs: &Programs,
        owner: &Owner,
    ) -> Result<(Running, Forwarded), ClusterRestoreError> {
        let inputs = self.roll.inputs;
        let target = inputs.target;
        inputs.monitor.enter("replaying the log");
        if self.state.stage == Stage::Replay {
            // Of an agent that was killed: nobody brings it any log.
            stop(target, owner)?;
        }
        self.announce()?;
        self.enter(Stage::Replay)?;
        let (began, span) = (Instant::now(), Span::current());
        let cancel = inputs.monitor.cancel.child_token();
        let lock = self.fetching.take();
        let (started, fetched) = thread::scope(|scope| {
            let (this, token) = (&self, cancel.clone());
            let fetch = move || {
                let fetched = span.in_scope(|| this.fetch(token));
                // Who waits for a file that did not come need not wait longer.
                drop(lock);
                (fetched, began.elapsed())
            };
            let fetch = scope.spawn(fetch);
            let (runtime, monitor) = (inputs.runtime, inputs.monitor);
            let started = programs.start(target, owner, runtime, monitor, &WHILE_REPLAYING);
            let started = started.and_then(|running| {
                until_ready(target, &running, owner, runtime, monitor)?;
                Ok(running)
            });
            // It has what it needs, or will need nothing more.
            cancel.cancel();
            (started, fetch.join())
        });
        let Ok(((fetched, came), fetching_took)) = fetched else {
            let source = io::Error::other("it panicked: please report it");
            return Err(RestoreError::Thread(source).into());
        };
        if started.is_err() && inputs.monitor.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        let running = match (started, came) {
            (Ok(running), came) => {
                if let Some(error) = came.err().filter(|error| !is_cancelled(error)) {
                    tracing::warn!(%error, "not all of the log came, but the target was reached");
                }
                running
            }
            // The server ended because its log did not come.
            (Err(ClusterRestoreError::Start { .. }), Err(error)) if !is_cancelled(&error) => {
                return Err(error.into());
            }
            (Err(error), _) => return Err(failure(error, &self.roll.recovery.target)),
        };
        let said = ended(target, &running.directory)?;
        if let Err(short) = self.check_end(&said) {
            // It must not be taken for what was asked for, now or by another run.
            stop(target, owner)?;
            self.clean_up();
            return Err(short.into());
        }
        let mut notes = vec![notes::fetched(&fetched, fetching_took)];
        notes.extend(notes::replayed(&said, self.roll.recovery, began.elapsed()));
        self.clean_up();
        Ok((running, Forwarded { fetched, notes }))
    }

    /// Verifies that all of the log was replayed, where the server was not told to
    /// stop before: one that finds a record damaged takes that for the end.
    fn check_end(&self, said: &Said) -> Result<(), RecoveryError> {
        let done = said.redo_done.as_ref().and_then(|lsn| lsn.parse().ok());
        let all = self.roll.plan.stop == RecoveryTarget::Latest;
        match (self.roll.facts.last.filter(|_| all), done) {
            (Some(planned), Some(done)) if done < planned => Err(RecoveryError::Short {
                target: self.roll.inputs.work.target.directory.clone(),
                done,
                planned,
            }),
            _ => Ok(()),
        }
    }

    /// Names the files that will come.
    fn announce(&self) -> Result<(), RecoveryError> {
        let files = self.roll.plan.files();
        self.directory
            .set_plan(files.iter().map(|(name, filled)| (name.as_str(), *filled)))
    }

    /// What came, and why not all.
    fn fetch(&self, cancel: CancellationToken) -> (Fetched, Result<(), RecoveryError>) {
        let RollForward {
            inputs,
            recovery,
            plan,
            whole,
            facts: known,
            edits,
            ..
        } = &self.roll;
        let shelf = inputs.shelf(cancel);
        let mut fetch = Fetch {
            asked: &inputs.asked(recovery, &shelf),
            shelf: &shelf,
            directory: &self.directory,
            target: inputs.target,
            monitor: inputs.monitor,
            whole: whole.clone(),
            edits,
            verify: &|again: &Plan| {
                let facts = facts(again, recovery, inputs.held, &shelf)?;
                if facts.does_the_same(known) {
                    return Ok(());
                }
                Err(RecoveryError::OtherLog)
            },
        };
        let mut fetched = Fetched::default();
        let result = fetch.run(plan, &mut fetched);
        (fetched, result)
    }

    /// The server is up: what is left behind is a blemish, no failure.
    fn clean_up(self) {
        let inputs = self.roll.inputs;
        let (target, path) = (inputs.target, self.directory.path().to_owned());
        let forgotten = settings::forget(target, inputs.owner);
        for result in [forgotten, self.directory.remove(target)] {
            if let Err(error) = result {
                let path = path.to_string_lossy().into_owned();
                inputs
                    .monitor
                    .warn(WarningCode::Leftover, path, error.to_string());
            }
        }
    }
}

fn is_cancelled(error: &RecoveryError) -> bool {
    matches!(error, RecoveryError::Restore(RestoreError::Cancelled))
}
