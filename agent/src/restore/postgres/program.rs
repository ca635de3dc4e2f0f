//! `pg_restore`, fed from the repository.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    thread,
};

use strongroom_postgres::{connection::Connection, programs::Found};
use strongroom_wire::job::WarningCode;
use tokio::runtime::Handle;

use super::{super::RestoreError, PostgresRestoreError};
use crate::{
    monitor::Monitor,
    restore::stream::FileStream,
    sources::command::process::{Ear, Process},
};

pub(super) struct PgRestore<'a> {
    pub(super) program: &'a Found,
    pub(super) connection: &'a Connection,
    pub(super) runtime: &'a Handle,
    pub(super) monitor: &'a Monitor,
}

impl PgRestore<'_> {
    /// Runs it with the environment's `database`. Feeds it `input`, whose bytes
    /// count as progress when `counted`; keeps at most `limit` bytes of what it
    /// prints. Killed when the attempt is cancelled.
    pub(super) fn run(
        &self,
        arguments: &[OsString],
        database: &str,
        input: Option<(&mut FileStream, bool)>,
        limit: usize,
    ) -> Result<Vec<u8>, PostgresRestoreError> {
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
        self.connection.environment(database).give(&mut command);
        let process = Process::spawn(&mut command, Ear::postgres()).map_err(run)?;
        let cancel = &self.monitor.cancel;
        let ((fed, printed), ended) = process.converse(self.runtime, cancel, |stdin, stdout| {
            thread::scope(|scope| {
                let printed = scope.spawn(|| stdout.map_or(Ok(Vec::new()), |it| keep(it, limit)));
                let fed = match (input, stdin) {
                    (Some((input, counted)), Some(stdin)) => self.feed(input, stdin, counted),
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
        let ended = ended.map_err(run)?;
        if !ended.status.success() {
            return Err(PostgresRestoreError::Failed {
                program: program.clone(),
                status: ended.status,
                stderr: ended.stderr,
            });
        }
        for line in ended.stderr.lines().filter(|it| !it.trim().is_empty()) {
            self.monitor.warn(WarningCode::ProgramSaid, database, line);
        }
        printed.map_err(run)
    }

    /// Until the end of either. A program that has what it wants reads no
    /// further; whether that is well, its status says.
    fn feed(
        &self,
        input: &mut FileStream,
        mut stdin: ChildStdin,
        counted: bool,
    ) -> Result<(), PostgresRestoreError> {
        while let Some(piece) = input.next_piece()? {
            if stdin.write_all(&piece).is_err() {
                break;
            }
            if counted {
                self.monitor.bytes.fetch_add(piece.len() as u64, Relaxed);
            }
        }
        Ok(())
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
