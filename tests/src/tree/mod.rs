//! A directory tree with every kind of entry that a files source can meet,
//! the same for the same seed.
//!
//! [`Tree::write`] makes it below a directory; the directory itself gets a
//! mode and times too. What only root can make (devices, foreign owners,
//! `trusted.*` attributes) is left out for others, and said so.
//!
//! To add a kind of entry: write a function in the module of its subject and
//! call it from [`Tree::write`].

mod attributes;
pub mod contents;
mod deep;
mod kinds;
mod names;

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{PermissionsExt as _, chown},
    },
    path::Path,
};

pub use kinds::write_socket;

use rand::{SeedableRng as _, rngs::StdRng};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, openat, utimensat},
    process::geteuid,
};

/// What the tree holds. Start from [`Tree::full`] or [`Tree::small`].
#[derive(Debug, Clone)]
pub struct Tree {
    /// Decides contents, sizes and times.
    pub seed: u64,
    /// Small files in `many/`, in directories of 100.
    pub small_files: usize,
    /// Bytes of `contents/large.random`; other contents have fixed sizes.
    pub large: usize,
    /// Directories below each other in `deep/`, 200 bytes of name each.
    pub depth: usize,
    /// Devices, odd names, attributes, sparse files, links, ….
    pub every_kind: bool,
}

impl Tree {
    /// Every kind of entry, deeper than PATH_MAX, a few thousand files.
    pub fn full(seed: u64) -> Self {
        Self {
            seed,
            small_files: 2_000,
            large: 24 * 1024 * 1024,
            depth: 30,
            every_kind: true,
        }
    }

    /// Plain files only, quickly backed up.
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            small_files: 40,
            large: 3 * 1024 * 1024,
            depth: 2,
            every_kind: false,
        }
    }

    /// Makes the tree below `root`, which is made too.
    ///
    /// # Panics
    /// When the file system refuses something.
    pub fn write(&self, root: &Path) {
        let mut random = StdRng::seed_from_u64(self.seed);
        fs::create_dir_all(root).expect("the tree's root can be made");
        contents::write(&sub(root, "contents"), self.large, &mut random);
        contents::write_many(&sub(root, "many"), self.small_files, &mut random);
        deep::write(&sub(root, "deep"), self.depth);
        if self.every_kind {
            names::write(&sub(root, "names"));
            kinds::write_links(&sub(root, "links"));
            kinds::write_special(&sub(root, "special"));
            kinds::write_modes(&sub(root, "modes"));
            contents::write_sparse(&sub(root, "sparse"), &mut random);
            attributes::write(&sub(root, "attributes"));
            kinds::write_times(&sub(root, "times"));
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o751)).expect("chmod");
        set_times(root, 1_700_000_000, 987_654_321);
    }
}

/// Whether the test may make devices and give files away.
fn is_root() -> bool {
    geteuid().is_root()
}

fn sub(root: &Path, name: &str) -> std::path::PathBuf {
    let path = root.join(name);
    fs::create_dir_all(&path).expect("a directory can be made");
    path
}

/// Sets access and modification time of the entry itself, not of what a
/// symlink names.
fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times can be set");
}

/// Opens a directory below another one, by one step.
fn open_directory(parent: impl AsFd, name: &str) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).expect("a directory opens")
}

fn give_to(path: &Path, uid: u32, gid: u32) {
    if is_root() {
        chown(path, Some(uid), Some(gid)).expect("root may give files away");
    }
}

#[cfg(test)]
mod tests;
