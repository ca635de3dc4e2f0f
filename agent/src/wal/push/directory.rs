//! The directory of a server's log.
//!
//! It belongs to the server's user, whom we trust with less than we may read: he
//! can put a link to another's file there, or a pipe that nobody writes to. So
//! whatever is asked for, nothing is opened but a regular file of his own that lies
//! in it, and what was read of a file that is no log is not told.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, fstat, openat};
use strongroom_compare::beneath;

use super::super::WalError;

/// Where a server says what it wants to push.
const STATUS: &str = "archive_status";
const READY: &str = ".ready";

/// Where a log lies, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct LogDirectory {
    path: PathBuf,
    owner: u32,
}

/// What tells a file from another of its name, and from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl LogDirectory {
    /// The log of a server with this data directory. `pg_wal` may be a link, as
    /// `initdb --waldir` makes it, to a directory of the same owner. Blocks.
    pub(super) fn of_server(data_directory: &Path) -> Result<Self, WalError> {
        let log = data_directory.join("pg_wal");
        let find = || -> io::Result<Self> {
            let owner = fstat(beneath::open_root(data_directory)?)?.st_uid;
            let path = log.canonicalize()?;
            Ok(Self { path, owner })
        };
        let found = find().map_err(unreadable(&log))?;
        found.open().map_err(unreadable(&log))?;
        Ok(found)
    }

    /// Without links in it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Where a file of it lies, for people.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file of it, and says how long it is, in bytes.
    pub(super) fn file(&self, name: &str) -> io::Result<(File, u64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(self.open()?, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.uid() == self.owner {
            return Ok((file, metadata.len()));
        }
        Err(io::Error::other(format!(
            "it is no regular file of user {}, whose log this is",
            self.owner
        )))
    }

    /// Which file of that name it is; `None` when there is none that is opened.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        let (file, length) = self.file(name).ok()?;
        let metadata = file.metadata().ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// What waits in it to be pushed, oldest first: by name. Blocks.
    pub(super) fn ready(&self) -> io::Result<Vec<String>> {
        let status = beneath::open_child(self.open()?, STATUS.as_bytes())?;
        let mut ready = Vec::new();
        for name in beneath::names(&status)? {
            let name = std::str::from_utf8(&name).ok();
            let name = name.and_then(|name| name.strip_suffix(READY));
            ready.extend(name.map(ToOwned::to_owned));
        }
        ready.sort_unstable();
        Ok(ready)
    }

    /// Opens it anew: a server that was stopped may have got another.
    fn open(&self) -> io::Result<OwnedFd> {
        let top = beneath::open_root(Path::new("/"))?;
        let names = self.path.strip_prefix("/").unwrap_or(&self.path);
        let opened = beneath::open_dir(top, names.as_os_str().as_encoded_bytes())?;
        let owner = fstat(&opened)?.st_uid;
        if owner == self.owner {
            return Ok(opened);
        }
        Err(io::Error::other(format!(
            "the directory of the log belongs to user {owner}, and the data directory to user {}",
            self.owner
        )))
    }
}

/// Why something of a log cannot be read. `source` must not say what is in a file.
pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.display().to_string();
    move |source| WalError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, FileType, mknodat};
    use strongroom_tests::scratch::Scratch;

    use super::*;

    const NAME: &str = "000000010000000000000002";
    const OTHER: u32 = 12_345;

    fn server(scratch: &Scratch) -> LogDirectory {
        scratch.dir("data/pg_wal/archive_status");
        LogDirectory::of_server(&scratch.join("data")).unwrap()
    }

    fn chown(path: &Path, user: u32) {
        std::os::unix::fs::lchown(path, Some(user), None).expect("these tests run as root");
    }

    #[test]
    fn only_regular_files_of_the_log_s_owner_are_opened() {
        let scratch = Scratch::new("log-files");
        let log = server(&scratch);
        let path = log.path_of(NAME);
        let opened = || log.file(NAME).map(|(_, length)| length);
        fs::write(&path, "segment").unwrap();
        assert_eq!(opened().unwrap(), 7);

        chown(&path, OTHER);
        assert!(
            opened()
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
        fs::remove_file(&path).unwrap();

        let secret = scratch.file("secret", "hush");
        symlink(&secret, &path).unwrap();
        opened().unwrap_err();
        fs::remove_file(&path).unwrap();

        // Nobody writes to it: whoever waits for that waits for ever.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(
            opened()
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        opened().unwrap_err();
    }

    #[test]
    fn the_log_may_lie_elsewhere_but_is_the_same_user_s() {
        let scratch = Scratch::new("log-elsewhere");
        let elsewhere = scratch.dir("elsewhere");
        fs::write(elsewhere.join(NAME), "segment").unwrap();
        let data = scratch.dir("data");
        symlink(&elsewhere, data.join("pg_wal")).unwrap();
        let log = LogDirectory::of_server(&data).unwrap();
        assert_eq!(log.path(), elsewhere.canonicalize().unwrap());
        log.file(NAME).unwrap();

        // A link of the server's user into somebody else's directory.
        chown(&data, OTHER);
        let refused = LogDirectory::of_server(&data).unwrap_err().to_string();
        assert!(refused.contains("belongs to user"), "{refused}");
        chown(&elsewhere, OTHER);
        chown(&elsewhere.join(NAME), OTHER);
        let log = LogDirectory::of_server(&data).unwrap();
        assert_eq!(log.owner(), OTHER);
        log.file(NAME).unwrap();

        // And one that comes later.
        fs::rename(&elsewhere, scratch.join("moved")).unwrap();
        symlink(scratch.join("moved"), &elsewhere).unwrap();
        log.file(NAME).unwrap_err();
        log.ready().unwrap_err();
    }

    #[test]
    fn what_is_ready_comes_in_order() {
        let scratch = Scratch::new("log-ready");
        let log = server(&scratch);
        let status = log.path().join(STATUS);
        for name in ["b.ready", "a.ready", "c.done", "0.ready"] {
            fs::write(status.join(name), "").unwrap();
        }
        assert_eq!(log.ready().unwrap(), ["0", "a", "b"]);
        fs::remove_dir_all(&status).unwrap();
        symlink(scratch.dir("x"), &status).unwrap();
        log.ready().unwrap_err();
    }
}
