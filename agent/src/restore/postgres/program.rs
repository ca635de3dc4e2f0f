//! `pg_restore`, fed from the repository.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use parking_lot::Mutex;
use strongroom_postgres::{
    connection::{Connection, Environment},
    logical::phases,
    programs::Found,
    server_words::{EntryListener, Heard},
};
use strongroom_spec::WarningCode;
use tokio::runtime::Handle;

use super::{super::RestoreError, PostgresRestoreError, scratch};
use crate::{
    monitor::Monitor,
    restore::stream::FileStream,
    sources::command::process::{Ear, Ended, Process},
};

/// Bytes of SQL that are read at once.
const PIECE: usize = 256 << 10;

pub(super) struct PgRestore<'a> {
    pub(super) program: &'a Found,
    pub(super) connection: &'a Connection,
    pub(super) runtime: &'a Handle,
    pub(super) monitor: &'a Monitor,
}

/// What it reads from standard input.
pub(super) struct Input<'f> {
    pub(super) dump: &'f mut FileStream,
    /// Its bytes count as progress.
    pub(super) counted: bool,
    /// Its entries are to be made with the session's search path.
    pub(super) own_path: bool,
    /// Gets what was fed.
    pub(super) copy: Option<(&'f mut File, &'f Path)>,
}

impl<'f> Input<'f> {
    pub(super) fn of(dump: &'f mut FileStream) -> Self {
        Self {
            dump,
            counted: false,
            own_path: false,
            copy: None,
        }
    }
}

impl PgRestore<'_> {
    /// Runs it with the environment's `database`. Feeds it `input`; keeps at
    /// most `limit` bytes of what it prints. Killed when the attempt is
    /// cancelled.
    pub(super) fn run(
        &self,
        arguments: &[OsString],
        database: &str,
        input: Option<Input<'_>>,
        limit: usize,
    ) -> Result<Vec<u8>, PostgresRestoreError> {
        let environment = self.connection.environment(database);
        let (ended, printed) =
            self.converse(arguments, &environment, input, limit, Ear::postgres())?;
        if !ended.status.success() {
            return Err(self.failed(ended));
        }
        for line in ended.stderr.lines().filter(|it| !it.trim().is_empty()) {
            self.monitor.warn(WarningCode::ProgramSaid, database, line);
        }
        Ok(printed)
    }

    /// Runs it in this environment on single entries, of which some may fail.
    pub(super) fn run_entries(
        &self,
        arguments: &[OsString],
        environment: &Environment,
        input: Option<Input<'_>>,
    ) -> Result<Heard, PostgresRestoreError> {
        let listener = Arc::new(Mutex::new(EntryListener::default()));
        let ear = Ear::Entries(Arc::clone(&listener));
        let (ended, _) = self.converse(arguments, environment, input, 0, ear)?;
        let heard = std::mem::take(&mut listener.lock().heard);
        // It counts what failed, and ends with 1; with anything else it broke off.
        let went_on = ended.status.code() == Some(1) && heard.finished;
        if ended.status.success() || went_on {
            return Ok(heard);
        }
        Err(self.failed(ended))
    }

    /// Lets it write SQL, piece by piece for `take`.
    pub(super) fn script(
        &self,
        arguments: &[OsString],
        dump: &mut FileStream,
        counted: bool,
        mut take: impl FnMut(&[u8]) -> Result<(), PostgresRestoreError>,
    ) -> Result<(), PostgresRestoreError> {
        let program = &self.program.path;
        let run = |source| PostgresRestoreError::Run {
            program: program.clone(),
            source,
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        self.connection.environment("").give(&mut command);
        let process = Process::spawn(&mut command, Ear::postgres()).map_err(run)?;
        let cancel = &self.monitor.cancel;
        let ((fed, taken), ended) = process.converse(self.runtime, cancel, |stdin, stdout| {
            thread::scope(|scope| {
                let input = Input {
                    counted,
                    ..Input::of(dump)
                };
                let fed = scope.spawn(|| stdin.map_or(Ok(()), |stdin| self.feed(input, stdin)));
                let taken = stdout.map_or(Ok(Ok(())), |stdout| pass_on(stdout, &mut take));
                let broken = |_| Err(run(io::Error::other("a thread panicked")));
                (fed.join().unwrap_or_else(broken), taken)
            })
        });
        if cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        fed?;
        if let Some(error) = taken.map_err(run)?.err() {
            return Err(error);
        }
        let ended = ended.map_err(run)?;
        if !ended.status.success() {
            return Err(self.failed(ended));
        }
        Ok(())
    }

    fn failed(&self, ended: Ended) -> PostgresRestoreError {
        PostgresRestoreError::Failed {
            program: self.program.path.clone(),
            status: ended.status,
            stderr: ended.stderr,
        }
    }

    fn converse(
        &self,
        arguments: &[OsString],
        environment: &Environment,
        input: Option<Input<'_>>,
        limit: usize,
        ear: Ear,
    ) -> Result<(Ended, Vec<u8>), PostgresRestoreError> {
        let program = &self.program.path;
        let run = |source| PostgresRestoreError::Run {
            program: program.clone(),
            source,
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(match input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        });
        environment.give(&mut command);
        let process = Process::spawn(&mut command, ear).map_err(run)?;
        let cancel = &self.monitor.cancel;
        let ((fed, printed), ended) = process.converse(self.runtime, cancel, |stdin, stdout| {
            thread::scope(|scope| {
                let printed = scope.spawn(|| stdout.map_or(Ok(Vec::new()), |it| keep(it, limit)));
                let fed = match (input, stdin) {
                    (Some(input), Some(stdin)) => self.feed(input, stdin),
                    _ => Ok(()),
                };
                let broken = |_| Err(io::Error::other("a thread panicked"));
                (fed, printed.join().unwrap_or_else(broken))
            })
        });
        if cancel.is_cancelled() {
            return Err(RestoreError::Cancelled.into());
        }
        // A stream that broke off explains all that came of it.
        fed?;
        Ok((ended.map_err(run)?, printed.map_err(run)?))
    }

    /// Until the end of either. A program that has what it wants reads no
    /// further; whether that is well, its status says.
    fn feed(
        &self,
        mut input: Input<'_>,
        mut stdin: ChildStdin,
    ) -> Result<(), PostgresRestoreError> {
        while let Some(mut piece) = input.dump.next_piece()? {
            if std::mem::take(&mut input.own_path) {
                phases::with_own_path(&mut piece);
            }
            if let Some((file, path)) = &mut input.copy {
                file.write_all(&piece)
                    .map_err(|source| scratch::failed("write", path, source))?;
            }
            if stdin.write_all(&piece).is_err() {
                break;
            }
            if input.counted {
                self.monitor.bytes.fetch_add(piece.len() as u64, Relaxed);
            }
        }
        Ok(())
    }
}

/// Reads to the end, or until `take` has had enough: the inner error.
fn pass_on(
    mut stdout: ChildStdout,
    take: &mut impl FnMut(&[u8]) -> Result<(), PostgresRestoreError>,
) -> io::Result<Result<(), PostgresRestoreError>> {
    let mut piece = vec![0; PIECE];
    loop {
        match stdout.read(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => {
                if let Err(error) = take(&piece[..count]) {
                    return Ok(Err(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads to the end; more than `limit` bytes are an error.
fn keep(mut stdout: ChildStdout, limit: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut stdout).take(limit as u64).read_to_end(&mut kept)?;
    if io::copy(&mut stdout, &mut io::sink())? > 0 {
        return Err(io::Error::other("it prints more than it ever should"));
    }
    Ok(kept)
}
