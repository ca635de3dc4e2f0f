//! Results on standard output, all else on standard error.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use serde::Serialize;
use strongroom_compare::EscapedPath;

use crate::monitor::Monitor;

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a line. That nobody reads any more is no failure.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A path for people and JSON.
pub(super) fn path(bytes: &[u8]) -> String {
    EscapedPath(OsStr::from_bytes(bytes).as_ref()).to_string()
}

/// A warning in JSON.
#[derive(Debug, Serialize)]
pub(super) struct ShownWarning {
    path: String,
    cause: String,
}

/// The warnings of a run, and how many there were.
pub(super) fn warnings(monitor: &Monitor) -> (Vec<ShownWarning>, u64) {
    let (warnings, count) = monitor.warnings();
    let shown = warnings.into_iter().map(|warning| ShownWarning {
        path: path(&warning.path),
        cause: warning.cause,
    });
    (shown.collect(), count)
}

/// Prints the warnings for people.
pub(super) fn print_warnings(monitor: &Monitor) {
    let (shown, count) = warnings(monitor);
    for warning in &shown {
        eprintln!("warning: {}: {}", warning.path, warning.cause);
    }
    let more = count.saturating_sub(shown.len() as u64);
    if more > 0 {
        eprintln!("warning: and {more} more");
    }
}
