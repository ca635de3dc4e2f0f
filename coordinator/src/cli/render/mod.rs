//! How results look: JSON for programs, tables for people.

pub(crate) mod format;
pub(crate) mod job;
pub(crate) mod progress;
pub(crate) mod recovery;
mod table;

use std::io::{self, IsTerminal as _};

use jiff::Timestamp;
use serde::Serialize;
use strongroom_runtime::printable;

pub(crate) use self::table::{Table, fields, set_wide};
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

    /// Writes `value` as JSON, or what `for_people` makes of it: there, every
    /// text of others goes through [`format::printable`].
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        for_people: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        match self.output {
            Output::Json => {
                let json = serde_json::to_string_pretty(value)?;
                printable::out_json(&format!("{json}\n"))
            }
            Output::Table => {
                let mut text = for_people(value);
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                printable::out(&text)
            }
        }
    }
}

/// Whether people watch standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}
