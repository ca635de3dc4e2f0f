//! `strongroom_server` in the data directory: where a server that we start has
//! its log, and its socket if a socket's address has room for so long a path.
//! Else that is in the temporary place, and goes when the server does not come
//! up, or when the next one is started there.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, mkdirat},
    io::Errno,
    process::geteuid,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::exclude::STARTED_SERVER;
use uuid::Uuid;

use super::{ClusterRestoreError, auto_conf::remove, owner::Owner, single::open_single};
use crate::allowed::AllowedDirectory;

/// Backups leave it out.
const NAME: &str = STARTED_SERVER;
const LOG: &str = "log";

/// Shown of a server's log, in bytes.
const TAIL: u64 = 4096;

/// Longer paths do not fit the address of a socket in it (107 bytes).
const LONGEST_SOCKET_DIRECTORY: usize = 80;

/// Directories in the temporary place begin so.
const TEMPORARY: &str = "strongroom-";
/// An empty one of this age is no server's that is only about to start.
const ABANDONED: Duration = Duration::from_hours(1);

/// See the module.
#[derive(Debug)]
pub(super) struct ServerDirectory {
    fd: OwnedFd,
    path: PathBuf,
    sockets: Sockets,
}

#[derive(Debug)]
enum Sockets {
    Here,
    Elsewhere(Temporary),
}

/// Removed when dropped, unless it is kept.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Of a server that has ended: it is empty but for what a crash left.
            let _gone = fs::remove_dir_all(&self.path);
        }
    }
}

impl ServerDirectory {
    /// Makes it, or takes what an earlier server has left, without its log.
    /// `steady`: nobody else can exchange what its path leads to, so that the
    /// socket may be there.
    pub(super) fn make(
        target: &AllowedDirectory,
        owner: &Owner,
        steady: bool,
    ) -> Result<Self, ClusterRestoreError> {
        let path = target.path().join(NAME);
        let make = || -> io::Result<OwnedFd> {
            let root = target.descriptor()?;
            match mkdirat(&root, NAME, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let opened = beneath::open_child(&root, NAME.as_bytes())?;
            owner.take_one(&opened, b"")?;
            remove(&opened, LOG)?;
            Ok(opened)
        };
        let fd = make().map_err(ClusterRestoreError::file("make", &path))?;
        let sockets = if steady && is_plain(&path) {
            Sockets::Here
        } else {
            let above = Some(std::env::temp_dir()).filter(|path| is_plain(path));
            let above = above.unwrap_or_else(|| PathBuf::from("/tmp"));
            let made = Temporary::make(&above, owner)?;
            // By the clock of that file system.
            let now = fs::metadata(&made.path).and_then(|found| found.modified());
            if let Ok(now) = now {
                remove_abandoned(&above, owner, now);
            }
            Sockets::Elsewhere(made)
        };
        Ok(Self { fd, path, sockets })
    }

    /// The server is up: its socket's directory stays.
    pub(super) fn keep(&mut self) {
        if let Sockets::Elsewhere(temporary) = &mut self.sockets {
            temporary.kept = true;
        }
    }

    /// Where the server's socket is. Its name needs no quotes.
    pub(super) fn sockets(&self) -> &Path {
        match &self.sockets {
            Sockets::Here => &self.path,
            Sockets::Elsewhere(temporary) => &temporary.path,
        }
    }

    /// What the server writes.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where that is in a data directory, by any path of it.
    pub(super) fn log_in(data: &Path) -> PathBuf {
        data.join(NAME).join(LOG)
    }

    /// Opens that, of which we show the end. It lies in a directory of the server's
    /// user, who must not have us show another file in its place.
    pub(super) fn open_log(&self) -> io::Result<File> {
        open_single(&self.fd, LOG, OFlags::RDONLY)
    }

    /// Its end.
    pub(super) fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = self.open_log()?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("(it cannot be read: {error})"))
    }
}

impl Temporary {
    /// For the owner alone.
    fn make(above: &Path, owner: &Owner) -> Result<Self, ClusterRestoreError> {
        let mut name = String::from(TEMPORARY);
        for byte in &Uuid::new_v4().into_bytes()[..6] {
            let _infallible = write!(name, "{byte:02x}");
        }
        let path = above.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(ClusterRestoreError::file("create", &path))?;
        let made = Self { path, kept: false };
        if geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(CWD, &made.path, Some(uid), Some(gid), flags).map_err(|error| {
                ClusterRestoreError::file("give away", &made.path)(error.into())
            })?;
        }
        Ok(made)
    }
}

/// Removes what servers have left that ended since: a server takes its socket
/// away, and only empty directories go.
fn remove_abandoned(above: &Path, owner: &Owner, now: SystemTime) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
        let ours = ours.is_some_and(|rest| {
            rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let old = entry.metadata().is_ok_and(|found| {
            let since = found.modified().ok();
            let age = since.and_then(|since| now.duration_since(since).ok());
            found.is_dir() && found.uid() == owner.uid && age > Some(ABANDONED)
        });
        if ours && old {
            let _gone = fs::remove_dir(entry.path());
        }
    }
}

fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|path| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        path.len() <= LONGEST_SOCKET_DIRECTORY && path.bytes().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use strongroom_tests::scratch::Scratch;

    use super::*;

    fn owner() -> Owner {
        Owner::of_host("postgres", &named(Path::new("/"))).unwrap()
    }

    fn named(path: &Path) -> AllowedDirectory {
        AllowedDirectory::named(path).unwrap()
    }

    #[test]
    fn no_other_file_is_shown_as_a_server_s_log() {
        let scratch = Scratch::new("server-log");
        let secret = scratch.file("secret", "hush");
        let made = ServerDirectory::make(&named(scratch.path()), &owner(), true).unwrap();
        let log = made.log();
        symlink(&secret, &log).unwrap();
        assert!(!made.tail().contains("hush"));
        fs::remove_file(&log).unwrap();
        fs::hard_link(&secret, &log).unwrap();
        assert!(!made.tail().contains("hush"));
        fs::remove_file(&log).unwrap();
        fs::write(&log, "FATAL: no").unwrap();
        assert_eq!(made.tail(), "FATAL: no");
        // Of a server before this one.
        let again = ServerDirectory::make(&named(scratch.path()), &owner(), true).unwrap();
        assert!(!again.log().exists());
        assert_eq!(fs::read_to_string(secret).unwrap(), "hush");
    }

    #[test]
    fn the_directory_is_the_server_s_and_leads_nowhere() {
        let scratch = Scratch::new("server-directory");
        let made = ServerDirectory::make(&named(scratch.path()), &owner(), true).unwrap();
        let found = fs::metadata(scratch.join(NAME)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o700);
        assert_eq!(found.uid(), owner().uid);
        assert!(made.sockets().starts_with(scratch.path()) == is_plain(&scratch.join(NAME)));
        fs::remove_dir(scratch.join(NAME)).unwrap();
        symlink(scratch.dir("elsewhere"), scratch.join(NAME)).unwrap();
        ServerDirectory::make(&named(scratch.path()), &owner(), true).unwrap_err();
    }

    #[test]
    fn a_socket_whose_path_is_too_long_odd_or_not_ours_lies_elsewhere_and_goes() {
        let scratch = Scratch::new("server-sockets");
        let long = "x".repeat(LONGEST_SOCKET_DIRECTORY);
        // Or where others could have us connect to a socket of theirs.
        for (name, steady) in [(&*long, true), ("odd 'path'", true), ("plain", false)] {
            let target = named(&scratch.dir(name));
            let mut made = ServerDirectory::make(&target, &owner(), steady).unwrap();
            let sockets = made.sockets().to_owned();
            assert!(!sockets.starts_with(scratch.path()) && is_plain(&sockets));
            assert!(sockets.is_dir());
            made.keep();
            drop(made);
            assert!(sockets.is_dir());
            fs::write(sockets.join(".s.PGSQL.5"), "").unwrap();
            let above = sockets.parent().unwrap();
            let now = fs::metadata(&sockets).unwrap().modified().unwrap();
            let old = now - 2 * ABANDONED;
            let age = || File::open(&sockets).unwrap().set_modified(old).unwrap();
            age();
            remove_abandoned(above, &owner(), now);
            assert!(sockets.is_dir(), "its server runs");
            fs::remove_file(sockets.join(".s.PGSQL.5")).unwrap();
            remove_abandoned(above, &owner(), now);
            assert!(sockets.is_dir(), "its server may only be about to start");
            age();
            remove_abandoned(above, &owner(), now);
            assert!(!sockets.exists());

            let made = ServerDirectory::make(&target, &owner(), steady).unwrap();
            let sockets = made.sockets().to_owned();
            drop(made);
            assert!(!sockets.exists(), "no server came up");
        }
    }
}
