//! Fuzz target: an operator names paths, as listings show them or otherwise.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use strongroom_compare::EscapedPath;

pub use super::marker::restore_marker;
use super::select::{Scope, Selection, unescape};

/// Selected paths and a name, apart at line feeds. What is listed can be
/// selected: a name comes back from the form in which it is shown.
pub fn selected_paths(data: &[u8]) {
    let shown = EscapedPath(Path::new(OsStr::from_bytes(data))).to_string();
    assert_eq!(unescape(&shown), data, "{shown}");
    // Each part of a path is a node of a map: up to 1 KiB for two bytes.
    let text = String::from_utf8_lossy(&data[..data.len().min(1000)]);
    let mut paths: Vec<String> = text.lines().map(str::to_owned).collect();
    let name = paths.pop().unwrap_or_default();
    let Ok(selection) = Selection::new(&paths) else {
        return;
    };
    let mut scope = Some(selection.top());
    while let Some(inside @ Scope::Part(_)) = scope {
        let _ = selection.missing(inside, |it| it == name.as_bytes());
        scope = selection.below(inside, name.as_bytes());
    }
}
