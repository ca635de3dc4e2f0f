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

/// Who resolves a path of several names. Both refuse the same paths; the choice
/// is there for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Walker {
    /// The kernel, in one call of `openat2`; where there is none, as [`Self::Steps`].
    #[default]
    Kernel,
    /// A call for each name.
    Steps,
}

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
    Walker::default().open_dir(root, path)
}

impl Walker {
    /// See [`open_dir`].
    pub fn open_dir(self, root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
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
            let next = self.open_piece(base, piece)?;
            if behind.is_empty() {
                return Ok(next);
            }
            directory = Some(next);
            rest = behind;
        }
    }

    /// Opens the directory at `path` below `root` as [`open_dir`] does, and makes
    /// what is missing: `last` is the mode of the directory itself, `above` of
    /// those on the way to it.
    pub fn create_dir(
        self,
        root: impl AsFd,
        path: &[u8],
        above: Mode,
        last: Mode,
    ) -> io::Result<OwnedFd> {
        match self.open_dir(&root, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut directory: Option<OwnedFd> = None;
        let mut names = names_of(path).peekable();
        while let Some(name) = names.next() {
            let name = name?;
            let base = directory.as_ref().map_or(root.as_fd(), AsFd::as_fd);
            let mode = if names.peek().is_some() { above } else { last };
            match fs::mkdirat(base, name, mode) {
                // There before, or made by somebody else just now: if it is a
                // symlink, it is refused as any other.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            directory = Some(open_child(base, name)?);
        }
        directory.ok_or_else(|| Errno::INVAL.into())
    }

    fn open_piece(self, base: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
        match self {
            Self::Kernel => by_kernel(base, piece, &WITHOUT_OPENAT2, openat2),
            Self::Steps => by_steps(base, piece),
        }
    }
}

fn openat2(base: BorrowedFd<'_>, piece: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(base, piece, DIRECTORY, Mode::empty(), resolve)
}

/// Asks the kernel until it has refused to be asked.
fn by_kernel(
    base: BorrowedFd<'_>,
    piece: &[u8],
    refused: &AtomicBool,
    openat2: impl FnOnce(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    if !refused.load(Relaxed) {
        match openat2(base, piece) {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => refused.store(true, Relaxed),
            result => return Ok(result?),
        }
    }
    by_steps(base, piece)
}

fn by_steps(base: BorrowedFd<'_>, piece: &[u8]) -> io::Result<OwnedFd> {
    let mut directory: Option<OwnedFd> = None;
    for name in names_of(piece) {
        let next = open_child(directory.as_ref().map_or(base, AsFd::as_fd), name?)?;
        directory = Some(next);
    }
    directory.ok_or_else(|| Errno::INVAL.into())
}

/// The names in a path. Those that lead out of a directory are errors.
fn names_of(path: &[u8]) -> impl Iterator<Item = io::Result<&[u8]>> {
    path.split(|byte| *byte == b'/').map(|name| match name {
        b".." | b"" => Err(Errno::INVAL.into()),
        name => Ok(name),
    })
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const BOTH: [Walker; 2] = [Walker::Kernel, Walker::Steps];

    #[test]
    fn symlinks_and_parents_are_refused_both_ways() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        symlink("a", scratch.path().join("link")).unwrap();
        let root = open_root(scratch.path()).unwrap();
        for walker in BOTH {
            let open = |path| walker.open_dir(&root, path);
            assert!(open(b"a/b").is_ok());
            assert!(open(b"").is_ok());
            assert!(open(b"link").is_err());
            assert!(open(b"link/b").is_err());
            assert!(open(b"../").is_err());
            assert!(open(b"/tmp").is_err());
        }
    }

    #[test]
    fn where_the_kernel_has_no_such_call_each_name_is_opened() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        symlink("a", scratch.path().join("link")).unwrap();
        let root = open_root(scratch.path()).unwrap();
        for refusal in [Errno::NOSYS, Errno::PERM] {
            let (refused, asked) = (AtomicBool::new(false), std::cell::Cell::new(0));
            let open = |path: &[u8]| {
                by_kernel(root.as_fd(), path, &refused, |_, _| {
                    asked.set(asked.get() + 1);
                    Err(refusal)
                })
            };
            open(b"a/b").unwrap();
            open(b"link/b").unwrap_err();
            open(b"..").unwrap_err();
            assert_eq!(asked.get(), 1, "it is asked once");
        }
        // What it says of a path counts.
        let refused = AtomicBool::new(false);
        by_kernel(root.as_fd(), b"a/b", &refused, |_, _| Err(Errno::LOOP)).unwrap_err();
        assert!(!refused.load(Relaxed));
        by_kernel(root.as_fd(), b"a/b", &refused, openat2).unwrap();
    }

    #[test]
    fn what_is_missing_is_made_and_symlinks_are_not_walked_through() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("a")).unwrap();
        symlink(outside.path(), scratch.path().join("a/link")).unwrap();
        symlink("nowhere", scratch.path().join("a/dangling")).unwrap();
        let root = open_root(scratch.path()).unwrap();
        let mode = |path: &str| {
            let metadata = scratch.path().join(path).metadata().unwrap();
            metadata.permissions().mode() & 0o777
        };
        let (above, last) = (Mode::from_raw_mode(0o711), Mode::RWXU);
        for (walker, name) in BOTH.into_iter().zip(["kernel", "steps"]) {
            let create = |path: &str| walker.create_dir(&root, path.as_bytes(), above, last);
            let path = format!("a/{name}/b/c");
            let made = create(&path).unwrap();
            fs::mkdirat(&made, "in it", Mode::RWXU).unwrap();
            assert!(scratch.path().join(&path).join("in it").is_dir());
            assert_eq!(mode(&path), 0o700);
            assert_eq!(mode(&format!("a/{name}/b")), 0o711);
            create(&path).unwrap();
            for path in ["a/link/x", "a/link", "a/dangling/x", "a/dangling", "a/../x"] {
                create(path).unwrap_err();
            }
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(!scratch.path().join("x").exists());
        assert!(!scratch.path().join("nowhere").exists());
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
