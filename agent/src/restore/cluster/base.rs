//! The directories of a snapshot, restored as any other restore does it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use strongroom_layout::ObjectId;
use strongroom_repository::read::Reader;
use strongroom_wire::job::{Overwrite, RestoreResult};

use super::{ClusterRestoreError, owner::Owner, snapshot::Place};
use crate::restore::{
    Context, carry_out,
    decide::Mode,
    marker::{Marker, marker_name},
    plan::{Plan, Use},
    planned,
    select::Selection,
    space,
    survey::survey,
    target::Target,
    verify,
};

/// Plans every directory, each of which must be empty, or what an interrupted
/// run of the same restore has left: its marker says so, or somebody who knows
/// that it `resumes`.
pub(super) fn plan_all(
    contexts: &[Context<'_>],
    places: &[Place],
    selection: &Selection,
    resumes: bool,
) -> Result<Vec<Plan>, ClusterRestoreError> {
    let mut plans = Vec::new();
    for (context, place) in contexts.iter().zip(places) {
        context.monitor.enter("planning");
        let existing = Target::open(&place.target)?;
        let marked = match &existing {
            Some(target) => Marker::find(target, place.work.snapshot, &place.work.paths)?
                .is_some_and(|marker| marker.resumes()),
            None => false,
        };
        let mode = if marked || resumes {
            Mode::Resume
        } else {
            check_empty(&place.target, place.work.snapshot)?;
            Mode::Fresh(Overwrite::Never)
        };
        let mut plan = survey(context, existing.as_ref(), selection, mode, place.tree)?;
        verify::verify(context, existing.as_ref(), &mut plan)?;
        plans.push(plan);
    }
    Ok(plans)
}

/// The marker that this restore has made, before it wrote anything, is fine.
fn check_empty(target: &Path, snapshot: ObjectId) -> Result<(), ClusterRestoreError> {
    let entries = match fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(ClusterRestoreError::file("list", target))?,
    };
    for entry in entries {
        let name = entry
            .map_err(ClusterRestoreError::file("list", target))?
            .file_name();
        if name != *marker_name(snapshot) {
            return Err(ClusterRestoreError::NotEmpty {
                path: target.into(),
            });
        }
    }
    Ok(())
}

/// Refuses what does not fit: directories on one file system together, and the
/// `log` bytes that go into the data directory.
pub(super) fn check_space(
    reader: &Reader,
    plans: &[Plan],
    places: &[Place],
    (target, log): (&Path, u64),
) -> Result<(), ClusterRestoreError> {
    let length = |used: &Use| u64::from(reader.index().plaintext_length(used.blob));
    let mut needed: BTreeMap<u64, (u64, &Path)> = BTreeMap::new();
    let bases = plans.iter().zip(places);
    let bases = bases.map(|(plan, place)| (&*place.target, space::needed(plan, length)));
    for (path, bytes) in bases.chain([(target, log)]) {
        let device = device_of(path).unwrap_or(0);
        let entry = needed.entry(device).or_insert((0, path));
        entry.0 = entry.0.saturating_add(bytes);
    }
    for (bytes, path) in needed.into_values() {
        space::check(path, None, bytes)?;
    }
    Ok(())
}

/// Of the directory, or of the nearest above it that is there.
fn device_of(path: &Path) -> Option<u64> {
    let found = path.ancestors().find_map(|above| fs::metadata(above).ok());
    found.map(|metadata| metadata.dev())
}

/// Restores what was planned; the figures are of what was done.
pub(super) fn restore_all(
    contexts: &[Context<'_>],
    places: &[Place],
    selection: &Selection,
    plans: Vec<Plan>,
    result: &mut RestoreResult,
) -> Result<(), ClusterRestoreError> {
    let mut done = Vec::new();
    for ((context, place), plan) in contexts.iter().zip(places).zip(plans) {
        make_parents(&place.target)?;
        let figures = planned(&plan);
        done.push(carry_out(context, &place.work, selection, plan, figures)?);
    }
    result.files = done.iter().map(|done| done.files).sum();
    result.bytes_written = done.iter().map(|done| done.bytes_written).sum();
    result.bytes_fetched = done.iter().map(|done| done.bytes_fetched).sum();
    (result.plan, result.plan_count) = (Vec::new(), 0);
    Ok(())
}

/// Makes the directories above a target such that the server's user can pass
/// through them.
pub(super) fn make_parents(target: &Path) -> Result<(), ClusterRestoreError> {
    let Some(above) = target.parent() else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(above)
        .map_err(ClusterRestoreError::file("create", above))
}

/// Makes a data directory that nobody else can look into.
pub(super) fn make_directory(target: &Path) -> Result<(), ClusterRestoreError> {
    make_parents(target)?;
    match DirBuilder::new().mode(0o700).create(target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ClusterRestoreError::file("create", target)(error))
        }
        _ => Ok(()),
    }
}

/// Gives everything to the user that will run the server.
pub(super) fn hand_over(
    places: &[Place],
    owner: Option<&Owner>,
) -> Result<(), ClusterRestoreError> {
    for Place { target, mode, .. } in places {
        let permissions = fs::Permissions::from_mode(*mode);
        fs::set_permissions(target, permissions)
            .map_err(ClusterRestoreError::file("set the mode of", target))?;
        if let Some(owner) = owner {
            owner
                .take(target)
                .map_err(ClusterRestoreError::file("set the owner of", target))?;
        }
    }
    Ok(())
}
