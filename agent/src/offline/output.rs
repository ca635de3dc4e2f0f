//! Results on standard output, all else on standard error. The repository may
//! be anybody's: what stands in it is cleaned here, line by line.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use serde::Serialize;
use strongroom_compare::EscapedPath;
use strongroom_runtime::printable::{self, Line};
use strongroom_spec::WarningCode;

use crate::monitor::Monitor;

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    part_of_json(&serde_json::to_string_pretty(value)?)
}

/// Prints a line of a JSON document.
pub(super) fn part_of_json(text: &str) -> anyhow::Result<()> {
    Ok(printable::out_json(&format!("{text}\n"))?)
}

/// Prints one line, whatever stands in it.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(printable::out(&format!("{}\n", Line(text)))?)
}

/// Prints a table, whose cells are [`Line`]s.
pub(super) fn table(table: &comfy_table::Table) -> anyhow::Result<()> {
    Ok(printable::out(&format!("{table}\n"))?)
}

/// A path for people and JSON.
pub(super) fn path(bytes: &[u8]) -> String {
    EscapedPath(OsStr::from_bytes(bytes).as_ref()).to_string()
}

/// A warning in JSON.
#[derive(Debug, Serialize)]
pub(super) struct ShownWarning {
    code: WarningCode,
    path: String,
    cause: String,
}

/// The warnings of a run, and how many there were.
pub(super) fn warnings(monitor: &Monitor) -> (Vec<ShownWarning>, u64) {
    let (warnings, count) = monitor.warnings();
    let shown = warnings.into_iter().map(|warning| ShownWarning {
        code: warning.code,
        path: path(&warning.path),
        cause: warning.cause,
    });
    (shown.collect(), count)
}

/// Prints the warnings for people.
pub(super) fn print_warnings(monitor: &Monitor) {
    let (shown, count) = warnings(monitor);
    for warning in &shown {
        printable::err(&format!(
            "warning: {}: {} [{}]",
            Line(&warning.path),
            Line(&warning.cause),
            warning.code
        ));
    }
    let more = count.saturating_sub(shown.len() as u64);
    if more > 0 {
        printable::err(&format!("warning: and {more} more"));
    }
}
