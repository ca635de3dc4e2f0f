//! The cache's files: written whole, verified when read, bounded in sum.

use std::{
    fs::{self, DirBuilder, File, FileTimes, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_layout::ObjectId;

use crate::{
    format::sha256::{Sha256, sha256},
    store::ByteRange,
};

/// Read at once to verify a file.
const BLOCK: usize = 256 << 10;

/// See <https://bford.info/cachedir/>.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Objects of repositories, encrypted as there; safe to delete.\n";

/// `ROOT/REPOSITORY/KIND/ID`.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) root: PathBuf,
    /// The most that all may take, in bytes.
    pub(super) size: u64,
    /// What they take, as far as this process knows; counted before the first
    /// write. Held while files are evicted.
    taken: Mutex<Option<u64>>,
}

impl Files {
    pub(super) fn new(root: PathBuf, size: u64) -> Self {
        Self {
            root,
            size,
            taken: Mutex::new(None),
        }
    }

    /// Writes a file beside its place and renames it. Not synced: a file that
    /// a power cut damaged has the wrong hash.
    pub(super) fn write(&self, path: &Path, parts: &[Bytes]) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        if length > self.size / 4 || path.exists() {
            return Ok(());
        }
        self.make_room(length)?;
        let written = write(path, parts);
        if written.is_err()
            && let Some(taken) = &mut *self.taken.lock()
        {
            *taken = taken.saturating_sub(length);
        }
        written
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) {
        let Ok(metadata) = path.metadata() else {
            return;
        };
        match fs::remove_file(path) {
            Ok(()) => {
                if let Some(taken) = &mut *self.taken.lock() {
                    *taken = taken.saturating_sub(metadata.len());
                }
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a cached object stays");
            }
        }
    }

    /// Removes the objects of a directory that are not wanted.
    pub(super) fn retain(&self, directory: &Path, wanted: impl Fn(ObjectId, u64) -> bool) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let size = entry.metadata().map_or(0, |file| file.len());
            if id.is_some_and(|id| !wanted(id, size)) {
                self.remove(&entry.path());
            }
        }
    }

    /// Marks the directory as a cache, so that backups of this host may leave it
    /// out.
    fn tag(&self) {
        let tag = self.root.join("CACHEDIR.TAG");
        let tagged = make_directory(&self.root).and_then(|()| fs::write(&tag, TAG));
        if let Err(error) = tagged {
            // A part of it would be no tag.
            let _ = fs::remove_file(tag);
            tracing::debug!(directory = %self.root.display(), %error, "the cache is not tagged");
        }
    }

    /// Counts `length` bytes in, after as many of the files unused for longest
    /// have gone that they fit; then a tenth goes at once, so that it does not
    /// happen for every file.
    fn make_room(&self, length: u64) -> io::Result<()> {
        let mut taken = self.taken.lock();
        if taken.is_none() {
            self.tag();
        }
        if taken.is_none_or(|taken| taken + length > self.size) {
            let mut files = Vec::new();
            survey(&self.root, &mut files)?;
            let mut sum: u64 = files.iter().map(|file| file.length).sum();
            if sum + length > self.size {
                let enough = (self.size / 10 * 9).saturating_sub(length);
                files.sort_unstable_by_key(|file| file.used);
                for file in &files {
                    if sum <= enough {
                        break;
                    }
                    remove_if_there(&file.path)?;
                    sum -= file.length;
                }
            }
            *taken = Some(sum);
        }
        if let Some(taken) = &mut *taken {
            *taken += length;
        }
        Ok(())
    }
}

struct Cached {
    path: PathBuf,
    length: u64,
    used: SystemTime,
}

/// All files below a directory; those of interrupted writes are among them.
fn survey(directory: &Path, files: &mut Vec<Cached>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => survey(&entry.path(), files)?,
            // No object: it stays.
            Ok(_) if entry.file_name() == "CACHEDIR.TAG" => {}
            Ok(metadata) => files.push(Cached {
                path: entry.path(),
                length: metadata.len(),
                used: metadata.modified()?,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Another process may use the same cache.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn write(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let random = getrandom::u64().map_err(io::Error::other)?;
    let temporary = directory.join(format!("{random:016x}.tmp"));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// `None` when there is no such file.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All of a file; `None` when it is not what its name says.
pub(super) fn read_whole(mut file: &File, id: ObjectId) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let right = sha256(&bytes) == id;
    Ok(right.then(|| bytes.into()))
}

/// A part of a file; `None` when it is not that long.
pub(super) fn read_range(file: &File, range: ByteRange) -> io::Result<Option<Bytes>> {
    if range.first > range.last || range.last >= file.metadata()?.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; range.length() as usize];
    file.read_exact_at(&mut bytes, range.first)?;
    Ok(Some(bytes.into()))
}

/// Whether a file is what its name says.
pub(super) fn verify(mut file: &File, id: ObjectId) -> io::Result<bool> {
    let mut hasher = Sha256::default();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finish() == id),
            length => hasher.update(&block[..length]),
        }
    }
}

/// Notes that a file was used.
pub(super) fn touch(file: &File) {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the file system's own time stamps, and with nothing else"
    )]
    let now = SystemTime::now();
    // Read-only: then it is not evicted either.
    let _ = file.set_times(FileTimes::new().set_modified(now));
}
