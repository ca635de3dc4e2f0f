//! What a restore says of itself.

use strongroom_postgres::physical::manifest::{MANIFEST, Manifest};
use strongroom_wire::job::{PlannedAction, RestoreClusterWork, RestoreResult};

use super::{owner::Owner, places::Destination, snapshot::Place};
use crate::restore::{plan::Plan, planned};

/// What will be restored, a line per directory.
pub(super) fn figures(plans: &[Plan], places: &[Place]) -> RestoreResult {
    let mut sum = RestoreResult {
        files: 0,
        directories: 0,
        bytes_written: 0,
        files_kept: 0,
        bytes_fetched: 0,
        plan: Vec::new(),
        plan_count: places.len() as u64,
        notes: Vec::new(),
    };
    for (plan, place) in plans.iter().zip(places) {
        let figures = planned(plan);
        sum.files += figures.files;
        sum.directories += figures.directories;
        sum.files_kept += figures.files_kept;
        sum.plan.push(PlannedAction {
            path: place.work.target.clone().into_bytes(),
            action: "create".into(),
            bytes: plan.files.iter().map(|file| file.size).sum(),
        });
    }
    sum
}

/// What people should know of it.
pub(super) fn describe(
    manifest: &Manifest,
    work: &RestoreClusterWork,
    moves: &[Destination],
    owner: Option<&Owner>,
) -> Vec<String> {
    let mut notes = vec![format!(
        "PostgreSQL {} cluster {}, as it was at {} ({}), in {}",
        manifest.major, manifest.system_identifier, manifest.ended, manifest.stop_lsn, work.target
    )];
    for place in moves {
        notes.push(format!(
            "tablespace {} of {} in {}",
            place.oid, place.from, place.to
        ));
    }
    match owner {
        Some(owner) => notes.push(format!("owner: {}", owner.name)),
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
    if !work.start {
        notes.push(
            "before starting it beside the original, look at archive_command and at subscriptions: \
             it has those of the original"
                .into(),
        );
    }
    notes
}
