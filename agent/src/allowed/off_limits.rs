//! The agent's own state, which no job reads into a backup or restores over.
//!
//! It holds the agent's private keys, and reports that are on their way. By
//! whatever name it is reached (through a link, a bind mount, from a directory
//! above it), it is known by its device and inode; so is what lies directly in
//! it, which may be mounted or linked elsewhere on its own.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, Stat, fstat, lstat, statat};
use strongroom_compare::beneath;

use super::within::resolve;

/// What no job may touch; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct OffLimits(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    path: PathBuf,
    directory: OwnedFd,
    identity: Identity,
    entries: BTreeMap<Identity, Box<[u8]>>,
}

/// Device and inode.
type Identity = (u64, u64);

impl OffLimits {
    /// The state of the agent that keeps it here; nothing, if nothing is there.
    pub fn of_agent(state_dir: &Path) -> io::Result<Self> {
        let directory = match beneath::open_root(state_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?,
        };
        let mut entries = BTreeMap::new();
        for name in beneath::names(&directory)? {
            if let Ok(stat) = statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                entries.insert(identity(&stat), name);
            }
        }
        Ok(Self(Some(Arc::new(State {
            path: resolve(state_dir)?,
            identity: identity(&fstat(&directory)?),
            directory,
            entries,
        }))))
    }

    /// What of it this entry of any directory is.
    pub(crate) fn find(&self, stat: &Stat) -> Option<PathBuf> {
        self.0.as_deref()?.find(identity(stat))
    }

    /// What of it this path is, or lies in. `real` has no links in it.
    pub(super) fn holding(&self, real: &Path) -> Option<PathBuf> {
        let state = self.0.as_deref()?;
        if real.starts_with(&state.path) {
            return Some(state.path.clone());
        }
        real.ancestors().find_map(|above| {
            let stat = lstat(above).ok()?;
            state.find(identity(&stat))
        })
    }
}

impl State {
    fn find(&self, wanted: Identity) -> Option<PathBuf> {
        if wanted == self.identity {
            return Some(self.path.clone());
        }
        let name = self.entries.get(&wanted)?;
        // A number may have been given to another file since.
        let now = statat(&self.directory, &**name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let name = OsStr::from_bytes(name);
        (identity(&now) == wanted).then(|| self.path.join(name))
    }
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}
