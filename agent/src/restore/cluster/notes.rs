//! What a restore says of itself.

use strongroom_postgres::physical::manifest::{MANIFEST, Manifest};
use strongroom_spec::{ClusterTarget, PlannedAction, RestoreOutcome, RestoreSpec};

use super::{owner::Owner, recovery::Inputs, replayed::Replay, server::Running, snapshot::Place};
use crate::restore::{plan::Plan, planned};

/// What will be restored, a line per directory.
pub(super) fn figures(plans: &[Plan], places: &[Place]) -> RestoreOutcome {
    let mut sum = RestoreOutcome {
        files: 0,
        directories: 0,
        bytes_written: 0,
        files_kept: 0,
        bytes_fetched: 0,
        plan: Vec::new(),
        plan_count: places.len() as u64,
        notes: Vec::new(),
        server: None,
    };
    for (plan, place) in plans.iter().zip(places) {
        let figures = planned(plan);
        sum.files += figures.files;
        sum.directories += figures.directories;
        sum.files_kept += figures.files_kept;
        sum.plan.push(PlannedAction {
            path: place.work.target.directory.as_str().into(),
            action: "create".into(),
            bytes: plan.files.iter().map(|file| file.size).sum(),
        });
    }
    sum
}

/// What people should know of it.
pub(super) fn describe(
    manifest: &Manifest,
    work: &RestoreSpec<ClusterTarget>,
    replay: &Replay,
    owner: Option<&Owner>,
) -> Vec<String> {
    let mut notes = vec![format!(
        "PostgreSQL {} cluster {}, as it was at {} ({}), in {}",
        manifest.major,
        manifest.system_identifier,
        manifest.ended,
        manifest.stop_lsn,
        work.target.directory
    )];
    for place in replay.bases.iter().map(|it| &it.to) {
        notes.push(format!(
            "tablespace {} of {} in {}",
            place.oid, place.from, place.to
        ));
    }
    for place in replay.made.iter().map(|it| &it.to) {
        notes.push(format!(
            "tablespace {} of {}, which the log makes, in {}",
            place.oid, place.from, place.to
        ));
    }
    match owner {
        Some(owner) if owner.is(&manifest.owner) => notes.push(format!("owner: {}", owner.name)),
        Some(owner) => notes.push(format!(
            "owner: {} (the original's is {}: make the empty directory {} theirs before the \
             restore, and it is theirs)",
            owner.name, manifest.owner, work.target.directory
        )),
        None => notes.push(format!(
            "there is no user {:?} on this host: files keep the numbers of their owner",
            manifest.owner
        )),
    }
    if manifest.pages.damaged > 0 {
        notes.push(format!(
            "{} pages were damaged when the backup was made; /{MANIFEST} in the snapshot names them",
            manifest.pages.damaged
        ));
    }
    if !work.target.start {
        notes.push(
            "its settings are those of the original: before starting it beside that, switch off \
             what must not run twice (archive_mode, max_logical_replication_workers for \
             subscriptions, shared_preload_libraries for scheduled jobs), and look at port and \
             listen_addresses"
                .into(),
        );
    }
    notes
}

/// Of a server that runs.
pub(super) fn started(inputs: Inputs<'_>, running: &Running, owner: &Owner) -> String {
    let work = inputs.work;
    let address = if work.target.keep_settings {
        format!("on port {} of its listen_addresses", running.port)
    } else {
        format!("on 127.0.0.1:{}", running.port)
    };
    format!(
        "PostgreSQL {} accepts connections {address} and in {}; end it with `{} -D {} stop` as {}",
        inputs.manifest.major,
        running.directory.sockets().display(),
        running.pg_ctl.display(),
        work.target.directory,
        owner.name,
    )
}

/// Of tablespaces that the log makes, but not at that moment.
pub(super) fn not_there(places: &[String]) -> Option<String> {
    (!places.is_empty()).then(|| {
        format!(
            "of the tablespaces that the log makes, these were not there at that moment: {}",
            places.join(", ")
        )
    })
}
