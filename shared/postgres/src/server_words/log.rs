//! The log of a server that we started. Pure.

use super::{
    program::HELD_BACK,
    template::find,
    templates::{ADDED, MESSAGES},
};

/// What of a server's log may be shown: its own words, without whatever else
/// its configuration has it write, and without values.
pub fn log(text: &str) -> String {
    let lines = text.lines().filter_map(line);
    lines.collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> Option<String> {
    // Wherever the first of them is: what stands before, the cluster's
    // configuration decides.
    let labels = [
        "LOG", "WARNING", "ERROR", "FATAL", "PANIC", "DETAIL", "HINT",
    ];
    let (at, label) = labels
        .iter()
        .filter_map(|label| Some((line.find(&format!("{label}:  "))?, *label)))
        .min()?;
    let words = &line[at + label.len() + 3..];
    let shown = match label {
        "DETAIL" | "HINT" => find(ADDED, words)?,
        "ERROR" | "FATAL" | "PANIC" => {
            find(MESSAGES, words).unwrap_or_else(|| HELD_BACK.to_owned())
        }
        _ => find(MESSAGES, words)?,
    };
    Some(format!("{label}:  {shown}"))
}
