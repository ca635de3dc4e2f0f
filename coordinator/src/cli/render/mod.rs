//! How results look: JSON for programs, tables for people.

pub(crate) mod format;
pub(crate) mod job;
pub(crate) mod progress;
pub(crate) mod recovery;
mod table;

use std::io::{self, IsTerminal as _, Write as _};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::table::{Table, fields};
use super::args::Output;

/// Where and how results are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renderer {
    output: Output,
    /// What "3 min ago" is relative to.
    pub(crate) now: Timestamp,
}

impl Renderer {
    /// Writes to standard output.
    pub(crate) fn new(output: Output, now: Timestamp) -> Self {
        Self { output, now }
    }

    /// Whether programs read the result.
    pub(crate) fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Writes `value` as JSON, or what `for_people` makes of it.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        for_people: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        let mut text = match self.output {
            Output::Json => serde_json::to_string_pretty(value)?,
            Output::Table => for_people(value),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        write_out(&text)
    }
}

/// Writes to standard output. A reader that has gone, such as `head`, is no
/// error.
pub(crate) fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Whether people watch standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}
