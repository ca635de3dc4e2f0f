//! The data directory: mode 0700, a version, one coordinator at a time.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use strongroom_runtime::files::{self, FileError};
use uuid::Uuid;

/// What this program writes; it reads nothing newer.
const VERSION: u32 = 1;

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    id: Uuid,
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system's answer.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may look into it.
    #[error(
        "the data directory {path} holds keys and is open to others (mode {mode:04o}): run \
         `chmod 700 {path}`"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another coordinator uses it.
    #[error(
        "the data directory {path} is in use by another coordinator: stop that one, or name \
         another directory"
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error(
        "the data directory {path} is of version {found}, and this is strongroom {program}, which \
         knows versions up to {VERSION}: run the newer strongroom",
        program = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// What its VERSION file says.
        found: u32,
    },
    /// The VERSION file is damaged.
    #[error(
        "{path} does not hold a version but {found:?}: is this a strongroom data directory? \
         Restore the file, or name another data_directory"
    )]
    NoVersion {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

impl DataDirectory {
    /// Opens a data directory, or makes it; locks it until dropped.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Io {
            path: path.to_owned(),
            source,
        };
        files::create_private_dir(path)?;
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(DataError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        check_version(path)?;
        Ok(Self {
            path: path.to_owned(),
            id: own_id(path)?,
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By what the catalog tells it from those of other coordinators.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

/// Reads the file `id`; makes a new one where there is none, or one that holds nothing.
fn own_id(path: &Path) -> Result<Uuid, DataError> {
    let file = path.join("id");
    let text = match files::read_text(&file) {
        Err(error) if !error.is_not_found() => return Err(error.into()),
        text => text.unwrap_or_default(),
    };
    if let Ok(id) = text.trim().parse() {
        return Ok(id);
    }
    let id = Uuid::new_v4();
    files::write_atomic(&file, format!("{id}\n").as_bytes(), files::PUBLIC)?;
    Ok(id)
}

/// Reads the VERSION file; writes it into a new directory.
fn check_version(path: &Path) -> Result<(), DataError> {
    let file = path.join("VERSION");
    let text = match files::read_text(&file) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => {
            files::write_atomic(&file, format!("{VERSION}\n").as_bytes(), files::PUBLIC)?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    match text.trim().parse::<u32>() {
        Ok(found) if found > VERSION => Err(DataError::Newer {
            path: path.to_owned(),
            found,
        }),
        Ok(_) => Ok(()),
        Err(_) => Err(DataError::NoVersion {
            path: file,
            found: text.chars().take(40).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        DataDirectory::open(path).unwrap_err().to_string()
    }

    #[test]
    fn is_made_private_and_opened_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/data");
        drop(DataDirectory::open(&path).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert_eq!(fs::read_to_string(path.join("VERSION")).unwrap(), "1\n");
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn keeps_its_id() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        let id = DataDirectory::open(&path).unwrap().id();
        assert_eq!(DataDirectory::open(&path).unwrap().id(), id);
        // Nothing depends on it but who is told from whom.
        fs::write(path.join("id"), "").unwrap();
        let other = DataDirectory::open(&path).unwrap().id();
        assert_ne!(other, id);
        assert_eq!(DataDirectory::open(&path).unwrap().id(), other);
    }

    #[test]
    fn a_second_coordinator_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        let first = DataDirectory::open(&path).unwrap();
        assert!(refusal(&path).contains("in use by another coordinator"));
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_newer_a_damaged_and_an_open_directory_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        drop(DataDirectory::open(&path).unwrap());
        fs::write(path.join("VERSION"), "2\n").unwrap();
        assert!(refusal(&path).contains("run the newer strongroom"));
        fs::write(path.join("VERSION"), "one\n").unwrap();
        assert!(refusal(&path).contains("does not hold a version"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(refusal(&path).contains("chmod 700"));
    }
}
