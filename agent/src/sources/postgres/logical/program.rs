//! A program whose output becomes a file of the snapshot.

use std::{
    ffi::OsString,
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
};

use strongroom_postgres::connection::Environment;
use strongroom_repository::write::{Content, Halted};
use tokio_util::sync::CancellationToken;

use super::{LogicalError, dump::Dumper};
use crate::sources::{
    command::process::{Ear, Ended, Process},
    made::save_stream,
    pace::Paced,
};

/// What came of a program that ran to its end, well or not.
pub(super) struct Ran {
    pub(super) content: Content,
    pub(super) ended: Ended,
}

/// A stream that somebody looks at as it goes by.
struct Heeded<R, F> {
    inner: R,
    heed: F,
}

impl<R: Read, F: FnMut(&[u8])> Read for Heeded<R, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        (self.heed)(&out[..count]);
        Ok(count)
    }
}

impl Dumper<'_> {
    /// Runs `program` with this environment and saves what it writes; `heed`
    /// sees it too. Killed when the run ends or `stop` is cancelled.
    pub(super) fn save_output(
        &self,
        program: &Path,
        arguments: &[OsString],
        environment: &Environment,
        stop: &CancellationToken,
        heed: impl FnMut(&[u8]) + Send,
    ) -> Result<Ran, LogicalError> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
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
            let stdout = Paced {
                pace: options.pace,
                inner: stdout,
            };
            let mut stdout = Heeded {
                inner: stdout,
                heed,
            };
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
