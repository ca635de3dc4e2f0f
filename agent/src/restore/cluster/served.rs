//! The path by which a server knows its data directory.
//!
//! Programs take paths, and a path leads wherever those say who may rename a
//! directory on it. Where these are root and the server's user alone, the server
//! is given the directory's own path. Elsewhere it inherits a descriptor of the
//! directory that was restored, as `pg_ctl`, its shell and all processes of the
//! server's do, and is given the name that each of them has for it:
//! `/proc/self/fd/N`. What others put in the directory's place is then never
//! read, at the start nor at a reload.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use command_fds::{CommandFdExt, FdMapping};

use super::{ClusterRestoreError, owner::Owner};
use crate::allowed::{AllowedDirectory, Unsteady};

/// Its number in the server: above those that shells use themselves, below any
/// limit.
const HANDED: RawFd = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Served {
    path: PathBuf,
    handed: Option<Handed>,
}

#[derive(Debug)]
struct Handed {
    directory: OwnedFd,
    /// Why its path would not do.
    because: Unsteady,
}

impl Served {
    /// A directory that was restored. An error when its path leads elsewhere
    /// already.
    pub(super) fn of(
        directory: &AllowedDirectory,
        owner: &Owner,
    ) -> Result<Self, ClusterRestoreError> {
        let Some(because) = check(directory, owner)? else {
            let path = directory.path().into();
            return Ok(Self { path, handed: None });
        };
        let opened = directory.descriptor().and_then(|it| it.try_clone());
        let opened = opened.map_err(ClusterRestoreError::file("open", directory.path()))?;
        Ok(Self {
            path: format!("/proc/self/fd/{HANDED}").into(),
            handed: Some(Handed {
                directory: opened,
                because,
            }),
        })
    }

    /// For the server and what starts it, and for nobody else.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether others may be led by the directory's own path.
    pub(super) fn is_steady(&self) -> bool {
        self.handed.is_none()
    }

    /// Has a program inherit what its path needs.
    pub(super) fn hand_to(&self, program: &mut tokio::process::Command) -> io::Result<()> {
        let Some(handed) = &self.handed else {
            return Ok(());
        };
        let mapping = FdMapping {
            parent_fd: handed.directory.try_clone()?,
            child_fd: HANDED,
        };
        let mapped = program.fd_mappings(vec![mapping]);
        mapped.map(|_| ()).map_err(io::Error::other)
    }

    /// What people should know of it.
    pub(super) fn note(&self) -> Option<String> {
        let because = &self.handed.as_ref()?.because;
        Some(format!(
            "{because}. So the server holds its directory open and calls it {}: that is what SHOW \
             data_directory says, and pg_ctl restart needs the directory's own path (-D) and the \
             settings again",
            self.path.display()
        ))
    }
}

/// Why a server cannot be given the directory's own path, if so. It need not be there
/// yet; an error when its path leads elsewhere.
pub(super) fn check(
    directory: &AllowedDirectory,
    owner: &Owner,
) -> Result<Option<Unsteady>, ClusterRestoreError> {
    match directory.check_steady(owner.uid) {
        Ok(()) => Ok(None),
        Err(because @ Unsteady::Writable { .. }) => Ok(Some(because)),
        Err(source) => {
            let path = directory.path().into();
            Err(ClusterRestoreError::Unsteady { path, source })
        }
    }
}
