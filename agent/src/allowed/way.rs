//! From an open directory to one below it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{fs::Mode, io::Errno};
use strongroom_compare::beneath::{self, Walker};

/// The way from an open directory to one below it. No symbolic link is ever
/// walked through; what is on the way may be missing.
#[derive(Clone, Debug)]
pub struct Way {
    walker: Walker,
    anchor: Arc<OwnedFd>,
    /// Relative, of plain names; empty: the open directory itself.
    below: PathBuf,
}

impl Way {
    /// To what of this path is there and is a directory, which is opened; the
    /// rest is the way. `path` is absolute and has no links in it.
    pub(super) fn along(walker: Walker, path: &Path) -> io::Result<Self> {
        let top = beneath::open_root(Path::new("/"))?;
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for above in path.ancestors() {
            let names = above.strip_prefix("/").unwrap_or(above);
            match walker.open_dir(&top, names.as_os_str().as_encoded_bytes()) {
                Ok(opened) => {
                    let below = path.strip_prefix(above).unwrap_or(Path::new(""));
                    return Ok(Self {
                        walker,
                        anchor: Arc::new(opened),
                        below: below.into(),
                    });
                }
                Err(other) if is_missing(&other) => error = other,
                Err(other) => return Err(other),
            }
        }
        Err(error)
    }

    /// To a directory below this one.
    pub(super) fn down(&self, relative: &Path) -> Self {
        Self {
            // Joining nothing would append a slash.
            below: self.below.iter().chain(relative).collect(),
            ..self.clone()
        }
    }

    /// Opens the directory (`O_PATH`).
    pub fn open(&self) -> io::Result<OwnedFd> {
        self.walker
            .open_dir(&self.anchor, self.names())
            .map_err(exchanged)
    }

    /// Opens the directory, and makes what is missing, with these modes.
    pub(super) fn create(&self, above: Mode, last: Mode) -> io::Result<OwnedFd> {
        self.walker
            .create_dir(&self.anchor, self.names(), above, last)
            .map_err(exchanged)
    }

    /// Opens the last directory on the way that is there.
    pub(super) fn nearest(&self) -> io::Result<OwnedFd> {
        for above in self.below.ancestors() {
            let names = above.as_os_str().as_encoded_bytes();
            match self.walker.open_dir(&self.anchor, names) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map_err(exchanged),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// The directories on the way that are there, each with the name that is
    /// looked up in it: what decides where the way leads.
    pub(super) fn steps(&self) -> impl Iterator<Item = (PathBuf, io::Result<OwnedFd>, &Path)> {
        let mut so_far = PathBuf::new();
        self.below.iter().map_while(move |name| {
            let above = so_far.clone();
            so_far.push(name);
            let opened = self
                .walker
                .open_dir(&self.anchor, above.as_os_str().as_encoded_bytes());
            match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                opened => Some((above, opened.map_err(exchanged), Path::new(name))),
            }
        })
    }

    /// Opens the directory above, in which the last name of the way is looked up;
    /// `None`: there is none on the way.
    pub(super) fn above(&self) -> io::Result<Option<(OwnedFd, &Path)>> {
        let Some((above, name)) = self.below.parent().zip(self.below.file_name()) else {
            return Ok(None);
        };
        let names = above.as_os_str().as_encoded_bytes();
        let opened = self.walker.open_dir(&self.anchor, names);
        Ok(Some((opened.map_err(exchanged)?, Path::new(name))))
    }

    pub(super) fn below(&self) -> &Path {
        &self.below
    }

    fn names(&self) -> &[u8] {
        self.below.as_os_str().as_encoded_bytes()
    }
}

impl AsFd for Way {
    /// The open directory from which it leads.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}

/// Nothing is there, or something in which nothing can be.
fn is_missing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR))
}

/// Resolved, a path has no links in it: one that is there now came later.
fn exchanged(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::NOTDIR) => io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is no directory, or it was exchanged for a symbolic link after the agent looked \
             whether agent.toml allows it",
        ),
        _ => error,
    }
}
