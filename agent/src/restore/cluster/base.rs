//! The directories of a snapshot, restored as any other restore does it.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use rustix::fs::{Mode as FileMode, OFlags, fchmod, openat};
use strongroom_compare::beneath;
use strongroom_layout::ObjectId;
use strongroom_repository::read::Reader;
use strongroom_spec::{Overwrite, RestoreOutcome};

use super::{ClusterRestoreError, owner::Owner, snapshot::Place};
use crate::{
    allowed::AllowedDirectory,
    restore::{
        Context, Unended,
        decide::Mode,
        marker::{Marker, marker_name},
        plan::{Plan, Use},
        planned,
        select::Selection,
        space,
        survey::survey,
        target::Target,
        verify, write,
    },
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
            Some(target) => Marker::find(target, place.work.snapshot, &place.work.target.paths)?
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
fn check_empty(target: &AllowedDirectory, snapshot: ObjectId) -> Result<(), ClusterRestoreError> {
    let look = || -> io::Result<Vec<_>> {
        let opened = target.open()?;
        opened.map_or(Ok(Vec::new()), beneath::names)
    };
    let names = look().map_err(ClusterRestoreError::file("list", target.path()))?;
    if names
        .iter()
        .all(|name| **name == *marker_name(snapshot).as_bytes())
    {
        return Ok(());
    }
    Err(ClusterRestoreError::NotEmpty {
        path: target.path().into(),
    })
}

/// Refuses what does not fit: directories on one file system together, and the
/// `log` bytes that go into the data directory.
pub(super) fn check_space(
    reader: &Reader,
    plans: &[Plan],
    places: &[Place],
    (target, log): (&AllowedDirectory, u64),
) -> Result<(), ClusterRestoreError> {
    let length = |used: &Use| u64::from(reader.index().plaintext_length(used.blob));
    let mut needed: BTreeMap<u64, (u64, &AllowedDirectory)> = BTreeMap::new();
    let bases = plans.iter().zip(places);
    let bases = bases.map(|(plan, place)| (&place.target, space::needed(plan, length)));
    for (directory, bytes) in bases.chain([(target, log)]) {
        let device = space::device(directory).unwrap_or(0);
        let entry = needed.entry(device).or_insert((0, directory));
        entry.0 = entry.0.saturating_add(bytes);
    }
    for (bytes, directory) in needed.into_values() {
        space::check(directory, bytes)?;
    }
    Ok(())
}

/// Restores what was planned; the figures are of what was done. The markers stay
/// until the cluster is handed over.
pub(super) fn restore_all(
    contexts: &[Context<'_>],
    places: &[Place],
    selection: &Selection,
    plans: Vec<Plan>,
    result: &mut RestoreOutcome,
) -> Result<Vec<Unended>, ClusterRestoreError> {
    let (mut done, mut unended) = (Vec::new(), Vec::new());
    for ((context, place), plan) in contexts.iter().zip(places).zip(plans) {
        make_directory(&place.target)?;
        let figures = planned(&plan);
        let (figures, marked) = write(context, &place.work, selection, plan, figures)?;
        done.push(figures);
        unended.push(marked);
    }
    result.files = done.iter().map(|done| done.files).sum();
    result.bytes_written = done.iter().map(|done| done.bytes_written).sum();
    result.bytes_fetched = done.iter().map(|done| done.bytes_fetched).sum();
    (result.plan, result.plan_count) = (Vec::new(), 0);
    Ok(unended)
}

/// Makes a data directory that nobody else can look into. Those above it, if
/// they are missing, let the server's user pass through.
pub(super) fn make_directory(target: &AllowedDirectory) -> Result<(), ClusterRestoreError> {
    let created = target.create(FileMode::from_raw_mode(0o755));
    let created = created.map_err(ClusterRestoreError::file("create", target.path()));
    created.map(drop)
}

/// Gives everything to the user that will run the server.
pub(super) fn hand_over(
    places: &[Place],
    owner: Option<&Owner>,
) -> Result<(), ClusterRestoreError> {
    for Place { target, mode, .. } in places {
        let set = || -> io::Result<()> {
            let opened = readable(target)?;
            Ok(fchmod(opened, FileMode::from_raw_mode(*mode))?)
        };
        set().map_err(ClusterRestoreError::file("set the mode of", target.path()))?;
        if let Some(owner) = owner {
            let take = || owner.take(&*target.descriptor()?);
            take().map_err(ClusterRestoreError::file("set the owner of", target.path()))?;
        }
    }
    Ok(())
}

/// Opens the very directory for calls that take no `O_PATH` descriptor.
pub(super) fn readable(target: &AllowedDirectory) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(target.descriptor()?, ".", flags, FileMode::empty())?)
}
