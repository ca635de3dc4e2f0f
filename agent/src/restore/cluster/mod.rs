//! From a physical snapshot to a data directory that a server can be started
//! on, and if wanted, to a server that runs.
//!
//! 1. The manifest says what cluster it is; `places` where its directories
//!    go. Nothing is written before it is known that all of them are empty,
//!    that everything fits, and that what is to be started can be.
//! 2. Each directory is restored as any other restore does it, verified.
//! 3. The links of moved tablespaces, what is missing of the configuration
//!    (`config`), and the owner (`owner`): the user that will run the server.
//! 4. `server` starts it, if that was asked for.
//!
//! No signal file is needed: the server finds `backup_label`, replays the
//! segments in `pg_wal` from there to their end, and is the primary of a
//! cluster of its own. It does what its configuration and its databases say:
//! to start a cluster is to trust whoever could write its snapshot, as far as
//! the user that runs it goes.

mod config;
mod error;
mod owner;
mod places;
mod relink;
mod server;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use strongroom_layout::ObjectId;
use strongroom_postgres::physical::manifest::{
    LARGEST_MANIFEST, MANIFEST, Manifest, PGDATA, TABLESPACES,
};
use strongroom_repository::{
    Repository,
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    read::Reader,
};
use strongroom_wire::job::{
    Overwrite, PlannedAction, RestoreClusterWork, RestoreResult, RestoreWork,
};
use tokio::runtime::Handle;

pub use error::ClusterRestoreError;

use self::{
    owner::Owner,
    places::{Destination, destinations},
    server::Programs,
};
use super::{
    Context, RestoreError, RestoreOptions, block_on, carry_out,
    decide::Mode,
    marker::{Marker, marker_name},
    open,
    plan::{Plan, Use},
    planned,
    problems::Problems,
    select::Selection,
    space,
    survey::survey,
    target::Target,
    verify,
};
use crate::monitor::Monitor;

/// Says whether a directory may be written that nobody named in the request,
/// and why not.
pub type Consent<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// A directory to restore.
struct Place {
    target: PathBuf,
    tree: BlobId,
    /// What the marker in it says.
    work: RestoreWork,
    /// Of the directory itself.
    mode: u32,
}

/// Restores a cluster, or plans to. Blocks, as [`super::run`] does.
#[expect(
    clippy::needless_pass_by_value,
    reason = "handles, as they come from whoever starts the thread"
)]
pub fn run(
    repository: Arc<Repository>,
    runtime: Handle,
    work: &RestoreClusterWork,
    options: &RestoreOptions,
    consent: Consent<'_>,
    monitor: Arc<Monitor>,
) -> Result<RestoreResult, ClusterRestoreError> {
    let target = Path::new(&work.target);
    if !target.is_absolute() {
        return Err(RestoreError::RelativeTarget(work.target.clone()).into());
    }
    let (snapshot, reader) = open(repository, &runtime, work.snapshot, &monitor)?;
    let source = Source {
        reader: &reader,
        runtime: &runtime,
        monitor: &monitor,
        snapshot: work.snapshot,
    };
    let root = source.tree(&snapshot.tree)?;
    let manifest = source.manifest(&root)?;
    let moves = destinations(&work.target, &manifest.tablespaces, &work.tablespaces)?;
    for place in moves.iter().filter(|place| !place.moved) {
        consent(&place.to).map_err(|cause| ClusterRestoreError::NotAllowed {
            path: place.to.clone(),
            cause,
        })?;
    }
    let places = source.places(&root, work, &moves)?;
    let owner = Owner::of_host(&manifest.owner);
    let programs = if work.start {
        Some(ready_to_start(&manifest, owner.as_ref())?)
    } else {
        None
    };
    let problems = Problems::default();
    let contexts: Vec<_> = places
        .iter()
        .map(|place| Context {
            reader: &reader,
            runtime: &runtime,
            options,
            monitor: &monitor,
            problems: &problems,
            target: &place.target,
            snapshot: work.snapshot,
        })
        .collect();
    let selection = Selection::new(&[])?;
    let plans = plan_all(&contexts, &places, &selection)?;
    let mut result = figures(&plans, &places);
    monitor
        .total_files
        .store(result.files + result.directories, Relaxed);
    result.notes = describe(&manifest, work, &moves, owner.as_ref());
    if work.dry_run {
        return Ok(result);
    }
    check_space(&reader, &plans, &places)?;
    let mut done = Vec::new();
    for ((context, place), plan) in contexts.iter().zip(&places).zip(plans) {
        make_parents(&place.target)?;
        let figures = planned(&plan);
        done.push(carry_out(context, &place.work, &selection, plan, figures)?);
    }
    drop(contexts);
    problems.into_result().map_err(ClusterRestoreError::from)?;
    result.files = done.iter().map(|done| done.files).sum();
    result.bytes_written = done.iter().map(|done| done.bytes_written).sum();
    result.bytes_fetched = done.iter().map(|done| done.bytes_fetched).sum();
    (result.plan, result.plan_count) = (Vec::new(), 0);
    relink::relink(target, &moves)?;
    let written = config::complete(target, &manifest)?;
    if !written.is_empty() {
        let what = written.join(", ");
        result.notes.push(format!(
            "{what} of the original lay outside of its data directory: minimal ones were written, \
             the original ones are below /config in the snapshot"
        ));
    }
    hand_over(&places, owner.as_ref())?;
    if let (Some(programs), Some(owner)) = (programs, owner) {
        monitor.enter("starting the server");
        let running = programs.start(target, &owner, &runtime, &monitor)?;
        result.notes.push(format!(
            "PostgreSQL {} accepts connections on 127.0.0.1:{} and in {}; end it with \
             `{} -D {} stop` as {}",
            manifest.major,
            running.port,
            running.sockets.display(),
            running.pg_ctl.display(),
            target.display(),
            owner.name,
        ));
    }
    Ok(result)
}

/// Who could start it, and with what; an error when nobody or nothing can.
fn ready_to_start(
    manifest: &Manifest,
    owner: Option<&Owner>,
) -> Result<Programs, ClusterRestoreError> {
    let programs = Programs::find(manifest.major)?;
    if owner.is_none() {
        return Err(ClusterRestoreError::NoUser {
            name: manifest.owner.clone(),
            major: manifest.major,
        });
    }
    Ok(programs)
}

/// The snapshot.
struct Source<'a> {
    reader: &'a Arc<Reader>,
    runtime: &'a Handle,
    monitor: &'a Monitor,
    snapshot: ObjectId,
}

impl Source<'_> {
    fn tree(&self, id: &BlobId) -> Result<Tree, RestoreError> {
        Ok(block_on(self.runtime, self.monitor, self.reader.tree(id))??)
    }

    fn not_physical(&self, cause: impl Into<String>) -> ClusterRestoreError {
        ClusterRestoreError::NotPhysical {
            snapshot: self.snapshot.short(),
            cause: cause.into(),
        }
    }

    fn manifest(&self, root: &Tree) -> Result<Manifest, ClusterRestoreError> {
        let node = find(root, MANIFEST);
        let Some(NodeKind::File { size, content }) = node.map(|node| &node.kind) else {
            return Err(self.not_physical(format!("it has no /{MANIFEST}")));
        };
        if *size > LARGEST_MANIFEST {
            return Err(self.not_physical(format!("its /{MANIFEST} has {size} bytes")));
        }
        let mut json = Vec::new();
        for id in content {
            let blob = self.reader.blob(BlobKind::Data, id);
            let blob = block_on(self.runtime, self.monitor, blob)?;
            json.extend(blob.map_err(RestoreError::from)?);
            if json.len() as u64 > LARGEST_MANIFEST {
                return Err(self.not_physical(format!("its /{MANIFEST} is too large")));
            }
        }
        Manifest::parse(&json).map_err(|source| ClusterRestoreError::Manifest {
            snapshot: self.snapshot.short(),
            source,
        })
    }

    /// The data directory first, then the tablespaces.
    fn places(
        &self,
        root: &Tree,
        work: &RestoreClusterWork,
        moves: &[Destination],
    ) -> Result<Vec<Place>, ClusterRestoreError> {
        let mut places = vec![self.place(root, PGDATA, PGDATA, &work.target, work)?];
        if moves.is_empty() {
            return Ok(places);
        }
        let above = find(root, TABLESPACES).and_then(subtree);
        let above = above.ok_or_else(|| self.not_physical("its tablespaces are missing"))?;
        let above = self.tree(&above)?;
        for place in moves {
            let name = place.oid.to_string();
            let shown = format!("{TABLESPACES}/{name}");
            places.push(self.place(&above, &name, &shown, &place.to, work)?);
        }
        Ok(places)
    }

    fn place(
        &self,
        above: &Tree,
        name: &str,
        shown: &str,
        target: &str,
        work: &RestoreClusterWork,
    ) -> Result<Place, ClusterRestoreError> {
        let node = find(above, name);
        let tree = node.and_then(subtree);
        let missing = || self.not_physical(format!("it has no directory /{shown}"));
        let (node, tree) = node.zip(tree).ok_or_else(missing)?;
        Ok(Place {
            target: target.into(),
            tree,
            // PostgreSQL takes no other modes.
            mode: if node.mode & 0o050 == 0o050 && shown == PGDATA {
                0o750
            } else {
                0o700
            },
            work: RestoreWork {
                snapshot: work.snapshot,
                target: target.to_owned(),
                paths: vec![format!("/{shown}")],
                overwrite: Overwrite::Never,
                dry_run: work.dry_run,
            },
        })
    }
}

fn find<'t>(tree: &'t Tree, name: &str) -> Option<&'t Node> {
    tree.nodes.iter().find(|node| node.name == name.as_bytes())
}

fn subtree(node: &Node) -> Option<BlobId> {
    match node.kind {
        NodeKind::Dir { subtree } => subtree,
        _ => None,
    }
}

/// Plans every directory, each of which must be empty, or what an interrupted
/// run of the same restore has left.
fn plan_all(
    contexts: &[Context<'_>],
    places: &[Place],
    selection: &Selection,
) -> Result<Vec<Plan>, ClusterRestoreError> {
    let mut plans = Vec::new();
    for (context, place) in contexts.iter().zip(places) {
        context.monitor.enter("planning");
        let existing = Target::open(&place.target)?;
        let resumes = match &existing {
            Some(target) => Marker::find(target, place.work.snapshot, &place.work.paths)?
                .is_some_and(|marker| marker.resumes()),
            None => false,
        };
        let mode = if resumes {
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

/// Refuses what does not fit: directories on one file system together.
fn check_space(
    reader: &Reader,
    plans: &[Plan],
    places: &[Place],
) -> Result<(), ClusterRestoreError> {
    let length = |used: &Use| u64::from(reader.index().plaintext_length(used.blob));
    let mut needed: BTreeMap<u64, (u64, &Path)> = BTreeMap::new();
    for (plan, place) in plans.iter().zip(places) {
        let bytes = space::needed(plan, length);
        let device = device_of(&place.target).unwrap_or(0);
        let entry = needed.entry(device).or_insert((0, &place.target));
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

/// Makes the directories above a target such that the server's user can pass
/// through them.
fn make_parents(target: &Path) -> Result<(), ClusterRestoreError> {
    let Some(above) = target.parent() else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(above)
        .map_err(ClusterRestoreError::file("create", above))
}

/// Gives everything to the user that will run the server.
fn hand_over(places: &[Place], owner: Option<&Owner>) -> Result<(), ClusterRestoreError> {
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

/// What will be restored, a line per directory.
fn figures(plans: &[Plan], places: &[Place]) -> RestoreResult {
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
fn describe(
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
