//! The directory restored into. Everything in it is reached by descriptor
//! from its root, one directory or name at a time, so that no symlink in it is
//! ever followed; nor is one on the way to it (see [`crate::allowed`]).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rustix::{
    fs::{
        Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fstat, mkdirat, openat,
        readlinkat, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use strongroom_compare::beneath;
use strongroom_repository::read::Recent;

use super::{
    decide::Existing,
    error::RestoreError,
    inode::{Inode, Slot, exchanged},
    plan::{DirAction, DirRef, FileRef, Plan, ROOT, absolute},
};
use crate::allowed::AllowedDirectory;

/// Directories kept open.
const OPEN_DIRS: usize = 64;

/// A file that is made to see who owns it; as markers are, never restored.
const PROBE: &str = ".strongroom-restore-probe-";

/// What directories and files get until their metadata is set.
pub(crate) const PRIVATE_DIR: Mode = Mode::RWXU;

#[derive(Debug)]
pub(crate) struct Target {
    directory: AllowedDirectory,
    root: Arc<OwnedFd>,
    open: Mutex<Recent<DirRef, Arc<OwnedFd>>>,
    /// Who owns what we make in it, where that is not ourselves.
    stranger: OnceLock<u32>,
}

impl Target {
    /// Opens the target; `None` when it is not there.
    pub(crate) fn open(directory: &AllowedDirectory) -> Result<Option<Self>, RestoreError> {
        let opened = directory.open();
        let opened = opened.map_err(|source| failed("open", directory.path(), source))?;
        Ok(opened.map(|root| Self::new(directory, root)))
    }

    /// Makes the target and opens it.
    pub(crate) fn create(directory: &AllowedDirectory) -> Result<Self, RestoreError> {
        let created = directory.create(PRIVATE_DIR);
        let root = created.map_err(|source| failed("create", directory.path(), source))?;
        Ok(Self::new(directory, root))
    }

    fn new(directory: &AllowedDirectory, root: Arc<OwnedFd>) -> Self {
        Self {
            directory: directory.clone(),
            root,
            open: Mutex::new(Recent::new(OPEN_DIRS)),
            stranger: OnceLock::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a directory of the plan that is there.
    pub(crate) fn dir(&self, plan: &Plan, dir: DirRef) -> io::Result<Arc<OwnedFd>> {
        if let Some(open) = self.open.lock().get(&dir) {
            return Ok(open);
        }
        let opened = Arc::new(self.open_dir(plan, dir)?);
        self.open.lock().insert(dir, opened.clone());
        Ok(opened)
    }

    fn open_dir(&self, plan: &Plan, dir: DirRef) -> io::Result<OwnedFd> {
        if dir == ROOT {
            return beneath::open_dir(&self.root, b"");
        }
        let parent = self.open.lock().get(&plan.dir(dir).parent);
        let opened = match parent {
            Some(parent) => beneath::open_child(parent, plan.dir_name(dir)),
            None => beneath::open_dir(&self.root, &plan.dir_path(dir)),
        }?;
        plan.dir(dir).inode.check(&opened)?;
        Ok(opened)
    }

    /// Notes what was just made under a name, if it is ours, and of this kind:
    /// what has no descriptor from the beginning may have been exchanged since.
    pub(crate) fn note_made(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        kind: FileType,
        slot: &Slot,
    ) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(directory, name, flags, Mode::empty())?;
        let found = fstat(&made)?;
        if FileType::from_raw_mode(found.st_mode) != kind || !self.is_ours(&found) {
            return Err(exchanged());
        }
        slot.set(Inode::from(&found));
        Ok(())
    }

    /// Whether we have made an inode, by its owner. Servers of files may have
    /// another user own what root makes.
    pub(crate) fn is_ours(&self, found: &Stat) -> bool {
        found.st_uid == geteuid().as_raw() || self.stranger() == Ok(found.st_uid)
    }

    fn stranger(&self) -> rustix::io::Result<u32> {
        if let Some(owner) = self.stranger.get() {
            return Ok(*owner);
        }
        let name = format!("{PROBE}{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let probe = openat(&self.root, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let owner = fstat(&probe)?.st_uid;
        unlinkat(&self.root, &name, AtFlags::empty())?;
        Ok(*self.stranger.get_or_init(|| owner))
    }

    /// Makes a directory of the plan ready for what goes into it.
    pub(crate) fn prepare_dir(&self, plan: &Plan, dir: DirRef) -> io::Result<()> {
        if dir == ROOT {
            return Ok(());
        }
        let parent = self.dir(plan, plan.dir(dir).parent)?;
        let name = plan.dir_name(dir);
        match plan.dir(dir).action {
            DirAction::Keep => self.unlock_dir(plan, dir),
            DirAction::Create => self.make_dir(plan, dir, &parent),
            DirAction::Replace => {
                remove(&parent, name)?;
                self.make_dir(plan, dir, &parent)
            }
        }
    }

    fn make_dir(&self, plan: &Plan, dir: DirRef, parent: &OwnedFd) -> io::Result<()> {
        let name = plan.dir_name(dir);
        mkdirat(parent, name, PRIVATE_DIR)?;
        self.note_made(parent, name, FileType::Directory, &plan.dir(dir).inode)
    }

    /// Lets us write into an existing directory whose mode will be set at the
    /// end. Root needs no such thing.
    fn unlock_dir(&self, plan: &Plan, dir: DirRef) -> io::Result<()> {
        if plan.dir(dir).metadata.is_none() || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let fd = self.dir(plan, dir)?;
        let mode = stat(&fd, b".")?.st_mode;
        if mode & 0o700 == 0o700 {
            return Ok(());
        }
        let path = beneath::proc_path(&fd, b".");
        Ok(rustix::fs::chmod(
            path,
            Mode::from_raw_mode(mode & 0o7777 | 0o700),
        )?)
    }

    /// The absolute path of an entry of the plan.
    pub(crate) fn path_of(&self, plan: &Plan, file: FileRef) -> PathBuf {
        absolute(self.path(), plan.file_path(file))
    }

    /// The absolute path of a directory of the plan.
    pub(crate) fn path_of_dir(&self, plan: &Plan, dir: DirRef) -> PathBuf {
        absolute(self.path(), plan.dir_path(dir))
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Target {
        operation,
        path: path.into(),
        source,
    }
}

pub(crate) fn stat(directory: &OwnedFd, name: &[u8]) -> io::Result<Stat> {
    Ok(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Removes what stands at `name`, a directory only when it is empty.
pub(crate) fn remove(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(unlinkat(directory, name, AtFlags::REMOVEDIR)?),
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// What was found under a name.
pub(crate) struct Found {
    pub(crate) existing: Existing,
    /// Bytes on disk that removing it would free.
    pub(crate) blocks: u64,
    /// `None`: nothing is there.
    pub(crate) inode: Option<Inode>,
}

impl Found {
    pub(crate) const NOTHING: Self = Self {
        existing: Existing::Nothing,
        blocks: 0,
        inode: None,
    };
}

/// What stands at `name`.
pub(crate) fn examine(directory: &OwnedFd, name: &[u8]) -> io::Result<Found> {
    let stat = match stat(directory, name) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::NOTHING),
        Err(error) => return Err(error),
    };
    let (existing, blocks) = existing(directory, name, &stat)?;
    Ok(Found {
        existing,
        blocks,
        inode: Some(Inode::from(&stat)),
    })
}

fn existing(directory: &OwnedFd, name: &[u8], stat: &Stat) -> io::Result<(Existing, u64)> {
    let single = stat.st_nlink == 1;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let empty = is_empty(directory, name)?;
            return Ok((Existing::Directory { empty }, 0));
        }
        FileType::RegularFile => {
            let existing = Existing::File {
                single,
                owner: stat.st_uid,
                shared: stat.st_mode & 0o022 != 0,
                writable: accessat(
                    directory,
                    name,
                    Access::READ_OK | Access::WRITE_OK,
                    AtFlags::EACCESS,
                )
                .is_ok(),
            };
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            return Ok((existing, if single { blocks * 512 } else { 0 }));
        }
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new())?.into_bytes();
            return Ok((Existing::Symlink { target, single }, 0));
        }
        FileType::Fifo => "fifo",
        FileType::CharacterDevice => "chardev",
        FileType::BlockDevice => "dev",
        _ => "socket",
    };
    let existing = Existing::Special {
        kind,
        device: stat.st_rdev,
        single,
    };
    Ok((existing, 0))
}

fn is_empty(directory: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(directory.as_fd(), name, flags, Mode::empty()) {
        Ok(directory) => directory,
        // We cannot look into it: then it is not ours to replace.
        Err(Errno::ACCESS) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    for entry in rustix::fs::Dir::new(directory)? {
        let name = entry?;
        let name = name.file_name().to_bytes();
        if name != b"." && name != b".." {
            return Ok(false);
        }
    }
    Ok(true)
}
