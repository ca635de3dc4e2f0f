//! Reaching entries below a directory without ever following a symlink.
//!
//! Shared by the comparison and the restore. Paths are relative, `/`-separated
//! raw bytes of any length; a directory is named by an `O_PATH` descriptor and
//! its entries by single names, so that no path is ever resolved twice.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::{
    fs::{self, CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Bytes of a path that one call of `openat2` may resolve: `PATH_MAX` less the
/// terminating NUL.
const PIECE: usize = 4095;

/// Set once the kernel, or a sandbox around us, has refused `openat2`.
static WITHOUT_OPENAT2: AtomicBool = AtomicBool::new(false);

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory that the user named: symlinks on the way are followed.
/// The descriptor is `O_PATH`: good for reaching entries, not for listing.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens the directory at `path` below `root` (empty: `root` itself), however
/// long the path. Fails with `ELOOP` or `ENOTDIR` when any part of it is a
/// symlink. The descriptor is `O_PATH`.
pub fn open_dir(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let mut rest = path;
    let mut directory: Option<OwnedFd> = None;
    loop {
        let (piece, behind) = split_piece(rest);
        let base = directory.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let piece = if piece.is_empty() {
            b".".as_slice()
        } else {
            piece
        };
        let next = open_piece(base, piece)?;
        if behind.is_empty() {
            return Ok(next);
        }
        directory = Some(next);
        rest = behind;
    }
}

/// Opens the directory `name` in `directory`; fails when it is a symlink.
pub fn open_child(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(fs::openat(directory, name, DIRECTORY, Mode::empty())?)
}

/// The names in a directory, raw and unsorted, without `.` and `..`.
pub fn names(directory: impl AsFd) -> io::Result<Vec<Box<[u8]>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = fs::openat(directory, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in fs::Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// A path for the calls that take no directory descriptor (those of extended
/// attributes). It goes through `/proc`, is short whatever the depth, and only
/// its last part is looked up: use it with the calls that do not follow.
pub fn proc_path(directory: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// The longest piece that ends at a `/` and fits one call, and what follows.
fn split_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PIECE {
        return (path, b"");
    }
    let cut = path[..=PIECE].iter().rposition(|byte| *byte == b'/');
    match cut {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        // A single name beyond PIECE: the kernel will refuse it.
        None => (path, b""),
    }
}

fn open_piece(base: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
    if !WITHOUT_OPENAT2.load(Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match fs::openat2(base, piece, DIRECTORY, Mode::empty(), resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => WITHOUT_OPENAT2.store(true, Relaxed),
            result => return Ok(result?),
        }
    }
    open_steps(base, piece)
}

/// The same, a name at a time.
fn open_steps(base: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
    let mut directory: Option<OwnedFd> = None;
    for name in piece.split(|byte| *byte == b'/') {
        if name == b".." || name.is_empty() {
            return Err(Errno::INVAL.into());
        }
        let next = open_child(directory.as_ref().map_or(base, AsFd::as_fd), name)?;
        directory = Some(next);
    }
    directory.ok_or_else(|| Errno::INVAL.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &[u8]) -> io::Result<OwnedFd>;

    #[test]
    fn symlinks_and_parents_are_refused_both_ways() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        symlink("a", scratch.path().join("link")).unwrap();
        let root = open_root(scratch.path()).unwrap();
        for open in [open_piece as Open, open_steps as Open] {
            assert!(open(root.as_fd(), b"a/b").is_ok());
            assert!(open(root.as_fd(), b"link").is_err());
            assert!(open(root.as_fd(), b"link/b").is_err());
            assert!(open(root.as_fd(), b"../").is_err());
            assert!(open(root.as_fd(), b"/tmp").is_err());
        }
    }

    #[test]
    fn long_paths_are_cut_at_slashes() {
        let path = vec![b"name".as_slice(); 3_000].join(&b'/');
        let mut rest = path.as_slice();
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = split_piece(rest);
            assert!(piece.len() <= PIECE);
            seen.extend(piece.split(|byte| *byte == b'/'));
            rest = behind;
        }
        assert_eq!(seen.len(), 3_000);
        assert!(seen.iter().all(|name| name == b"name"));
    }
}
