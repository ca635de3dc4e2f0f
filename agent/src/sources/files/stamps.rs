//! Whose clock stamps the files of a file system: this host's, or a server's.

use std::{collections::HashMap, os::fd::OwnedFd};

use parking_lot::RwLock;
use rustix::fs::{Mode, OFlags, Stat, fstatfs, openat};

/// File systems whose times may be another host's, by their magic numbers, as in Linux's
/// `magic.h` and in the sources of those that are not part of it.
const REMOTE: [u32; 16] = [
    0x6969,      // nfs
    0x517b,      // smb
    0xfe53_4d42, // smb2
    0xff53_4d42, // cifs
    0x6573_5546, // fuse: sshfs, s3fs, glusterfs, …
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x5346_414f, // afs
    0x6b41_4653, // kafs
    0x7375_7245, // coda
    0x564c,      // ncp
    0x0bd0_0bd0, // lustre
    0x4750_4653, // gpfs
    0x1983_0326, // beegfs
    0x7461_636f, // ocfs2, whose nodes each have a clock
    0x0116_1970, // gfs2, likewise
];

/// A clock that stamps files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamps {
    /// That of the host, whose time is known.
    Host,
    /// Of another, whose clock may go otherwise.
    Server,
}

/// Of each file system that was met, by its device number.
#[derive(Debug, Default)]
pub(super) struct Known(RwLock<HashMap<u64, Stamps>>);

impl Known {
    /// Of the one on which an entry of a directory lies. One that cannot be told counts
    /// as a server's.
    pub(super) fn of(&self, directory: &OwnedFd, name: &[u8], stat: &Stat) -> Stamps {
        let device = stat.st_dev;
        if let Some(known) = self.0.read().get(&device) {
            return *known;
        }
        let found = ask(directory, name);
        self.0.write().insert(device, found);
        found
    }
}

fn ask(directory: &OwnedFd, name: &[u8]) -> Stamps {
    // Opens nothing.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = openat(directory, name, flags, Mode::empty());
    let found = entry.and_then(|entry| fstatfs(&entry));
    match found.map(|found| found.f_type as u32) {
        Ok(magic) if !REMOTE.contains(&magic) => Stamps::Host,
        _ => Stamps::Server,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn a_file_of_this_host_has_its_time() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "").unwrap();
        let stat = fstat(File::open(directory.path().join("a")).unwrap()).unwrap();
        let directory = OwnedFd::from(File::open(directory.path()).unwrap());
        let known = Known::default();
        // A FUSE file system is somebody else's, even below `/tmp`.
        let expected = match fstatfs(&directory).unwrap().f_type as u32 {
            magic if REMOTE.contains(&magic) => Stamps::Server,
            _ => Stamps::Host,
        };
        assert_eq!(known.of(&directory, b"a", &stat), expected);
        // It is known by the device, and asked for once.
        assert_eq!(known.of(&directory, b"missing", &stat), expected);
        assert_eq!(ask(&directory, b"missing"), Stamps::Server);
    }
}
