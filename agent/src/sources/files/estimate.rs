//! How much there is to save, counted beside the backup.
//!
//! A rough figure for progress bars: one thread, names and sizes only.
//! Nothing waits for it, and it gives up quietly.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::atomic::Ordering::Relaxed,
};

use rustix::fs::{AtFlags, FileType, Stat, statat};
use strongroom_compare::beneath;
use strongroom_spec::FilesSource;

use super::{
    globs::Filter,
    metadata::{kind, size},
    pseudo,
    roots::join,
};
use crate::{allowed::AllowedPaths, monitor::Monitor};

/// Counts what a source holds and sets the monitor's totals when done. Ends
/// early, without setting them, when `stop` says so.
pub fn count(
    source: &FilesSource,
    allowed: &AllowedPaths,
    monitor: &Monitor,
    stop: &dyn Fn() -> bool,
) {
    let Ok(filter) = Filter::new(&source.include, &source.exclude) else {
        return;
    };
    let mut count = Count {
        source,
        allowed,
        filter,
        pseudo: HashMap::new(),
        files: 0,
        bytes: 0,
    };
    for root in &source.paths {
        if count.root(root, stop).is_none() {
            return;
        }
    }
    monitor.total_files.store(count.files, Relaxed);
    monitor.total_bytes.store(count.bytes, Relaxed);
}

struct Count<'a> {
    source: &'a FilesSource,
    allowed: &'a AllowedPaths,
    filter: Filter,
    /// By device: whether it is a pseudo file system's.
    pseudo: HashMap<u64, bool>,
    files: u64,
    bytes: u64,
}

impl Count<'_> {
    /// Counts what lies at and below a requested path; `None` when it was
    /// stopped.
    fn root(&mut self, root: &str, stop: &dyn Fn() -> bool) -> Option<()> {
        let Ok((above, name)) = self.above(Path::new(root)) else {
            return Some(());
        };
        let Ok(stat) = stat(&above, &name) else {
            return Some(());
        };
        if pseudo::kind_of(&above, &name, false).is_some() {
            return Some(());
        }
        self.pseudo.insert(stat.st_dev, false);
        if kind(&stat) != FileType::Directory {
            self.file(&stat);
            return Some(());
        }
        let Ok(top) = beneath::open_child(&above, &name) else {
            return Some(());
        };
        let included = self.filter.includes(root.as_bytes(), true);
        // By their paths below the top: however many wait, few are open.
        let mut waiting = vec![(Vec::new(), included)];
        while let Some((below, included)) = waiting.pop() {
            let directory = beneath::open_dir(&top, &below);
            let Ok((directory, names)) = directory.and_then(|directory| {
                let names = beneath::names(&directory)?;
                Ok((directory, names))
            }) else {
                continue;
            };
            for name in names {
                if stop() {
                    return None;
                }
                let Ok(found) = self::stat(&directory, &name) else {
                    continue;
                };
                let below = if below.is_empty() {
                    name.to_vec()
                } else {
                    join(&below, &name)
                };
                let path = join(root.trim_end_matches('/').as_bytes(), &below);
                let of = self.pseudo.entry(found.st_dev);
                if *of.or_insert_with(|| pseudo::kind_of(&directory, &name, false).is_some()) {
                    continue;
                }
                if let Some(included) = self.entry(&path, &found, included, stat.st_dev) {
                    waiting.push((below, included));
                }
            }
        }
        Some(())
    }

    /// The directory in which a requested path lies, and its name there.
    fn above(&self, root: &Path) -> io::Result<(OwnedFd, Vec<u8>)> {
        let Some((above, name)) = root.parent().zip(root.file_name()) else {
            return Ok((beneath::open_root(root)?, b".".to_vec()));
        };
        let opened = match self.allowed.way(above) {
            Some(way) => way.open()?,
            None => beneath::open_root(above)?,
        };
        Ok((opened, name.as_bytes().to_vec()))
    }

    /// Counts an entry, unless it is a directory that is to be looked into: then
    /// whether all in it is included.
    fn entry(&mut self, path: &[u8], found: &Stat, included: bool, device: u64) -> Option<bool> {
        let directory = kind(found) == FileType::Directory;
        let other_device = self.source.one_file_system && found.st_dev != device;
        let left_out = other_device
            || self.filter.excludes(path, directory)
            || self.allowed.off_limits().find(found).is_some();
        if left_out {
            return None;
        }
        let included = included || self.filter.includes(path, directory);
        if directory {
            return Some(included);
        }
        if included {
            self.file(found);
        }
        None
    }

    fn file(&mut self, found: &Stat) {
        self.files += 1;
        if kind(found) == FileType::RegularFile {
            self.bytes += size(found);
        }
    }
}

fn stat(directory: &OwnedFd, name: &[u8]) -> io::Result<Stat> {
    Ok(statat(
        directory,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
