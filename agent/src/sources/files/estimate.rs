//! How much there is to save, counted beside the backup.
//!
//! A rough figure for progress bars: one thread, names and sizes only.
//! Nothing waits for it, and it gives up quietly.

use std::{
    fs::{self, DirEntry},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::PathBuf,
    sync::atomic::Ordering::Relaxed,
};

use strongroom_wire::job::FilesSource;

use super::globs::Filter;
use crate::monitor::Monitor;

/// Counts what a source holds and sets the monitor's totals when done. Ends
/// early, without setting them, when `stop` says so.
pub fn count(source: &FilesSource, monitor: &Monitor, stop: &dyn Fn() -> bool) {
    let Ok(filter) = Filter::new(&source.include, &source.exclude) else {
        return;
    };
    let (mut files, mut bytes) = (0, 0);
    for root in &source.paths {
        let Ok(metadata) = fs::symlink_metadata(root) else {
            continue;
        };
        if !metadata.is_dir() {
            files += 1;
            bytes += if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            continue;
        }
        let mut waiting = vec![(PathBuf::from(root), filter.includes(root.as_bytes(), true))];
        while let Some((directory, included)) = waiting.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if stop() {
                    return;
                }
                match look(&entry, &filter, included, source, metadata.dev()) {
                    Found::Nothing => {}
                    Found::File(size) => {
                        files += 1;
                        bytes += size;
                    }
                    Found::Directory(included) => waiting.push((entry.path(), included)),
                }
            }
        }
    }
    monitor.total_files.store(files, Relaxed);
    monitor.total_bytes.store(bytes, Relaxed);
}

enum Found {
    Nothing,
    File(u64),
    Directory(bool),
}

fn look(
    entry: &DirEntry,
    filter: &Filter,
    included: bool,
    source: &FilesSource,
    device: u64,
) -> Found {
    let Ok(metadata) = entry.metadata() else {
        return Found::Nothing;
    };
    let path = entry.path();
    let path = path.as_os_str().as_bytes();
    let directory = metadata.is_dir();
    let other_device = source.one_file_system && metadata.dev() != device;
    if other_device || filter.excludes(path, directory) {
        return Found::Nothing;
    }
    match included || filter.includes(path, directory) {
        included if directory => Found::Directory(included),
        true if metadata.is_file() => Found::File(metadata.len()),
        true => Found::File(0),
        false => Found::Nothing,
    }
}
