//! A program whose output becomes a file of the snapshot.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Command, Stdio},
};

use strongroom_postgres::connection::Environment;
use strongroom_repository::write::{Content, Halted};
use tokio_util::sync::CancellationToken;

use super::{LogicalError, dump::Dumper};
use crate::sources::{
    command::process::{Ear, Ended, Process},
    throttle::Paced,
    virtual_files::save_stream,
};

/// Sees what a program writes, on its way into the repository.
pub(super) trait Watch {
    /// The next bytes. An error ends the stream.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A reader that somebody watches.
struct Seen<'a, 'w, R: ?Sized> {
    paced: Paced<'a, R>,
    watch: Option<&'w mut (dyn Watch + Send + 'w)>,
}

impl<R: io::Read + ?Sized> io::Read for Seen<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.paced.read(out)?;
        if let Some(watch) = self.watch.as_deref_mut().filter(|_| length > 0) {
            watch.pass(&out[..length])?;
        }
        Ok(length)
    }
}

/// What came of a program that ran to its end, well or not.
pub(super) struct Ran {
    pub(super) content: Content,
    pub(super) ended: Ended,
}

impl Dumper<'_> {
    /// Runs `program` with this environment, on `input`, and saves what it writes,
    /// which `watch` sees pass. Killed when the run ends or `stop` is cancelled.
    pub(super) fn save_output(
        &self,
        program: &Path,
        arguments: &[OsString],
        environment: &Environment,
        input: Stdio,
        stop: &CancellationToken,
        watch: Option<&mut (dyn Watch + Send)>,
    ) -> Result<Ran, LogicalError> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(input);
        environment.give(&mut command);
        let process = Process::spawn(&mut command, Ear::postgres()).map_err(|source| {
            LogicalError::Start {
                program: program.into(),
                source,
            }
        })?;
        tracing::debug!(
            program = %program.display(),
            server = %self.connection.address,
            "running"
        );
        let options = self.options;
        let (content, ended) = process.attend(self.runtime, stop, |stdout| {
            let paced = Paced {
                pace: options.pace,
                inner: stdout,
            };
            let mut stdout = Seen { paced, watch };
            save_stream(self.writer, &mut stdout, options.monitor)
        });
        let content = content?;
        if self.writer.halted().is_cancelled() {
            return Err(Halted.into());
        }
        let read = |source| LogicalError::Read {
            program: program.into(),
            source,
        };
        Ok(Ran {
            content: content.map_err(read)?,
            ended: ended.map_err(read)?,
        })
    }
}
