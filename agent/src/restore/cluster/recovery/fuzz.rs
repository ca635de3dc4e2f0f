//! Fuzz targets: what lies in a data directory is its user's, who is not ours,
//! and a server logs what it likes.

use super::{
    directory::{State, planned},
    server_log::said,
};

/// How far a restore has come: it comes back as it was read.
pub fn recovery_state(data: &[u8]) {
    if let Ok(state) = serde_json::from_slice::<State>(data) {
        let written = serde_json::to_vec(&state).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&written).unwrap(), state);
    }
}

/// The files that will be there: none lies elsewhere, none is ours.
pub fn recovery_plan(data: &[u8]) {
    for (name, _) in planned(&String::from_utf8_lossy(data)) {
        assert!(!name.is_empty() && !name.starts_with('.'), "{name:?}");
        assert!(!name.contains(['/', '\0']), "{name:?}");
    }
}

/// What a server says of its recovery: the last of its own words on each.
pub fn recovery_log(data: &[u8]) {
    let all = said(data).unwrap();
    // What somebody has logged behind it changes nothing.
    let end = if data.ends_with(b"\n") { "" } else { "\n" };
    let statement = "LOG:  statement: select '\n\tLOG:  redo done at F/F";
    let more = [data, end.as_bytes(), statement.as_bytes()].concat();
    assert_eq!(said(&more[..]).unwrap(), all);
}
