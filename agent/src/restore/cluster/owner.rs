//! Whom a restored cluster belongs to: the user that will run its server.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, openat},
    io::Errno,
    process::{getegid, geteuid},
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::DEEPEST;

use crate::{allowed::AllowedDirectory, restore::marker::is_marker};

/// A user and its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// As root: `postgres`, or the user called as the original's owner if the
    /// directory that the cluster goes to is his already. A snapshot alone does
    /// not choose among the accounts of a host: its server runs as the one that
    /// it gets. Otherwise we own what we write.
    pub(super) fn of_host(original: &str, target: &AllowedDirectory) -> Option<Self> {
        let uid = geteuid();
        if !uid.is_root() {
            return Some(Self {
                name: uid.as_raw().to_string(),
                uid: uid.as_raw(),
                gid: getegid().as_raw(),
            });
        }
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        let there = target.open().ok().flatten();
        let there = there.and_then(|directory| fstat(directory).ok());
        choose(
            &String::from_utf8_lossy(&passwd),
            original,
            there.map(|stat| stat.st_uid),
        )
    }

    /// Whether he is called so; without root's rights there is no choice.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name || !geteuid().is_root()
    }

    /// Makes everything at and below a directory the owner's, the deepest
    /// first: until it is all done, nobody else can enter and interfere. The
    /// marker of a restore stays ours: it goes when this has succeeded.
    pub(super) fn take(&self, root: &OwnedFd) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        self.take_below(root, DEEPEST)?;
        self.take_one(root, b"")
    }

    fn take_below(&self, directory: &OwnedFd, levels: usize) -> io::Result<()> {
        let Some(levels) = levels.checked_sub(1) else {
            let cause = format!("a directory in it lies more than {DEEPEST} directories deep");
            return Err(io::Error::other(cause));
        };
        for name in beneath::names(directory)? {
            // That of a tablespace may lie deeper.
            if is_marker(&name) {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = match openat(directory, &*name, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                entry => entry?,
            };
            let stat = fstat(&entry)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory {
                self.take_below(&entry, levels)?;
            }
            if (stat.st_uid, stat.st_gid) == (self.uid, self.gid) {
                continue;
            }
            // Run again, it is the server's user's tree already: what has a second
            // name may be another's, and a name may lead elsewhere by now.
            if !is_directory && stat.st_nlink != 1 {
                return Err(io::Error::other(format!(
                    "{} in it has a second name (hard link), by which it may be somebody else's: \
                     remove it, and restore again",
                    name.escape_ascii()
                )));
            }
            self.take_one(&entry, b"")?;
        }
        Ok(())
    }

    /// Makes one entry of a directory the owner's; without a name, what the
    /// descriptor is of.
    pub(super) fn take_one(&self, directory: impl AsFd, name: &[u8]) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        match chownat(directory, name, Some(uid), Some(gid), flags) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Of a host's accounts, for a directory that is the user `there`'s.
fn choose(passwd: &str, original: &str, there: Option<u32>) -> Option<Owner> {
    // PostgreSQL refuses to run as root.
    let account = |name| find(passwd, name).filter(|owner| owner.uid != 0);
    account(original)
        .filter(|owner| Some(owner.uid) == there)
        .or_else(|| account("postgres"))
}

/// A line `name:password:uid:gid:…`.
fn find(passwd: &str, name: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some(Owner {
            name: name.to_owned(),
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_name_of_another_file_is_not_given_away() {
        use std::os::unix::fs::MetadataExt;
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("data/base")).unwrap();
        fs::write(at("data/base/1"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", at("data/link")).unwrap();
        let owner = Owner {
            name: "server".into(),
            uid: 1234,
            gid: 1234,
        };
        let root = beneath::open_root(&at("data")).unwrap();
        owner.take(&root).unwrap();
        for name in ["data", "data/base", "data/base/1", "data/link"] {
            let found = fs::symlink_metadata(at(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (1234, 1234), "{name}");
        }
        fs::write(at("shadow"), "").unwrap();
        fs::hard_link(at("shadow"), at("data/base/2")).unwrap();
        let error = owner.take(&root).unwrap_err().to_string();
        assert!(error.contains("second name"), "{error}");
        assert_eq!(fs::metadata(at("shadow")).unwrap().uid(), 0);
    }

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad:x\npostgres:x:105:112:PG:/var:/bin/sh\n";
        assert_eq!(
            find(passwd, "postgres"),
            Some(Owner {
                name: "postgres".into(),
                uid: 105,
                gid: 112
            })
        );
        assert_eq!(find(passwd, "bad"), None);
        assert_eq!(find(passwd, "nobody"), None);
    }

    #[test]
    fn a_snapshot_alone_chooses_no_account() {
        let passwd = "root:x:0:0::/:\nwww:x:33:33::/:\npostgres:x:105:112::/:\n";
        let chosen = |original: &str, there| {
            let owner = choose(passwd, original, there);
            owner.map(|owner| owner.name)
        };
        for there in [None, Some(0), Some(105), Some(1000)] {
            assert_eq!(
                chosen("www", there).as_deref(),
                Some("postgres"),
                "{there:?}"
            );
            assert_eq!(chosen("postgres", there).as_deref(), Some("postgres"));
        }
        assert_eq!(chosen("www", Some(33)).as_deref(), Some("www"));
        assert_eq!(chosen("root", Some(0)).as_deref(), Some("postgres"));
        let without = |original: &str, there| choose("www:x:33:33::/:\n", original, there);
        assert_eq!(without("www", None), None);
        assert_eq!(without("www", Some(33)).map(|owner| owner.uid), Some(33));
    }

    #[test]
    fn what_lies_too_deep_is_not_given_away() {
        let scratch = tempfile::tempdir().unwrap();
        let owner = Owner {
            name: "server".into(),
            uid: 1234,
            gid: 1234,
        };
        fs::create_dir_all(scratch.path().join("d/".repeat(DEEPEST - 1))).unwrap();
        owner
            .take(&beneath::open_root(scratch.path()).unwrap())
            .unwrap();
        fs::create_dir_all(scratch.path().join("d/".repeat(DEEPEST))).unwrap();
        let refused = owner.take(&beneath::open_root(scratch.path()).unwrap());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("deep"), "{refused}");
    }
}
