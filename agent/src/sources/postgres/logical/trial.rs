//! A `pg_dump` newer than the server, where no matching one is installed: what it
//! writes is of use only if a server of that version understands it. That is found
//! out before a dump is kept that nothing but an upgrade could restore.

use std::{
    io,
    process::{Command, Stdio},
};

use strongroom_postgres::logical::{
    arguments,
    hold::Held,
    trial::{Trial, TrialError},
};
use strongroom_repository::write::Halted;

use super::{
    LogicalError,
    dump::{Call, Dumper, in_memory},
};
use crate::sources::command::process::{Ear, Process};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

impl Dumper<'_> {
    /// Has the server parse the definitions of a dump that is to be made so.
    pub(super) fn try_definitions(&self, call: &Call<'_>, held: &Held) -> Result<(), LogicalError> {
        let program = &call.pg_dump.path;
        let name = call.database.name.as_str();
        let read = |source| LogicalError::Read {
            program: program.clone(),
            source,
        };
        let (selected, input) = if call.pg_dump.version.major >= arguments::FILTERS {
            let (left, filter) = arguments::filter(&call.selected.arguments);
            (left, Some(in_memory(&filter).map_err(read)?))
        } else {
            (call.selected.arguments.clone(), None)
        };
        let mut arguments = self.arguments(call, &selected);
        arguments.extend(["--schema-only", "--format=plain"].map(Into::into));
        if input.is_some() {
            arguments.push("--filter=-".into());
        }
        let mut command = Command::new(program);
        command
            .args(&arguments)
            .stdin(input.unwrap_or_else(Stdio::null));
        let environment = self.connection.environment_of_dump(name);
        environment.give(&mut command);
        let process = match Process::spawn(&mut command, Ear::postgres()) {
            Ok(process) => process,
            // The dump itself has other ways, or says so.
            Err(error) if error.kind() == io::ErrorKind::ArgumentListTooLong => return Ok(()),
            Err(source) => {
                return Err(LogicalError::Start {
                    program: program.clone(),
                    source,
                });
            }
        };
        let stop = self.writer.halted();
        let (tried, ended) = process.attend(self.runtime, &stop, |stdout| {
            self.try_script(held, stdout, read)
        });
        if self.writer.halted().is_cancelled() {
            return Err(Halted.into());
        }
        // Of a program that failed the dump itself will say why.
        let failed = ended.is_ok_and(|it| it.status.code().is_some_and(|code| code != 0));
        match tried? {
            Err(TrialError::Server(source)) => Err(self.of_database(name, source)),
            Err(source @ TrialError::NotUnderstood { .. }) if !failed => Err(LogicalError::Newer {
                subject: self.subject(name),
                program: program.clone(),
                version: call.pg_dump.version.text.clone(),
                major: self.major,
                source: Box::new(source),
            }),
            // Names may be any bytes, and a script holds them as they are: what cannot be
            // taken apart says nothing about the server.
            Err(error) => {
                tracing::info!(database = name, %error, "its definitions were not tried");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The outer error: not of the trial.
    fn try_script(
        &self,
        held: &Held,
        script: &mut dyn io::Read,
        failed: impl Fn(io::Error) -> LogicalError,
    ) -> Result<Result<(), TrialError>, LogicalError> {
        let mut trial = match self.wait(Trial::begin(held))? {
            Ok(trial) => trial,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut piece = vec![0; PIECE];
        loop {
            let length = script.read(&mut piece).map_err(&failed)?;
            if length == 0 {
                return Ok(self.wait(trial.end())?);
            }
            if let Err(error) = self.wait(trial.feed(&piece[..length]))? {
                return Ok(Err(error));
            }
        }
    }
}
