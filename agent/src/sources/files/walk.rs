//! The walk: what the crew does for each directory and its entries.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::{
    fs::{AtFlags, FileType, Stat, fstat, readlinkat, statat},
    io::Errno,
};
use strongroom_repository::{
    format::{
        FormatError,
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    write::{Halted, ParentTrees, Worker, WriteError, Writer},
};
use strongroom_spec::{FilesSource, WarningCode};

use super::{
    file::{Entry, Linked, cause},
    frame::{Batch, Complete, Frame, Inherited, Place, Slot},
    globs::{Filter, InvalidGlob},
    metadata::{self, kind},
    open::{self, Approach, Directory},
    owners::Owners,
    pseudo,
    roots::{InvalidPath, Target, join},
    settled::Settled,
    stamps,
    xattrs::{self, Xattrs},
};
use crate::{allowed::AllowedPaths, monitor::Monitor, sources::throttle::Pace};

/// Entries that a worker takes at once.
const BATCH: usize = 16;

/// Why no tree came of a files source.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path is none.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// A glob is none.
    #[error(transparent)]
    Glob(#[from] InvalidGlob),
    /// No path at all.
    #[error("the source names no path: give it at least one")]
    NoPaths,
    /// Not one of the paths could be read.
    #[error("none of the paths could be read: {path:?}: {cause}")]
    Nothing {
        /// The first.
        path: String,
        /// Why not.
        cause: String,
        /// Nothing was ever there, as far as the last snapshot knows: another attempt
        /// would not find it either.
        absent: bool,
    },
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
}

/// Called at certain moments of a file's life, so that tests can interfere.
pub type Probe = Arc<dyn Fn(Moment, &[u8]) + Send + Sync>;

/// See [`Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its directory was listed; nothing else is known.
    Listed,
    /// It is about to be opened.
    BeforeOpen,
    /// It is open, and nothing was read.
    Opened,
    /// Everything was read.
    Read,
}

/// What a walk works with.
pub struct FilesOptions {
    /// What to save.
    pub source: FilesSource,
    /// How its paths are reached, and what is left out.
    pub allowed: AllowedPaths,
    /// The last snapshot's trees.
    pub parents: ParentTrees,
    /// When this backup began, by the host's clock.
    pub began: Timestamp,
    /// Told about progress and warnings.
    pub monitor: Arc<Monitor>,
    /// How fast files are read.
    pub pace: Pace,
    /// For tests.
    pub probe: Option<Probe>,
}

impl std::fmt::Debug for FilesOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesOptions")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// What a walk met. Bytes throughout.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries that are not directories.
    pub files: AtomicU64,
    /// Directories at and below the requested paths.
    pub directories: AtomicU64,
    /// Files taken over from the parent.
    pub files_unmodified: AtomicU64,
    /// Read from files.
    pub bytes_read: AtomicU64,
    /// All files.
    pub bytes_total: AtomicU64,
}

impl Counts {
    /// Those of a source that made files and directories of its own.
    pub fn of_made(files: u64, directories: u64, size: u64) -> Self {
        Self {
            files: files.into(),
            directories: directories.into(),
            bytes_read: size.into(),
            bytes_total: size.into(),
            ..Self::default()
        }
    }

    /// Those of a source that is one file, read in full.
    pub fn of_one_file(size: u64) -> Self {
        Self {
            files: 1.into(),
            bytes_read: size.into(),
            bytes_total: size.into(),
            ..Self::default()
        }
    }

    pub(super) fn unmodified(&self, size: u64) {
        self.files_unmodified.fetch_add(1, Relaxed);
        self.file(size);
    }

    pub(super) fn file(&self, size: u64) {
        self.bytes_total.fetch_add(size, Relaxed);
    }
}

/// What everybody in a walk shares.
pub(super) struct Walk<'t> {
    target: &'t Target,
    pub(super) allowed: AllowedPaths,
    pub(super) filter: Filter,
    one_file_system: bool,
    pub(super) exclude_caches: bool,
    pub(super) owners: Owners,
    pub(super) parents: ParentTrees,
    /// What was written after the last backup began may have been missed.
    pub(super) settled: Option<Settled>,
    pub(super) stamps: stamps::Known,
    pub(super) monitor: Arc<Monitor>,
    pub(super) pace: Pace,
    pub(super) counts: Counts,
    pub(super) links: Mutex<HashMap<(u64, u64), Linked>>,
    /// Requested paths that could be read.
    read_roots: AtomicU64,
    /// Requested paths where nothing is and nothing was.
    absent_roots: AtomicU64,
    /// There is a last snapshot.
    has_previous: bool,
    root: OnceLock<BlobId>,
    probe: Option<Probe>,
}

/// What is known of an entry in the last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    There,
    Absent,
    Unknown,
}

/// A piece of work.
pub(super) enum Item<'t> {
    /// Open a directory and list it.
    Open(Box<Directory<'t>>),
    /// Take care of some entries.
    Entries(Arc<Frame<'t>>),
}

/// What becomes of an entry.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Outcome<'t> {
    /// Stored; or nothing is stored of it.
    Node(Option<Node>),
    /// Its node comes later.
    Directory(Box<Directory<'t>>),
}

/// Saves all files of a source; gives the root tree and what was met.
pub fn save(writer: &Writer, options: FilesOptions) -> Result<(BlobId, Counts), FilesError> {
    let source = &options.source;
    let target = Target::new(&source.paths, &options.allowed)?;
    if source.paths.is_empty() {
        return Err(FilesError::NoPaths);
    }
    let previous = options.parents.root();
    let walk = Walk {
        target: &target,
        allowed: options.allowed,
        filter: Filter::new(&source.include, &source.exclude)?,
        one_file_system: source.one_file_system,
        exclude_caches: source.exclude_caches,
        owners: Owners::of_host(),
        settled: options
            .parents
            .began()
            .map(|parent| Settled::new(parent, options.began)),
        stamps: stamps::Known::default(),
        parents: options.parents,
        monitor: options.monitor,
        pace: options.pace,
        counts: Counts::default(),
        links: Mutex::default(),
        read_roots: AtomicU64::new(0),
        absent_roots: AtomicU64::new(0),
        has_previous: previous.is_some(),
        root: OnceLock::new(),
        probe: options.probe,
    };
    let first = Item::Open(Box::new(walk.top(previous)));
    writer.run(first, |worker, item| walk.handle(worker, item))?;
    if walk.read_roots.load(Relaxed) == 0 {
        // Each has its warning.
        let (warnings, _) = walk.monitor.warnings();
        let first = warnings.into_iter().next();
        let (path, cause) = first.map_or_else(Default::default, |first| (first.path, first.cause));
        let mut requested = 0;
        target.for_each_requested(b"/", &mut |_| requested += 1);
        return Err(FilesError::Nothing {
            path: String::from_utf8_lossy(&path).into_owned(),
            cause,
            absent: walk.absent_roots.load(Relaxed) == requested,
        });
    }
    walk.say_what_was_not_found();
    let root = walk.root.get().copied().ok_or(Halted)?;
    Ok((root, walk.counts))
}

impl<'t> Walk<'t> {
    /// `/`.
    fn top(&self, previous: Option<BlobId>) -> Directory<'t> {
        let inherited = Inherited {
            requested: self.target.requested,
            device: None,
            here: None,
            included: self.filter.includes(b"/", true),
        };
        Directory {
            place: Place {
                path: b"/".to_vec(),
                up: None,
                inherited,
                target: Some(self.target),
            },
            parent: None,
            name: Box::from(*b"/"),
            stat: None,
            previous,
            approach: Approach::Below,
        }
    }

    fn handle(&self, worker: &mut Worker<'_, Item<'t>>, item: Item<'t>) -> Result<(), Halted> {
        match item {
            Item::Open(directory) => self.open(worker, *directory),
            Item::Entries(frame) => self.entries(worker, frame),
        }
    }

    fn open(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        mut directory: Directory<'t>,
    ) -> Result<(), Halted> {
        self.probe(Moment::BeforeOpen, &directory.place.path);
        match open::open(self, &directory) {
            Ok(opened) => {
                if directory.is_requested() {
                    self.read_roots.fetch_add(1, Relaxed);
                    directory.place.inherited.device = Some(opened.device);
                }
                directory.place.inherited.here = Some(opened.device);
                if directory.place.inherited.requested {
                    self.counts.directories.fetch_add(1, Relaxed);
                }
                let previous = directory.previous.and_then(|id| self.parents.tree(id));
                let empty = opened.names.is_empty();
                if empty && directory.is_requested() {
                    self.warn(
                        WarningCode::NothingFound,
                        &directory.place.path,
                        "it is an empty directory: if a file system is usually mounted here, it \
                         is not now",
                    );
                }
                let mut node = opened.node;
                if !directory.place.inherited.requested
                    && let Some(up) = &directory.place.up
                    && let Some(before) = previous_node(up.frame.previous_tree(), &directory.name)
                {
                    metadata::keep_times(&mut node, before);
                }
                let frame = Frame::new(
                    directory.place,
                    previous,
                    node,
                    opened.directory,
                    opened.names,
                );
                let frame = Arc::new(frame);
                if empty {
                    return self.put(worker, frame, []);
                }
                worker.push(Item::Entries(frame));
                Ok(())
            }
            Err(error) => self.unreadable(worker, directory, &error),
        }
    }

    /// A directory that cannot be opened stands in the snapshot, empty; one
    /// that has vanished does not.
    fn unreadable(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        directory: Directory<'t>,
        error: &io::Error,
    ) -> Result<(), Halted> {
        let place = directory.place;
        self.lose(place.target, &place.path, &cause(error));
        let Some(up) = place.up else {
            // `/` itself: there is no tree.
            return Ok(());
        };
        let gone = error.kind() == io::ErrorKind::NotADirectory
            || matches!(
                Errno::from_io_error(error),
                Some(Errno::NOENT | Errno::LOOP)
            );
        let node = match directory.stat {
            Some(stat) if !gone => {
                self.counts.directories.fetch_add(1, Relaxed);
                Some(self.empty_directory(worker, &directory.name, &stat, Vec::new())?)
            }
            _ => None,
        };
        self.put(worker, up.frame, [(up.index, node)])
    }

    fn entries(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        frame: Arc<Frame<'t>>,
    ) -> Result<(), Halted> {
        let Some(batch) = frame.take_batch(BATCH) else {
            return Ok(());
        };
        if batch.more {
            // Others may go on with it.
            worker.push(Item::Entries(Arc::clone(&frame)));
        }
        let Batch {
            directory,
            first,
            names,
            ..
        } = batch;
        let mut nodes = Vec::with_capacity(names.len());
        let mut below = Vec::new();
        for (index, name) in (first..).zip(names) {
            worker.check()?;
            let up = Slot {
                frame: Arc::clone(&frame),
                index,
            };
            match self.entry(worker, &directory, up, name)? {
                Outcome::Node(node) => nodes.push((index, node)),
                Outcome::Directory(directory) => below.push(directory),
            }
        }
        // The last pushed is the first done: keep to the order of names.
        for directory in below.into_iter().rev() {
            worker.push(Item::Open(directory));
        }
        self.put(worker, frame, nodes)
    }

    fn entry(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        directory: &Arc<OwnedFd>,
        up: Slot<'t>,
        name: Box<[u8]>,
    ) -> Result<Outcome<'t>, Halted> {
        let frame = Arc::clone(&up.frame);
        let above = &frame.place;
        let path = join(&above.path, &name);
        let target = above.target.and_then(|target| target.children.get(&*name));
        let requested = target.is_some_and(|target| target.requested);
        let on_the_way = !above.inherited.requested && !requested;
        let approach = match target.and_then(|target| target.way.as_ref()) {
            Some(way) if on_the_way => Approach::Along(way),
            None if on_the_way => Approach::Through,
            _ => Approach::Below,
        };
        self.probe(Moment::Listed, &path);
        let stat = match look(directory, &name, approach) {
            Ok(stat) if on_the_way && kind(&stat) != FileType::Directory => {
                self.lose(target, &path, "it is not a directory");
                return Ok(Outcome::Node(None));
            }
            Ok(stat) => stat,
            Err(error) => {
                let before = self.before(&frame, &name);
                match target {
                    Some(target) if error.kind() == io::ErrorKind::NotFound => {
                        self.miss(target, &path, before);
                    }
                    _ => self.lose(target, &path, &cause(&error)),
                }
                return Ok(Outcome::Node(None));
            }
        };
        let entry = Entry {
            directory,
            name: &name,
            path: &path,
        };
        if let Some(own) = self.allowed.off_limits().find(&stat) {
            return self.own_state(worker, entry, target, &stat, &own);
        }
        if let Some(kind) = self.pseudo(above, entry, requested, &stat) {
            return self.pseudo_file_system(worker, entry, target, &stat, kind);
        }
        if !requested && self.is_left_out_mount(above, &path, &stat) {
            self.warn(
                WarningCode::MountLeftOut,
                &path,
                "another file system is mounted here (or it is a subvolume of its own), and the \
                 policy says `one_file_system`: name this path in its `paths` to back it up, or \
                 exclude it, and nothing more will be said of it",
            );
        }
        let Some(inherited) = self.inherit(above, target, &path, &stat) else {
            let other_device =
                kind(&stat) == FileType::Directory && !self.filter.excludes(&path, true);
            let node = if other_device {
                // A mount point stands in the snapshot, empty.
                self.counts.directories.fetch_add(1, Relaxed);
                Some(self.empty_directory(
                    worker,
                    &name,
                    &stat,
                    self.xattrs(directory, &name, &path),
                )?)
            } else {
                None
            };
            return Ok(Outcome::Node(node));
        };
        if kind(&stat) == FileType::Directory {
            return Ok(Outcome::Directory(Box::new(Directory {
                previous: previous_subtree(frame.previous_tree(), &name),
                place: Place {
                    path,
                    up: Some(up),
                    inherited,
                    target,
                },
                parent: Some(Arc::clone(directory)),
                name,
                stat: Some(stat),
                approach,
            })));
        }
        let node = self.leaf(worker, entry, &stat, frame.previous_tree())?;
        if node.is_some() {
            self.counts.files.fetch_add(1, Relaxed);
            self.monitor.files.fetch_add(1, Relaxed);
        }
        if requested {
            if node.is_some() {
                self.read_roots.fetch_add(1, Relaxed);
            }
            match kind(&stat) {
                FileType::Symlink => self.warn(
                    WarningCode::RequestedLink,
                    &path,
                    "it is a symbolic link: the link is stored, not what it names",
                ),
                FileType::Socket => self.warn(
                    WarningCode::TypeNotStored,
                    &path,
                    "it is a socket: nothing of it can be stored",
                ),
                _ => {}
            }
        }
        Ok(Outcome::Node(node))
    }

    /// The agent's own state: its directory stands in the snapshot, empty, and
    /// what else of it is met does not.
    fn own_state(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        target: Option<&Target>,
        stat: &Stat,
        own: &Path,
    ) -> Result<Outcome<'t>, Halted> {
        let is_directory = kind(stat) == FileType::Directory;
        // What a policy excludes is left out without a word.
        if target.is_none() && self.filter.excludes(entry.path, is_directory) {
            return Ok(Outcome::Node(None));
        }
        self.lose(target, entry.path, &open::off_limits(own));
        if !is_directory {
            return Ok(Outcome::Node(None));
        }
        self.counts.directories.fetch_add(1, Relaxed);
        let xattrs = self.xattrs(entry.directory, entry.name, entry.path);
        let node = self.empty_directory(worker, entry.name, stat, xattrs)?;
        Ok(Outcome::Node(Some(node)))
    }

    /// The type of the pseudo file system that an entry lies on and that is to
    /// be left out with a word: its mount point, or what is requested on it.
    fn pseudo(
        &self,
        above: &Place<'_>,
        entry: Entry<'_>,
        requested: bool,
        stat: &Stat,
    ) -> Option<&'static str> {
        let is_directory = kind(stat) == FileType::Directory;
        let is_mount = above.inherited.requested
            && above.inherited.here.is_some_and(|here| here != stat.st_dev)
            && !self.filter.excludes(entry.path, is_directory);
        if !requested && !is_mount {
            return None;
        }
        pseudo::kind_of(entry.directory, entry.name, requested && is_directory)
    }

    /// A pseudo file system: its mount point stands in the snapshot, empty, and
    /// so does a directory on it that is requested.
    fn pseudo_file_system(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        target: Option<&Target>,
        stat: &Stat,
        of: &str,
    ) -> Result<Outcome<'t>, Halted> {
        let cause = format!(
            "it lies on a {of} file system, which holds no data, only what the kernel shows of \
             itself: nothing on it is backed up, even if a path in it is requested; exclude it in \
             the policy, and nothing more will be said of it"
        );
        let code = WarningCode::PseudoFileSystem;
        match target {
            Some(_) => self.lose_as(code, target, entry.path, &cause),
            // Whoever asks for `/` does not ask for `/proc`.
            None => self.monitor.note(code, entry.path, cause),
        }
        if kind(stat) != FileType::Directory {
            return Ok(Outcome::Node(None));
        }
        self.counts.directories.fetch_add(1, Relaxed);
        let node = self.empty_directory(worker, entry.name, stat, Vec::new())?;
        Ok(Outcome::Node(Some(node)))
    }

    /// Whether a file system other than the requested path's begins here, which
    /// nothing but `one_file_system` leaves out.
    fn is_left_out_mount(&self, above: &Place<'_>, path: &[u8], stat: &Stat) -> bool {
        let from = above.inherited;
        let directory = kind(stat) == FileType::Directory;
        self.one_file_system
            && from.requested
            && from.device.is_some_and(|device| device != stat.st_dev)
            && !self.filter.excludes(path, directory)
            && (directory || from.included || self.filter.includes(path, false))
    }

    /// What an entry inherits; `None` when it is left out.
    fn inherit(
        &self,
        above: &Place<'_>,
        target: Option<&Target>,
        path: &[u8],
        stat: &Stat,
    ) -> Option<Inherited> {
        let directory = kind(stat) == FileType::Directory;
        if target.is_some_and(|target| target.requested) {
            return Some(Inherited {
                requested: true,
                device: Some(stat.st_dev),
                here: None,
                included: self.filter.includes(path, directory),
            });
        }
        let from = above.inherited;
        if !from.requested {
            return target.map(|_| from);
        }
        let other_device = self.one_file_system && from.device.is_some_and(|d| d != stat.st_dev);
        // Asked even if that decides nothing: a glob that matches nothing is
        // complained about.
        let included = self.filter.includes(path, directory) || from.included;
        let left_out =
            other_device || self.filter.excludes(path, directory) || !(directory || included);
        if left_out {
            // It may be on the way to a requested path all the same.
            return target.map(|_| Inherited {
                requested: false,
                ..from
            });
        }
        Some(Inherited { included, ..from })
    }

    /// Anything but a directory.
    fn leaf(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        entry: Entry<'_>,
        stat: &Stat,
        previous: Option<&Tree>,
    ) -> Result<Option<Node>, Halted> {
        let device = stat.st_rdev;
        let of = match kind(stat) {
            FileType::RegularFile => return self.file(worker, entry, stat, previous),
            FileType::Symlink => match readlinkat(entry.directory, entry.name, Vec::new()) {
                Ok(target) => NodeKind::Symlink {
                    target: target.into_bytes(),
                },
                Err(errno) => {
                    self.warn(WarningCode::Unreadable, entry.path, cause(&errno.into()));
                    return Ok(None);
                }
            },
            FileType::Fifo => NodeKind::Fifo,
            FileType::CharacterDevice => NodeKind::CharDevice { device },
            FileType::BlockDevice => NodeKind::BlockDevice { device },
            // Made by whoever listens on them.
            FileType::Socket => return Ok(None),
            _ => {
                self.warn(
                    WarningCode::TypeNotStored,
                    entry.path,
                    "it is of a type that is not known",
                );
                return Ok(None);
            }
        };
        let xattrs = self.xattrs(entry.directory, entry.name, entry.path);
        Ok(Some(metadata::node(
            entry.name,
            of,
            stat,
            &self.owners,
            xattrs,
        )))
    }

    fn xattrs(&self, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Xattrs {
        xattrs::of_entry(directory.as_fd(), name).unwrap_or_else(|error| {
            self.warn(
                WarningCode::AttributesUnreadable,
                path,
                format!("its extended attributes cannot be read: {error}"),
            );
            Vec::new()
        })
    }

    fn empty_directory(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        name: &[u8],
        stat: &Stat,
        xattrs: Xattrs,
    ) -> Result<Node, Halted> {
        let tree = Tree::default()
            .encode()
            .map_err(|error| failed(worker, error))?;
        let subtree = Some(worker.save(BlobKind::Tree, &tree)?);
        let of = NodeKind::Dir { subtree };
        Ok(metadata::node(name, of, stat, &self.owners, xattrs))
    }

    /// Puts nodes in their places. A directory that is complete thereby is
    /// saved, which may complete the one above it, and so on.
    fn put(
        &self,
        worker: &mut Worker<'_, Item<'t>>,
        frame: Arc<Frame<'t>>,
        nodes: impl IntoIterator<Item = (usize, Option<Node>)>,
    ) -> Result<(), Halted> {
        let mut frame = frame;
        let mut complete = frame.put(nodes).map_err(|error| failed(worker, error))?;
        while let Some(Complete {
            tree,
            own: mut node,
        }) = complete
        {
            let known = frame
                .previous
                .as_ref()
                .and_then(|before| before.id_of(&tree));
            let id = match known.filter(|id| worker.knows(BlobKind::Tree, *id)) {
                Some(id) => id,
                None => worker.save(BlobKind::Tree, &tree)?,
            };
            let Some(up) = frame.place.up.clone() else {
                // Nobody else completes `/`.
                let _ = self.root.set(id);
                return Ok(());
            };
            node.kind = NodeKind::Dir { subtree: Some(id) };
            complete = up
                .frame
                .put([(up.index, Some(node))])
                .map_err(|error| failed(worker, error))?;
            frame = up.frame;
        }
        Ok(())
    }

    /// A source that gives nothing, or less than its words say, is seldom meant.
    fn say_what_was_not_found(&self) {
        for glob in self.filter.unmatched_includes() {
            let cause = "this `include` pattern matched nothing: what it was to take is not in \
                         the snapshot";
            self.warn(WarningCode::IncludeUnmatched, glob.as_bytes(), cause);
        }
        for glob in self.filter.unmatched_excludes() {
            let cause = "this `exclude` pattern matched nothing";
            self.warn(WarningCode::ExcludeUnmatched, glob.as_bytes(), cause);
        }
        if self.counts.files.load(Relaxed) == 0 && self.monitor.warning_count() == 0 {
            let cause = "no file was found, or none was left by the source's patterns: the \
                         snapshot holds directories only";
            self.warn(WarningCode::NothingFound, b"/", cause);
        }
    }

    pub(super) fn probe(&self, moment: Moment, path: &[u8]) {
        if let Some(probe) = &self.probe {
            probe(moment, path);
        }
    }

    pub(super) fn warn(&self, code: WarningCode, path: &[u8], cause: impl Into<String>) {
        self.monitor.warn(code, path, cause);
    }

    pub(super) fn read_bytes(&self, bytes: u64) {
        self.counts.bytes_read.fetch_add(bytes, Relaxed);
        self.monitor.bytes.fetch_add(bytes, Relaxed);
    }

    /// An entry cannot be read, and with it what is requested at or below it.
    /// Nothing is where a path was named, or on the way to it.
    fn miss(&self, target: &Target, path: &[u8], before: Before) {
        let cause = match before {
            Before::There => "it is gone: it was there when the last snapshot was taken",
            Before::Absent | Before::Unknown => "there is no such file or directory",
        };
        if before == Before::Absent {
            target.for_each_requested(path, &mut |_| {
                self.absent_roots.fetch_add(1, Relaxed);
            });
        }
        self.lose(Some(target), path, cause);
    }

    /// What the last snapshot says of an entry that is not there now. A directory
    /// that could not be read stands in it empty, or not at all: that says nothing
    /// of what was in it.
    fn before(&self, frame: &Frame<'t>, name: &[u8]) -> Before {
        match frame.previous_tree() {
            None if !self.has_previous => Before::Absent,
            Some(tree) if previous_node(Some(tree), name).is_some() => Before::There,
            Some(tree) if !tree.nodes.is_empty() => Before::Absent,
            _ => Before::Unknown,
        }
    }

    fn lose(&self, target: Option<&Target>, path: &[u8], cause: &str) {
        self.lose_as(WarningCode::Unreadable, target, path, cause);
    }

    fn lose_as(&self, code: WarningCode, target: Option<&Target>, path: &[u8], cause: &str) {
        let Some(target) = target else {
            return self.warn(code, path, cause);
        };
        target.for_each_requested(path, &mut |lost| {
            let cause = if lost == path {
                cause.to_owned()
            } else {
                format!("{}: {cause}", String::from_utf8_lossy(path))
            };
            self.warn(code, lost, cause);
        });
    }
}

/// What an entry is, before it is opened.
fn look(directory: &OwnedFd, name: &[u8], approach: Approach<'_>) -> io::Result<Stat> {
    Ok(match approach {
        Approach::Below => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?,
        Approach::Through => statat(directory, name, AtFlags::empty())?,
        Approach::Along(way) => fstat(way.open()?)?,
    })
}

/// An entry of a directory in the parent snapshot.
fn previous_node<'p>(previous: Option<&'p Tree>, name: &[u8]) -> Option<&'p Node> {
    let nodes = &previous?.nodes;
    let place = nodes.binary_search_by(|node| (*node.name).cmp(name)).ok()?;
    nodes.get(place)
}

/// The tree of a directory in the parent snapshot.
fn previous_subtree(previous: Option<&Tree>, name: &[u8]) -> Option<BlobId> {
    match previous_node(previous, name)?.kind {
        NodeKind::Dir { subtree } => subtree,
        _ => None,
    }
}

fn failed(worker: &Worker<'_, Item<'_>>, source: FormatError) -> Halted {
    worker.fail(WriteError::Format {
        what: "a tree",
        source,
    })
}
