//! Writes chunks into files, in any order, from several threads.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rustix::{
    fs::{FileType, Mode, OFlags, ftruncate, openat},
    io::Errno,
};
use strongroom_repository::read::Recent;

use super::{
    inode::{Inode, exchanged},
    plan::{FileAction, FileRef, Plan},
    target::{Target, remove},
};
use crate::zeros::data_runs;

/// Files are kept open in so many groups, each with its own lock, …
const GROUPS: usize = 8;

/// … and so many of each group.
const OPEN_PER_GROUP: usize = 16;

/// The files of a plan while their content is written.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    target: &'a Target,
    plan: &'a Plan,
    groups: Vec<Mutex<Recent<FileRef, Arc<File>>>>,
    /// A bit per file: it has been made.
    made: Vec<AtomicU64>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(target: &'a Target, plan: &'a Plan) -> Self {
        let words = plan.files.len().div_ceil(64);
        Self {
            target,
            plan,
            groups: (0..GROUPS)
                .map(|_| Mutex::new(Recent::new(OPEN_PER_GROUP)))
                .collect(),
            made: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Writes a chunk at its place.
    pub(crate) fn write(&self, file: FileRef, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let planned = self.plan.file(file);
        if planned.action.is_new() && planned.uses == 1 {
            // Most files: opened once, written, closed.
            let opened = self.make(file)?;
            let end = write_new(&opened, planned.filled, offset, bytes)?;
            if end < planned.size {
                ftruncate(&opened, planned.size)?;
            }
            return Ok(());
        }
        let opened = self.open(file)?;
        if planned.action.is_new() {
            write_new(&opened, planned.filled, offset, bytes).map(drop)
        } else {
            opened.write_all_at(bytes, offset)
        }
    }

    /// Whether a file has been made or changed.
    pub(crate) fn is_made(&self, file: FileRef) -> bool {
        let (word, bit) = place(file);
        self.made[word].load(Relaxed) & bit != 0
    }

    /// Makes a file that is all hole, or empty.
    pub(crate) fn make_without_content(&self, file: FileRef) -> io::Result<()> {
        let opened = self.make(file)?;
        match self.plan.file(file).size {
            0 => Ok(()),
            size => Ok(ftruncate(&opened, size)?),
        }
    }

    /// Cuts or extends an existing file of which nothing is to be written.
    pub(crate) fn resize(&self, file: FileRef) -> io::Result<()> {
        self.open(file).map(drop)
    }

    /// An open file; at its first use it is made, or prepared, at full size.
    fn open(&self, file: FileRef) -> io::Result<Arc<File>> {
        let mut group = self.groups[file.0 as usize % GROUPS].lock();
        if let Some(open) = group.get(&file) {
            return Ok(open);
        }
        // The lock is held meanwhile, so that no file is made twice.
        let opened = if self.is_made(file) {
            self.reopen(file)?
        } else {
            let opened = if self.plan.file(file).action.is_new() {
                self.make(file)?
            } else {
                self.reopen(file)?
            };
            ftruncate(&opened, self.plan.file(file).size)?;
            self.set_made(file);
            opened
        };
        let opened = Arc::new(opened);
        group.insert(file, opened.clone());
        Ok(opened)
    }

    /// Makes the file; what stands in its place goes.
    fn make(&self, file: FileRef) -> io::Result<File> {
        let planned = self.plan.file(file);
        let dir = self.target.dir(self.plan, planned.dir)?;
        let name = self.plan.file_name(file);
        if planned.action == FileAction::Replace {
            remove(&dir, name)?;
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&*dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.plan.inode(file).set(Inode::of(&opened)?);
        self.set_made(file);
        Ok(opened.into())
    }

    /// Opens a file that is there, the one that was found or made.
    fn reopen(&self, file: FileRef) -> io::Result<File> {
        let dir = self.target.dir(self.plan, self.plan.file(file).dir)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&*dir, self.plan.file_name(file), flags, Mode::empty())?;
        let found = self.plan.inode(file).check(&opened)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(exchanged());
        }
        Ok(opened.into())
    }

    fn set_made(&self, file: FileRef) {
        let (word, bit) = place(file);
        self.made[word].fetch_or(bit, Relaxed);
    }
}

fn place(file: FileRef) -> (usize, u64) {
    (file.0 as usize / 64, 1 << (file.0 % 64))
}

/// Whether writing failed because there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOSPC | Errno::DQUOT))
}

/// Writes to a file that reads as zeros so far, and leaves long runs of zeros
/// as holes unless it is to be `filled`. Returns the end of what was written.
fn write_new(file: &File, filled: bool, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    if filled {
        file.write_all_at(bytes, offset)?;
        return Ok(offset + bytes.len() as u64);
    }
    let mut end = 0;
    for run in data_runs(bytes) {
        file.write_all_at(&bytes[run.clone()], offset + run.start as u64)?;
        end = offset + run.end as u64;
    }
    Ok(end)
}
