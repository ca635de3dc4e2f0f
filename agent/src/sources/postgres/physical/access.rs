//! Whose files a backup reads: those that the cluster's owner may read.
//!
//! The agent runs as root, or with another's rights; what lies in a data
//! directory, and where links in it lead, is up to the cluster's owner. So
//! whatever is opened is looked at, by its descriptor, before a byte of it is
//! read: a regular file that he may read himself, or a directory that he may
//! list. His own are his whatever their mode is: he could change it.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Stat, fstat, readlinkat, statat},
    io::Errno,
};
use strongroom_compare::beneath;

use super::ClusterError;
use crate::sources::files::{
    file,
    metadata::kind,
    owners::{Owners, groups_of},
};

/// Who owns a cluster.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    user: u32,
    groups: Vec<u32>,
    /// For people; a number when he has none.
    pub(super) name: String,
}

impl Owner {
    /// The owner of a data directory.
    pub(super) fn of(data_directory: &Stat, owners: &Owners) -> Self {
        let user = data_directory.st_uid;
        Self {
            user,
            groups: groups_of(user),
            name: name_of(user, owners),
        }
    }

    /// Whether something belongs to him.
    pub(super) fn owns(&self, stat: &Stat) -> bool {
        stat.st_uid == self.user
    }

    /// Whether he may read a file.
    pub(super) fn may_read(&self, stat: &Stat) -> bool {
        self.has(stat, 0o4)
    }

    /// Whether he may list a directory and reach what is in it.
    pub(super) fn may_list(&self, stat: &Stat) -> bool {
        self.has(stat, 0o5)
    }

    /// Whether he may reach what is in a directory.
    pub(super) fn may_pass(&self, stat: &Stat) -> bool {
        self.has(stat, 0o1)
    }

    fn has(&self, stat: &Stat, bits: u32) -> bool {
        let granted = if self.owns(stat) {
            return true;
        } else if self.groups.contains(&stat.st_gid) {
            stat.st_mode >> 3
        } else {
            stat.st_mode
        };
        granted & bits == bits
    }

    /// Opens the file `name` in the directory `dir`, which lies at `place`.
    /// `None`: there is none.
    pub(super) fn open(
        &self,
        dir: &OwnedFd,
        place: &Path,
        name: &[u8],
    ) -> Result<Option<(OwnedFd, Stat)>, ClusterError> {
        let path = || place.join(os(name));
        let fd = match file::open(dir, name) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unopened(dir, place, name, error)),
        };
        let stat = fstat(&fd).map_err(|error| self.failed(&path(), error.into()))?;
        if kind(&stat) != FileType::RegularFile {
            return Err(ClusterError::NotRegular { path: path() });
        }
        if !self.may_read(&stat) {
            return Err(self.foreign(path(), &stat));
        }
        Ok(Some((fd, stat)))
    }

    /// Opens the directory `name` in the directory `dir`, which lies at
    /// `place`; whether he may list it is left to the caller. `None`: there is
    /// none.
    pub(super) fn enter(
        &self,
        dir: &OwnedFd,
        place: &Path,
        name: &[u8],
    ) -> Result<Option<(OwnedFd, Stat)>, ClusterError> {
        let fd = match beneath::open_child(dir, name) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unopened(dir, place, name, error)),
        };
        match fstat(&fd) {
            Ok(stat) => Ok(Some((fd, stat))),
            Err(error) => Err(self.failed(&place.join(os(name)), error.into())),
        }
    }

    /// Why an entry that is there could not be opened.
    fn unopened(&self, dir: &OwnedFd, place: &Path, name: &[u8], error: io::Error) -> ClusterError {
        let path = place.join(os(name));
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == FileType::Symlink => link(dir, place, name),
            _ => self.failed(&path, error),
        }
    }

    /// What a failure to open or read means.
    pub(super) fn failed(&self, path: &Path, source: io::Error) -> ClusterError {
        failed(path, source, &self.name)
    }

    /// Of a directory that a link leads to.
    pub(super) fn not_owned(&self, path: PathBuf, stat: &Stat) -> ClusterError {
        ClusterError::NotOwned {
            path,
            user: name_of(stat.st_uid, &Owners::of_host()),
            owner: self.name.clone(),
        }
    }

    /// Of something that he may not read.
    pub(super) fn foreign(&self, path: PathBuf, stat: &Stat) -> ClusterError {
        ClusterError::Foreign {
            path,
            user: name_of(stat.st_uid, &Owners::of_host()),
            owner: self.name.clone(),
        }
    }
}

/// Of a link where there should be data.
pub(super) fn link(dir: &OwnedFd, place: &Path, name: &[u8]) -> ClusterError {
    ClusterError::Link {
        path: place.join(os(name)),
        to: target(dir, name).unwrap_or_default(),
    }
}

/// Where a link leads, as it says.
pub(super) fn target(dir: &OwnedFd, name: &[u8]) -> Result<PathBuf, Errno> {
    let target = readlinkat(dir, name, Vec::new())?;
    Ok(os(&target.into_bytes()).into())
}

/// What a failure to open or read means.
pub(super) fn failed(path: &Path, source: io::Error, owner: &str) -> ClusterError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClusterError::NotPermitted {
            path,
            owner: owner.to_owned(),
        },
        _ => ClusterError::Read { path, source },
    }
}

fn name_of(user: u32, owners: &Owners) -> String {
    match owners.user(user) {
        "" => user.to_string(),
        name => name.to_owned(),
    }
}

pub(super) fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, Mode, mknodat};
    use strongroom_tests::scratch::Scratch;

    use super::*;

    /// Of users that this host does not have.
    fn stat_of(user: u32, group: u32, mode: u32) -> Stat {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        (stat.st_uid, stat.st_gid) = (user, group);
        stat.st_mode = stat.st_mode & !0o777 | mode;
        stat
    }

    fn owner() -> Owner {
        Owner {
            user: 70_000,
            groups: vec![70_001, 70_002],
            name: "postgres".into(),
        }
    }

    #[test]
    fn what_the_owner_may_not_read_may_not_be_read() {
        let owner = owner();
        for (user, group, mode, read, list) in [
            (70_000, 0, 0o600, true, true),
            // He could give himself the right.
            (70_000, 0, 0o000, true, true),
            (0, 0, 0o600, false, false),
            (0, 0, 0o644, true, false),
            (0, 0, 0o755, true, true),
            (0, 0, 0o711, false, false),
            (0, 70_001, 0o640, true, false),
            (0, 70_002, 0o750, true, true),
            (0, 70_003, 0o640, false, false),
            // Members of a group are not the others.
            (0, 70_001, 0o604, false, false),
        ] {
            let stat = stat_of(user, group, mode);
            let case = format!("{user}:{group} {mode:o}");
            assert_eq!(owner.may_read(&stat), read, "{case}");
            assert_eq!(owner.may_list(&stat), list, "{case}");
        }
    }

    #[test]
    fn only_regular_files_that_are_the_owner_s_are_opened() {
        let scratch = Scratch::new("cluster-access");
        let place = scratch.dir("base");
        let fd = beneath::open_root(&place).unwrap();
        let own = Owner::of(&fstat(&fd).unwrap(), &Owners::default());
        fs::write(place.join("1"), "page").unwrap();
        let (_, stat) = own.open(&fd, &place, b"1").unwrap().expect("a file");
        assert_eq!(stat.st_size, 4);
        assert!(own.open(&fd, &place, b"2").unwrap().is_none());

        let other = Owner {
            user: 70_000,
            groups: Vec::new(),
            ..own.clone()
        };
        fs::set_permissions(
            place.join("1"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let refused = other.open(&fd, &place, b"1").unwrap_err();
        assert!(matches!(refused, ClusterError::Foreign { .. }), "{refused}");

        symlink("/etc/shadow", place.join("3")).unwrap();
        let refused = own.open(&fd, &place, b"3").unwrap_err().to_string();
        for word in ["base/3", "symbolic link", "/etc/shadow"] {
            assert!(refused.contains(word), "{refused}");
        }
        symlink("/etc", place.join("4")).unwrap();
        let refused = own.enter(&fd, &place, b"4").unwrap_err();
        assert!(matches!(refused, ClusterError::Link { .. }), "{refused}");

        // Nobody writes to it: whoever waits for that waits for ever.
        mknodat(CWD, place.join("5"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let refused = own.open(&fd, &place, b"5").unwrap_err();
        assert!(
            matches!(refused, ClusterError::NotRegular { .. }),
            "{refused}"
        );
    }
}
