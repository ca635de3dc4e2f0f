//! Inodes: which one stands behind a name. A name in somebody's directory is
//! his to move: what is changed is what we made or looked at, or nothing.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rustix::fs::{FileType, Stat, fstat, fstatfs, major, minor};

/// What tells an inode from every other, a later one of the same number
/// included: that would be its maker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    number: u64,
    /// As the kernel counts them: 32 bits.
    device: u32,
    /// Its owner when it was seen first.
    owner: u32,
}

impl From<&Stat> for Inode {
    fn from(stat: &Stat) -> Self {
        Self {
            number: stat.st_ino,
            device: device(stat),
            owner: stat.st_uid,
        }
    }
}

impl Inode {
    /// The inode behind a descriptor.
    pub(crate) fn of(opened: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&fstat(opened)?))
    }

    /// An error when what is open is another inode, has another owner by now, or
    /// (a directory aside) another name; else its status.
    pub(crate) fn check(self, opened: impl AsFd) -> io::Result<Stat> {
        let found = fstat(&opened)?;
        let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let now = Self::from(&found);
        let same = now == self || (self.alike(now) && renumbers(opened));
        if same && (directory || found.st_nlink == 1) {
            return Ok(found);
        }
        Err(exchanged())
    }

    /// Whether what is in a directory is this one, whoever owns it now.
    pub(crate) fn is(self, found: &Stat, directory: impl AsFd) -> bool {
        device(found) == self.device && (found.st_ino == self.number || renumbers(directory))
    }

    /// But for the number.
    fn alike(self, other: Self) -> bool {
        (self.device, self.owner) == (other.device, other.owner)
    }
}

/// Whether a file system in user space may number an inode anew each time that
/// it is looked up.
fn renumbers(opened: impl AsFd) -> bool {
    fstatfs(opened).is_ok_and(|found| found.f_type == FUSE)
}

/// `FUSE_SUPER_MAGIC` of `linux/magic.h`.
const FUSE: rustix::fs::FsWord = 0x6573_5546;

fn device(stat: &Stat) -> u32 {
    // The kernel's own encoding, behind every libc's: 20 bits of minor, 12 of
    // major number.
    (major(stat.st_dev) << 20) | (minor(stat.st_dev) & 0xf_ffff)
}

/// Somebody put another in its place.
pub(crate) fn exchanged() -> io::Error {
    io::Error::other("it was exchanged for something else while being restored")
}

/// Where an inode is noted, once it is known.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// 0: none. No file system numbers so.
    number: AtomicU64,
    rest: AtomicU64,
}

impl Slot {
    pub(crate) fn set(&self, inode: Inode) {
        let rest = u64::from(inode.device) << 32 | u64::from(inode.owner);
        self.rest.store(rest, Relaxed);
        self.number.store(inode.number, Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Inode> {
        let number = self.number.load(Relaxed);
        let rest = self.rest.load(Relaxed);
        (number != 0).then_some(Inode {
            number,
            device: (rest >> 32) as u32,
            owner: rest as u32,
        })
    }

    /// As [`Inode::check`]; an error, too, when none is noted.
    pub(crate) fn check(&self, opened: impl AsFd) -> io::Result<Stat> {
        self.get().ok_or_else(exchanged)?.check(opened)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn another_inode_owner_or_name_is_another() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("ours"), "").unwrap();
        fs::write(at("other"), "").unwrap();
        let slot = Slot::default();
        let open = |name| File::open(at(name)).unwrap();
        slot.check(open("ours")).unwrap_err();
        let ours = Inode::of(open("ours")).unwrap();
        slot.set(ours);
        assert_eq!(slot.get(), Some(ours));
        slot.check(open("ours")).unwrap();
        slot.check(open("other")).unwrap_err();
        let theirs = Inode {
            owner: ours.owner + 1,
            ..ours
        };
        theirs.check(open("ours")).unwrap_err();
        assert!(theirs.is(&fstat(open("ours")).unwrap(), open("")));
        fs::hard_link(at("ours"), at("second")).unwrap();
        slot.check(open("ours")).unwrap_err();
        let directory = Inode::of(open("")).unwrap();
        directory.check(open("")).unwrap();
    }
}
