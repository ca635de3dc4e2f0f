//! A private place for lists, and for a dump that several jobs read at once,
//! below the agent's state directory.

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

    /// A file in it that is not there yet.
    pub(super) fn create_file(&self, name: &str) -> Result<(PathBuf, File), PostgresRestoreError> {
        let path = self.directory.join(name);
        let file = create_file(&path).map_err(|source| failed("create", &path, source))?;
        Ok((path, file))
    }

    /// A file in it, in place of one of that name.
    pub(super) fn replace(
        &self,
        name: &str,
        content: &[u8],
    ) -> Result<PathBuf, PostgresRestoreError> {
        let path = self.directory.join(name);
        let write = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            create_file(&path)?.write_all(content)
        };
        write().map_err(|source| failed("write", &path, source))?;
        Ok(path)
    }

    /// A dump in it. Its bytes count as progress.
    pub(super) fn fill(
        &self,
        name: &str,
        dump: &mut FileStream,
        monitor: &Monitor,
    ) -> Result<PathBuf, PostgresRestoreError> {
        let (path, mut file) = self.create_file(name)?;
        while let Some(piece) = dump.next_piece()? {
            file.write_all(&piece)
                .map_err(|source| failed("write", &path, source))?;
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

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> PostgresRestoreError {
    PostgresRestoreError::Scratch {
        action,
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
        let file = scratch.replace("list", b"1;\n").unwrap();
        assert_eq!(scratch.replace("list", b"2;\n").unwrap(), file);
        assert_eq!(fs::read(&file).unwrap(), b"2;\n");
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
