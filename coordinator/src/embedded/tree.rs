//! Objects as files below one directory: atomic, durable, and never through a
//! symlink. Every path is walked name by name from an open directory. Calls
//! block.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
};

use super::{
    key::Key,
    uploads::{Busy, Entry, Uploads},
};

/// Where unfinished uploads lie: on the same file system, and no bucket's
/// name begins with a dot.
const TEMPORARY: &str = ".tmp";

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The directory of all buckets.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    temporary: OwnedFd,
    next: AtomicU64,
    uploads: Arc<Uploads>,
}

/// An upload that has no name yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    tree: Arc<Tree>,
    name: String,
    file: Option<File>,
    /// Dropped last: the key is free once nothing of the upload is left.
    #[expect(dead_code, reason = "what counts is when it is dropped")]
    entry: Entry,
}

/// Why an upload does not begin.
#[derive(Debug)]
pub(super) enum BeginError {
    /// There are others, and it has to wait.
    Busy(Busy),
    /// The object cannot get its name.
    Name(io::Error),
    /// The file system does not let it.
    Disk(io::Error),
}

impl<E: Into<io::Error>> From<E> for BeginError {
    fn from(error: E) -> Self {
        Self::Disk(error.into())
    }
}

impl Tree {
    /// The directory at `path`, made if it is not there. What interrupted
    /// uploads left is removed.
    /// Unfinished uploads have `unfinished` bytes together at most.
    pub(super) fn open(path: &Path, unfinished: u64) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;

        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let root: OwnedFd = File::open(path)?.into();
        let temporary = make_directory(&root, TEMPORARY)?;
        for entry in Dir::read_from(&temporary)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                rustix::fs::unlinkat(&temporary, entry.file_name(), AtFlags::empty())?;
            }
        }
        Ok(Self {
            root,
            temporary,
            next: AtomicU64::new(0),
            uploads: Uploads::new(unfinished),
        })
    }

    /// Makes a bucket; `false` if it was there.
    pub(super) fn create_bucket(&self, bucket: &str) -> io::Result<bool> {
        match rustix::fs::mkdirat(&self.root, bucket, PRIVATE_DIRECTORY) {
            Ok(()) => {
                rustix::fs::fsync(&self.root)?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The bucket's directory; `NotFound` if there is no such bucket.
    pub(super) fn bucket(&self, bucket: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            &self.root,
            bucket,
            DIRECTORY,
            Mode::empty(),
        )?)
    }

    /// Opens an object for reading. Anything but a regular file is not found.
    pub(super) fn read(&self, key: &Key) -> io::Result<File> {
        let directory = self.directory(key, false)?;
        // NONBLOCK: opening a fifo must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(
            &directory,
            key.file.as_str(),
            flags,
            Mode::empty(),
        )?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    /// Whether something stands under the object's name.
    fn exists(&self, key: &Key) -> io::Result<bool> {
        let found = self.directory(key, false).and_then(|directory| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::statat(&directory, key.file.as_str(), flags)?)
        });
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins an upload of `length` bytes, if there is room for them and, with
    /// `only_new`, no object.
    pub(super) fn begin(
        self: &Arc<Self>,
        key: &Key,
        length: u64,
        only_new: bool,
    ) -> Result<Upload, BeginError> {
        let entry = self.uploads.enter(key, length).map_err(BeginError::Busy)?;
        // Behind the entry: nothing is about to be published there now.
        if only_new && self.exists(key).map_err(BeginError::Name)? {
            let there = io::ErrorKind::AlreadyExists.into();
            return Err(BeginError::Name(there));
        }
        let disk = rustix::fs::fstatvfs(&self.temporary)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < length {
            return Err(BeginError::Disk(io::ErrorKind::StorageFull.into()));
        }
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.temporary, name.as_str(), flags, PRIVATE_FILE)?;
        Ok(Upload {
            tree: Arc::clone(self),
            name,
            file: Some(file.into()),
            entry,
        })
    }

    /// Makes a directory, and those above it, durably; it may be there.
    pub(super) fn make_directory(&self, key: &Key) -> io::Result<()> {
        make_directory(&self.directory(key, true)?, &key.file).map(drop)
    }

    /// Removes an object; `NotFound` if there is none.
    pub(super) fn remove(&self, key: &Key) -> io::Result<()> {
        let directory = self.directory(key, false)?;
        rustix::fs::unlinkat(&directory, key.file.as_str(), AtFlags::empty())?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    /// The directory that holds the object. The bucket is never made.
    fn directory(&self, key: &Key, make: bool) -> io::Result<OwnedFd> {
        let mut directory = self.bucket(&key.bucket)?;
        for name in &key.directories {
            directory = if make {
                make_directory(&directory, name)?
            } else {
                open_directory(&directory, name)?
            };
        }
        Ok(directory)
    }
}

impl Upload {
    /// The file to write to; once.
    pub(super) fn take_file(&mut self) -> Option<File> {
        self.file.take()
    }

    /// Gives the upload its name. `written` is the file with all its bytes.
    /// When this returns, the object is durable. With `only_new`, fails with
    /// `AlreadyExists` where an object stands.
    pub(super) fn publish(self, written: &File, key: &Key, only_new: bool) -> io::Result<()> {
        written.sync_all()?;
        let directory = self.tree.directory(key, true)?;
        let (from, name, file) = (&self.tree.temporary, self.name.as_str(), key.file.as_str());
        if only_new {
            // A link fails where a rename would replace. Dropping the upload
            // removes the temporary name.
            rustix::fs::linkat(from, name, &directory, file, AtFlags::empty())?;
        } else {
            rustix::fs::renameat(from, name, &directory, file)?;
        }
        if key.file == "config" {
            make_repository_directories(&directory)?;
        }
        Ok(rustix::fs::fsync(&directory)?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Gone already once it was renamed; else nobody will miss it, and the
        // next start removes what cannot be removed now.
        let name = self.name.as_str();
        let _ = rustix::fs::unlinkat(&self.tree.temporary, name, AtFlags::empty());
    }
}

/// restic's own local backend expects the directories of a repository.
fn make_repository_directories(repository: &OwnedFd) -> io::Result<()> {
    for directory in strongroom_layout::Directory::ALL {
        make_directory(repository, directory.as_str())?;
    }
    Ok(())
}

/// Opens a directory in a directory; never through a symlink.
pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// The same, made durably if it is not there.
fn make_directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match open_directory(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(parent, name, PRIVATE_DIRECTORY) {
        Ok(()) => rustix::fs::fsync(parent)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_directory(parent, name)
}
