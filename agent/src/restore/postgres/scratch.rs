//! A private place for a dump that several jobs read at once, below the
//! agent's state directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
};

use rustix::fs::statvfs;

use super::PostgresRestoreError;
use crate::{monitor::Monitor, restore::stream::FileStream};

/// Below the state directory; holds one directory per job.
const PLACE: &str = "postgres-restore";

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// Mode 0700, and empty.
    pub(super) fn create(state_dir: &Path, job: &str) -> Result<Self, PostgresRestoreError> {
        let directory = state_dir.join(PLACE).join(job);
        let create = || {
            // Of an earlier attempt of this job, cut off in the middle.
            remove(&directory)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
        };
        create().map_err(|source| PostgresRestoreError::Scratch {
            action: "create",
            path: directory.clone(),
            source,
        })?;
        Ok(Self { directory })
    }

    /// A small file in it.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, PostgresRestoreError> {
        let path = self.directory.join(name);
        let write = || create_file(&path)?.write_all(text.as_bytes());
        write().map_err(|source| failed(&path, source))?;
        Ok(path)
    }

    /// A dump in it. Its bytes count as progress.
    pub(super) fn fill(
        &self,
        name: &str,
        dump: &mut FileStream,
        monitor: &Monitor,
    ) -> Result<PathBuf, PostgresRestoreError> {
        let path = self.directory.join(name);
        let mut file = create_file(&path).map_err(|source| failed(&path, source))?;
        while let Some(piece) = dump.next_piece()? {
            file.write_all(&piece)
                .map_err(|source| failed(&path, source))?;
            monitor.bytes.fetch_add(piece.len() as u64, Relaxed);
        }
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(
                path = %self.directory.display(), %error,
                "the scratch directory of a restore cannot be removed; the agent's next start tries again"
            );
        }
    }
}

/// Removes what restores left that were cut off. For the agent's start, when
/// none runs.
pub fn sweep(state_dir: &Path) {
    let place = state_dir.join(PLACE);
    if let Err(error) = remove(&place) {
        tracing::warn!(path = %place.display(), %error, "what restores left cannot be removed");
    }
}

/// Bytes free below the state directory; 0 when nobody says.
pub(super) fn free(state_dir: &Path) -> u64 {
    statvfs(state_dir).map_or(0, |it| it.f_bavail.saturating_mul(it.f_frsize))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn failed(path: &Path, source: io::Error) -> PostgresRestoreError {
    PostgresRestoreError::Scratch {
        action: "write",
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_and_goes_away() {
        let state = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(state.path(), "0a1b").unwrap();
        let file = scratch.write("list", "1;\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&scratch.directory), 0o700);
        drop(scratch);
        assert!(!file.exists());
        // What a killed agent left goes at the next start.
        std::mem::forget(Scratch::create(state.path(), "0a1b").unwrap());
        sweep(state.path());
        assert!(!state.path().join(PLACE).exists());
        sweep(state.path());
    }
}
