//! `strongroom_wal` in the data directory: where fetched log lies until the
//! server has replayed it.
//!
//! ```text
//! .restore      whose work this is, and how far it has come
//! .plan         the files that will be there, with their bytes of log
//! .lock         locked (flock) by whoever fetches them, for as long as he does
//! 0000000100…   segments, each whole: it gets its name last
//! 00000002.history
//! ```
//!
//! It belongs to the server's user, whom we trust with less than we may: all
//! is reached by descriptor, and no link in it is followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Mode, OFlags, flock, mkdirat, openat, renameat, statat,
        syncfs, unlinkat,
    },
    io::Errno,
};
use serde::{Deserialize, Serialize};
use strongroom_compare::beneath;
use strongroom_layout::{ObjectId, position::TimelineId};
use strongroom_postgres::physical::exclude::FETCHED_LOG;
use strongroom_spec::RecoveryTarget;

use super::RecoveryError;
use crate::{
    allowed::AllowedDirectory,
    restore::cluster::{
        owner::Owner,
        single::{check_single, read_single},
    },
};

/// Its name in the data directory; backups leave it out.
pub(super) const NAME: &str = FETCHED_LOG;
const STATE: &str = ".restore";
pub(super) const PLAN: &str = ".plan";
pub(super) const LOCK: &str = ".lock";
const UNFINISHED: &str = ".unfinished";

/// Larger files of ours are none: a plan's line has some 40 bytes, and ten
/// million segments are 160 TiB.
pub(super) const LARGEST: u64 = 400 << 20;

/// Those who look whether the lock is free hold it for a moment.
const LOCK_ATTEMPTS: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How far a restore has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The cluster's files are being restored.
    Files,
    /// They are all there, and the settings are made: log is missing.
    Log,
    /// A server has been started on them.
    Replay,
}

/// Whose work lies in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) snapshot: ObjectId,
    pub(crate) target: RecoveryTarget,
    /// Where the way leads.
    pub(crate) timeline: TimelineId,
    pub(crate) stage: Stage,
    /// Places that it has taken for tablespaces which the log makes, by number.
    #[serde(default)]
    pub(crate) made: BTreeMap<u32, String>,
    /// Where all tablespaces go, by number; `None`: an older version has not
    /// said.
    #[serde(default)]
    pub(crate) choices: Option<BTreeMap<u32, Choice>>,
    /// Of the host, when files were written last: what a crash left of them
    /// is not known.
    pub(crate) boot: String,
}

/// Where a tablespace goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) to: String,
    /// It was asked for; else it lay there.
    pub(crate) moved: bool,
}

/// Tells a start of this host from every other.
pub(crate) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

/// The directory.
#[derive(Debug)]
pub(crate) struct WalDirectory {
    fd: OwnedFd,
    path: PathBuf,
    owner: Option<Owner>,
}

/// Says to those who wait that more will come; dropped, that nothing will.
#[derive(Debug)]
pub(crate) struct Fetching(#[expect(dead_code, reason = "holds the lock")] File);

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) file: File,
    name: String,
}

impl WalDirectory {
    /// The one in a data directory, if there is one.
    pub(crate) fn open(
        target: &AllowedDirectory,
        owner: Option<&Owner>,
    ) -> Result<Option<Self>, RecoveryError> {
        let path = target.path().join(NAME);
        let open = || beneath::open_child(target.descriptor()?, NAME.as_bytes());
        match open() {
            Ok(fd) => Ok(Some(Self {
                fd,
                path,
                owner: owner.cloned(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RecoveryError::file("open", path)(error)),
        }
    }

    /// Opens it, or makes it in a data directory that is there.
    pub(crate) fn create(
        target: &AllowedDirectory,
        owner: Option<&Owner>,
    ) -> Result<Self, RecoveryError> {
        let path = target.path().join(NAME);
        let make = || match mkdirat(target.descriptor()?, NAME, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(io::Error::from(error)),
        };
        make().map_err(RecoveryError::file("create", &path))?;
        let missing = || RecoveryError::file("open", path)(Errno::NOENT.into());
        let directory = Self::open(target, owner)?.ok_or_else(missing)?;
        if let Some(owner) = owner {
            owner
                .take_one(&directory.fd, b"")
                .map_err(RecoveryError::file("set the owner of", &directory.path))?;
        }
        Ok(directory)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose work is in it; `None`: nobody's that can be gone on with.
    pub(crate) fn state(&self) -> Result<Option<State>, RecoveryError> {
        let text = self.read(STATE)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    pub(crate) fn set_state(&self, state: &State) -> Result<(), RecoveryError> {
        let json = serde_json::to_vec(state).map_err(io::Error::from);
        let json = json.map_err(RecoveryError::file("write", self.path.join(STATE)))?;
        self.write(STATE, &json)
    }

    /// The files that are whole in it, by an earlier plan: their bytes of log.
    pub(super) fn whole(&self) -> Result<BTreeMap<String, u64>, RecoveryError> {
        let Some(plan) = self.read(PLAN)? else {
            return Ok(BTreeMap::new());
        };
        Ok(planned(&String::from_utf8_lossy(&plan))
            .filter(|(name, _)| self.length(name).is_some())
            .map(|(name, filled)| (name.to_owned(), filled))
            .collect())
    }

    /// Removes all files but these and our own.
    pub(super) fn keep(&self, kept: &BTreeSet<String>) -> Result<(), RecoveryError> {
        let remove = || -> io::Result<()> {
            for name in beneath::names(&self.fd)? {
                let name = String::from_utf8_lossy(&name);
                if !name.starts_with('.') && !kept.contains(&*name) {
                    self.remove_file(&name)?;
                }
            }
            Ok(())
        };
        remove().map_err(RecoveryError::file("clear", &self.path))
    }

    /// Says which files will be there.
    pub(super) fn set_plan<'a>(
        &self,
        files: impl Iterator<Item = (&'a str, u64)>,
    ) -> Result<(), RecoveryError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (name, filled) in files {
            let _infallible = writeln!(text, "{name} {filled}");
        }
        self.write(PLAN, text.as_bytes())
    }

    /// Takes the lock. Do so before anybody waits.
    pub(crate) fn fetching(&self) -> Result<Fetching, RecoveryError> {
        let path = || self.path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags | OFlags::CLOEXEC;
        let open = || -> io::Result<File> {
            let file = File::from(openat(&self.fd, LOCK, flags, Mode::RUSR | Mode::WUSR)?);
            check_single(&file)?;
            self.give_away(&file)?;
            Ok(file)
        };
        let file = open().map_err(RecoveryError::file("open", path()))?;
        for _ in 0..LOCK_ATTEMPTS {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Fetching(file)),
                Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(RecoveryError::file("lock", path())(error.into())),
            }
        }
        Err(RecoveryError::Busy(self.path.clone()))
    }

    /// The length of a regular file that is there.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then(|| u64::try_from(stat.st_size).ok())?
    }

    /// Begins a file; it has another name until [`WalDirectory::finish`].
    pub(super) fn begin(&self, name: &str) -> io::Result<Unfinished> {
        let unfinished = format!("{name}{UNFINISHED}");
        self.remove_file(&unfinished)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(&self.fd, &unfinished, flags, mode)?);
        self.give_away(&file)?;
        Ok(Unfinished {
            file,
            name: name.to_owned(),
        })
    }

    /// Gives a file its name: it is whole.
    pub(super) fn finish(&self, unfinished: Unfinished) -> io::Result<()> {
        let Unfinished { name, .. } = unfinished;
        let from = format!("{name}{UNFINISHED}");
        Ok(renameat(&self.fd, from, &self.fd, name)?)
    }

    /// A whole file at once, which survives a crash of the host.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RecoveryError> {
        let write = || {
            let mut unfinished = self.begin(name)?;
            unfinished.file.write_all(bytes)?;
            unfinished.file.sync_all()?;
            self.finish(unfinished)
        };
        write().map_err(RecoveryError::file("write", self.path.join(name)))
    }

    /// The restore is over, and what was fetched stays: nothing of ours is
    /// needed beside it.
    pub(crate) fn leave(self) -> Result<(), RecoveryError> {
        sync(&self.fd).map_err(RecoveryError::file("write to disk", &self.path))?;
        for name in [STATE, PLAN, LOCK] {
            self.remove_file(name)
                .map_err(RecoveryError::file("remove", self.path.join(name)))?;
        }
        Ok(())
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(self, target: &AllowedDirectory) -> Result<(), RecoveryError> {
        let remove = || -> io::Result<()> {
            for name in beneath::names(&self.fd)? {
                match unlinkat(&self.fd, &*name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(unlinkat(target.descriptor()?, NAME, AtFlags::REMOVEDIR)?)
        };
        remove().map_err(RecoveryError::file("remove", &self.path))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RecoveryError> {
        match read_single(&self.fd, name, LARGEST) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RecoveryError::file("read", self.path.join(name))(error)),
        }
    }

    fn give_away(&self, file: &File) -> io::Result<()> {
        let owner = self.owner.as_ref();
        owner.map_or(Ok(()), |owner| owner.take_one(file, b""))
    }
}

/// The lines of a plan: files of the directory, and their bytes of log. What
/// leads elsewhere is no name, whoever wrote it there.
pub(super) fn planned(text: &str) -> impl Iterator<Item = (&str, u64)> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let files = lines.filter(|(name, _)| {
        let parts = name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'.');
        parts && !name.is_empty() && !name.starts_with('.')
    });
    files.filter_map(|(name, filled)| Some((name, filled.parse().ok()?)))
}

/// Has the file system of a directory written to disk.
pub(crate) fn sync(directory: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(syncfs(openat(directory, ".", flags, Mode::empty())?)?)
}

#[cfg(test)]
mod tests;
