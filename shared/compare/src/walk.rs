//! Walks both trees at once, on several threads.
//!
//! A task is a directory or a large file. Tasks lie on a stack, so that trees
//! are walked depth first and few tasks wait; a task names its directory by
//! path and opens it anew, so that no descriptors are held while it waits.

use std::{
    cmp::Ordering,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use rustix::fs::FileType;

use crate::{
    CompareError, CompareOptions, Comparison, Difference, MAX_DIFFERENCES, beneath,
    content::Buffers,
    entry::{self, Pair, Rest},
    links::Links,
    queue::Queue,
};

/// Files from this size on are tasks of their own, bytes.
const LARGE_FILE: u64 = 1024 * 1024;

/// Beyond so many waiting tasks, large files are compared on the spot.
const MAX_WAITING_FILES: usize = 4_096;

const MISSING: &str = "is missing from the restored tree";
const EXTRA: &str = "is not in the source";

/// What all threads share.
pub(crate) struct Shared<'a> {
    pub(crate) options: &'a CompareOptions,
    pub(crate) links: Mutex<Links>,
    /// Absolute, for messages, `skip` and `excluded`.
    source: PathBuf,
    roots: Roots,
    entries: AtomicU64,
    bytes: AtomicU64,
    differences: Mutex<Vec<Difference>>,
    difference_count: AtomicU64,
    queue: Queue<Task>,
}

/// The directories that the two trees' top entries stand in, and their names.
struct Roots {
    source: OwnedFd,
    name: Box<[u8]>,
    restored: OwnedFd,
    restored_name: Box<[u8]>,
}

enum Task {
    /// A directory below the top entries (empty: those themselves).
    Directory(Box<[u8]>),
    /// A file in such a directory.
    File {
        directory: Box<[u8]>,
        name: Box<[u8]>,
        size: u64,
    },
}

pub(crate) fn compare(
    source: &Path,
    restored: &Path,
    options: &CompareOptions,
) -> Result<Comparison, CompareError> {
    let (source_root, name) = open_top(source)?;
    let (restored_root, restored_name) = open_top(restored)?;
    let shared = Shared {
        options,
        links: Mutex::default(),
        source: std::path::absolute(source).unwrap_or_else(|_| source.into()),
        roots: Roots {
            source: source_root,
            name,
            restored: restored_root,
            restored_name,
        },
        entries: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        differences: Mutex::default(),
        difference_count: AtomicU64::new(0),
        queue: Queue::new(),
    };
    shared.compare_top();
    thread::scope(|scope| {
        for _ in 1..options.threads {
            let builder = thread::Builder::new().name("compare".into());
            builder
                .spawn_scoped(scope, || shared.work())
                .map_err(CompareError::Thread)?;
        }
        shared.work();
        Ok(())
    })?;
    let mut differences = into_inner(shared.differences);
    differences.sort();
    Ok(Comparison {
        entries: shared.entries.into_inner(),
        bytes: shared.bytes.into_inner(),
        differences,
        difference_count: shared.difference_count.into_inner(),
    })
}

/// The directory that holds a tree's top entry, and the entry's name there.
fn open_top(path: &Path) -> Result<(OwnedFd, Box<[u8]>), CompareError> {
    let failed = |source: io::Error| CompareError::Root {
        path: path.into(),
        source,
    };
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), name),
        (Some(parent), Some(name)) => (parent, name),
        // `/`, `.` and what ends in `..`: the directory itself.
        _ => (path, OsStr::new(".")),
    };
    let directory = beneath::open_root(parent).map_err(failed)?;
    entry::stat(&directory, name.as_bytes()).map_err(failed)?;
    Ok((directory, name.as_bytes().into()))
}

impl Shared<'_> {
    pub(crate) fn count_entry(&self) {
        self.entries.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Notes a difference; nothing is left to do then.
    pub(crate) fn differs(&self, path: &Path, what: String) -> Rest {
        self.difference_count.fetch_add(1, Relaxed);
        let mut differences = lock(&self.differences);
        if differences.len() < MAX_DIFFERENCES {
            let path = path.into();
            differences.push(Difference { path, what });
        }
        Rest::Done
    }

    fn compare_top(&self) {
        let roots = &self.roots;
        let pair = Pair {
            source: &roots.source,
            restored: &roots.restored,
            name: &roots.name,
            restored_name: &roots.restored_name,
        };
        match entry::compare(self, pair, &self.source) {
            Rest::Done => {}
            Rest::Directory => self.queue.push(Task::Directory([].into())),
            Rest::Content(size) => {
                entry::compare_content(self, pair, &self.source, size, &mut Buffers::new());
            }
        }
    }

    /// Takes tasks until none is left and none is being worked on.
    fn work(&self) {
        let mut buffers = Buffers::new();
        while let Some(taken) = self.queue.next() {
            match &taken.task {
                Task::Directory(path) => self.compare_directory(path, &mut buffers),
                Task::File {
                    directory,
                    name,
                    size,
                } => self.compare_file(directory, name, *size, &mut buffers),
            }
        }
    }

    fn open_both(&self, path: &[u8]) -> io::Result<(OwnedFd, OwnedFd)> {
        let roots = &self.roots;
        let source = beneath::open_child(&roots.source, &roots.name)?;
        let restored = beneath::open_child(&roots.restored, &roots.restored_name)?;
        if path.is_empty() {
            return Ok((source, restored));
        }
        Ok((
            beneath::open_dir(source.as_fd(), path)?,
            beneath::open_dir(restored.as_fd(), path)?,
        ))
    }

    fn compare_file(&self, directory: &[u8], name: &[u8], size: u64, buffers: &mut Buffers) {
        let path = self.shown(directory, name);
        match self.open_both(directory) {
            Ok((source, restored)) => {
                let pair = Pair {
                    source: &source,
                    restored: &restored,
                    name,
                    restored_name: name,
                };
                entry::compare_content(self, pair, &path, size, buffers);
            }
            Err(error) => {
                self.differs(&path, format!("cannot be compared: {error}"));
            }
        }
    }

    fn compare_directory(&self, directory: &[u8], buffers: &mut Buffers) {
        let opened = self.open_both(directory).and_then(|(source, restored)| {
            let (names, restored_names) = (sorted(&source)?, sorted(&restored)?);
            Ok((source, restored, names, restored_names))
        });
        let (source, restored, names, restored_names) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let path = self.shown(directory, b"");
                self.differs(&path, format!("cannot be listed: {error}"));
                return;
            }
        };
        let (mut left, mut right) = (names.iter().peekable(), restored_names.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.cmp(right),
            };
            let (name, right_name) = match order {
                Ordering::Less => (left.next(), None),
                Ordering::Greater => (None, right.next()),
                Ordering::Equal => (left.next(), right.next()),
            };
            match (name, right_name) {
                (Some(name), Some(_)) => {
                    let pair = Pair {
                        source: &source,
                        restored: &restored,
                        name,
                        restored_name: name,
                    };
                    self.compare_entry(directory, pair, buffers);
                }
                (Some(name), None) => self.one_sided(&source, directory, name, MISSING),
                (None, Some(name)) => {
                    self.one_sided(&restored, directory, name, EXTRA);
                }
                (None, None) => return,
            }
        }
    }

    fn compare_entry(&self, directory: &[u8], pair: Pair<'_>, buffers: &mut Buffers) {
        let path = self.shown(directory, pair.name);
        if self.is_left_out(pair.source, pair.name, &path) {
            return;
        }
        match entry::compare(self, pair, &path) {
            Rest::Done => {}
            Rest::Directory => self.queue.push(Task::Directory(join(directory, pair.name))),
            Rest::Content(size) => {
                let waiting = self.queue.waiting();
                if size < LARGE_FILE || waiting > MAX_WAITING_FILES {
                    entry::compare_content(self, pair, &path, size, buffers);
                } else {
                    self.queue.push(Task::File {
                        directory: directory.into(),
                        name: pair.name.into(),
                        size,
                    });
                }
            }
        }
    }

    /// An entry that only one of the two directories has.
    fn one_sided(&self, holder: &OwnedFd, directory: &[u8], name: &[u8], what: &str) {
        let path = self.shown(directory, name);
        if !self.is_left_out(holder, name, &path) {
            self.differs(&path, what.into());
        }
    }

    fn is_left_out(&self, holder: &OwnedFd, name: &[u8], path: &Path) -> bool {
        if self.options.skip.iter().any(|skip| skip == path) {
            return true;
        }
        // What cannot be examined is not left out: it will be reported.
        let Ok(stat) = entry::stat(holder, name) else {
            return false;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let excluded = self.options.excluded.as_ref();
        kind == FileType::Socket
            || excluded.is_some_and(|excluded| excluded(path, kind == FileType::Directory))
    }

    /// An entry's absolute path in the source.
    fn shown(&self, directory: &[u8], name: &[u8]) -> PathBuf {
        let mut path = self.source.clone();
        // Pushing nothing would append a slash.
        for part in [directory, name] {
            if !part.is_empty() {
                path.push(OsStr::from_bytes(part));
            }
        }
        path
    }
}

fn sorted(directory: &OwnedFd) -> io::Result<Vec<Box<[u8]>>> {
    let mut names = beneath::names(directory)?;
    names.sort_unstable();
    Ok(names)
}

fn join(directory: &[u8], name: &[u8]) -> Box<[u8]> {
    if directory.is_empty() {
        name.into()
    } else {
        [directory, b"/", name].concat().into()
    }
}

/// A thread that panics takes the comparison down when the scope ends; until
/// then the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
