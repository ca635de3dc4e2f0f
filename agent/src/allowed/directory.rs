//! What may be restored into.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::{
    fs::{AtFlags, Mode, Stat, fstat, stat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};
use strongroom_compare::beneath::{self, Walker};

use super::{OffLimits, Prefixes, Problem, Way, within::resolve};

/// For those who own a directory alone.
const PRIVATE: Mode = Mode::RWXU;

/// A directory that may be written, there or not. Once opened it stays the same
/// directory, whatever its name leads to later. Cheap to share.
#[derive(Clone, Debug)]
pub struct AllowedDirectory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    way: Way,
    off_limits: OffLimits,
    opened: OnceLock<Arc<OwnedFd>>,
}

/// Others decide what a path leads to.
#[derive(Debug, thiserror::Error)]
pub enum Unsteady {
    /// Somebody may exchange a directory on the way.
    #[error(
        "{directory} belongs to user {owner} and has the mode {mode:04o}: others than root and the \
         server's user could put another directory in the place of {name}; let it belong to root \
         (chown root) and be written by nobody else (chmod go-w)",
        directory = .directory.display(), name = .name.display()
    )]
    Writable {
        /// The one in which it lies.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// What could be exchanged.
        name: PathBuf,
    },
    /// Somebody has.
    #[error("it was exchanged for another directory while it was restored")]
    Exchanged,
    /// It cannot be told.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl AllowedDirectory {
    /// One of these prefixes, or a directory below.
    pub(crate) fn within(
        prefixes: &Prefixes<'_>,
        path: &str,
        off_limits: OffLimits,
    ) -> Result<Self, Problem> {
        let (path, _) = prefixes.spelled(path)?;
        let (path, way) = prefixes.way_to(path.as_path())?;
        match off_limits.holding(&path) {
            Some(own) => Err(Problem::OffLimits(own)),
            None => Ok(Self::new(path, way, off_limits)),
        }
    }

    /// A directory that somebody names who may do as he likes on this host: links
    /// on the way are followed. A relative path is an error.
    pub fn named(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            let cause = "it is not an absolute path";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
        }
        let way = Way::along(Walker::default(), &resolve(path)?)?;
        Ok(Self::new(path.into(), way, OffLimits::default()))
    }

    fn new(path: PathBuf, way: Way, off_limits: OffLimits) -> Self {
        Self(Arc::new(Inner {
            path,
            way,
            off_limits,
            opened: OnceLock::new(),
        }))
    }

    /// Where it is: for people, and for programs that take nothing but paths
    /// (see [`Self::check_steady`]). Allowed ones have no links in it.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens it, once; `None` when it is not there. The descriptor is `O_PATH`:
    /// good for reaching entries, not for listing.
    pub fn open(&self) -> io::Result<Option<Arc<OwnedFd>>> {
        if let Some(opened) = self.0.opened.get() {
            return Ok(Some(Arc::clone(opened)));
        }
        match self.0.way.open() {
            Ok(opened) => Ok(Some(self.keep(opened))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::open`], of one that must be there.
    pub fn descriptor(&self) -> io::Result<Arc<OwnedFd>> {
        self.open()?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens it, and makes it if it is missing, for its owner alone; `above` is
    /// the mode of directories that are missing on the way.
    pub fn create(&self, above: Mode) -> io::Result<Arc<OwnedFd>> {
        if let Some(opened) = self.0.opened.get() {
            return Ok(Arc::clone(opened));
        }
        Ok(self.keep(self.0.way.create(above, PRIVATE)?))
    }

    fn keep(&self, opened: OwnedFd) -> Arc<OwnedFd> {
        Arc::clone(self.0.opened.get_or_init(|| Arc::new(opened)))
    }

    /// It, or the nearest directory above it that is there.
    pub fn nearest(&self) -> io::Result<Arc<OwnedFd>> {
        match self.0.opened.get() {
            Some(opened) => Ok(Arc::clone(opened)),
            None => Ok(Arc::new(self.0.way.nearest()?)),
        }
    }

    /// Removes it, if nothing is in it and it is still where it was; the allowed
    /// directory itself stays.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let opened = self.descriptor()?;
        let Some((above, name)) = self.0.way.above()? else {
            let empty = beneath::names(&opened)?.is_empty();
            return empty.then_some(()).ok_or_else(|| Errno::NOTEMPTY.into());
        };
        let (itself, named) = (
            fstat(&opened)?,
            statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?,
        );
        if (itself.st_dev, itself.st_ino) != (named.st_dev, named.st_ino) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(unlinkat(&above, name, AtFlags::REMOVEDIR)?)
    }

    /// What of the agent's own state an entry is, which nothing may be written to.
    pub(crate) fn off_limits(&self, stat: &Stat) -> Option<PathBuf> {
        self.0.off_limits.find(stat)
    }

    /// Whether its path leads to it, and nobody but root, this agent and the user
    /// `uid` can change that: then a program of that user's may be given the path.
    /// What lies above the allowed directory is its administrator's.
    pub fn check_steady(&self, uid: u32) -> Result<(), Unsteady> {
        let ours = |stat: &Stat| [0, uid, geteuid().as_raw()].contains(&stat.st_uid);
        for (directory, opened, name) in self.0.way.steps() {
            let opened = opened?;
            let above = fstat(&opened).map_err(io::Error::from)?;
            let mode = above.st_mode & 0o7777;
            let writable = mode & 0o022 != 0;
            let sticky = mode & 0o1000 != 0;
            let entry = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW);
            let held = !writable || (sticky && entry.as_ref().map_or(true, ours));
            if !(ours(&above) && held) {
                return Err(Unsteady::Writable {
                    directory: self.place_of(&directory),
                    owner: above.st_uid,
                    mode,
                    name: name.into(),
                });
            }
        }
        let Some(opened) = self.0.opened.get() else {
            return Ok(());
        };
        let opened = fstat(opened).map_err(io::Error::from)?;
        let named = stat(self.path()).map_err(io::Error::from)?;
        if (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino) {
            return Ok(());
        }
        Err(Unsteady::Exchanged)
    }

    /// The path of a directory on the way.
    fn place_of(&self, step: &Path) -> PathBuf {
        let left = self.0.way.below().iter().count() - step.iter().count();
        let place = self.path().ancestors().nth(left);
        place.unwrap_or(self.path()).into()
    }
}
