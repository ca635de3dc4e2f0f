//! What people are told of a recovery.

use std::{path::Path, time::Duration};

use strongroom_spec::{Recovery, RecoveryTarget};

use super::{error::shown, fetch::Fetched, plan::Plan, prepare::Inputs, server_log::Said};

/// What will be replayed.
pub(super) fn planned(plan: &Plan, recovery: &Recovery) -> Vec<String> {
    let way: Vec<_> = recovery
        .legs
        .iter()
        .map(|leg| leg.timeline.to_string())
        .collect();
    let bytes: u64 = plan.segments.iter().map(|it| it.filled).sum();
    let mut notes = vec![format!(
        "to be rolled forward to {} along timeline {}, with {} segments of archived log ({bytes} \
         bytes, up to {})",
        shown(&recovery.target),
        way.join(", "),
        plan.segments.len(),
        plan.upto,
    )];
    if plan.stop == RecoveryTarget::Latest && recovery.target != RecoveryTarget::Latest {
        notes.push("the archived log holds nothing behind that: all of it is replayed".into());
    }
    notes
}

pub(super) fn fetched(fetched: &Fetched, took: Duration) -> String {
    format!(
        "fetched {} segments ({} bytes) of archived log in {:.1} s",
        fetched.files,
        fetched.written,
        took.as_secs_f64()
    )
}

/// Where the server ended.
pub(super) fn replayed(said: &Said, recovery: &Recovery, took: Duration) -> Vec<String> {
    let unknown = || "(its log does not say)".to_owned();
    let mut notes = vec![format!(
        "rolled forward to {}: replayed up to {}, the last transaction is of {}; it took {:.1} s",
        shown(&recovery.target),
        said.redo_done.clone().unwrap_or_else(unknown),
        said.last_commit.clone().unwrap_or_else(unknown),
        took.as_secs_f64()
    )];
    notes.extend(
        said.stopping
            .as_ref()
            .map(|why| format!("the server said: {why}")),
    );
    let timeline = said.timeline.as_ref();
    notes.extend(timeline.map(|it| format!("it is the primary of timeline {it} now")));
    notes
}

/// What is left to do for whoever starts the server.
pub(super) fn to_start(plan: &Plan, directory: &Path, inputs: &Inputs<'_>) -> Vec<String> {
    let (major, target) = (inputs.manifest.major, &inputs.work.target.directory);
    let owner = inputs
        .owner
        .map_or(inputs.manifest.owner.as_str(), |it| it.name.as_str());
    let stop = match &plan.stop {
        RecoveryTarget::Latest => "to its end".to_owned(),
        stop => format!("up to {}", shown(stop)),
    };
    vec![
        format!(
            "not started yet: start PostgreSQL {major} on {target} as {owner}; it replays the log \
             in {} {stop} and becomes the primary of a new timeline",
            directory.display()
        ),
        format!(
            "when it is that: remove {}, and the lines between \"Strongroom's recovery begins\" \
             and \"ends here\" from {target}/postgresql.auto.conf",
            directory.display()
        ),
    ]
}
