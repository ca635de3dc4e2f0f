//! The server's side of the fetched log: what its `restore_command` runs.
//!
//! The server asks for one file after the other. One that will come is waited
//! for; of any other it is told that there is none, and it looks elsewhere or
//! ends recovery. When nobody fetches any more, a file that is missing must
//! not look like the end of the log: then recovery stops.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::directory::{LOCK, PLAN};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether the server has got its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It lies where the server wants it.
    Copied,
    /// It will never be there.
    NotPlanned,
}

/// Why recovery must stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A path, or one of our own files.
    #[error("{0:?} is not the name of a file of the write-ahead log")]
    Name(String),
    /// It should come, but nobody brings it.
    #[error(
        "{file} is not in {directory}, and nothing fetches it any more: the restore was interrupted; run it again, it goes on from here", directory = .directory.display()
    )]
    Abandoned {
        /// The file.
        file: String,
        /// Where it should be.
        directory: PathBuf,
    },
    /// The file system.
    #[error("cannot {operation} {path}: {source}", path = .path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Waits until `file` is in `directory`, and copies it to `destination`.
pub fn serve(directory: &Path, file: &str, destination: &Path) -> Result<Served, ServeError> {
    if file.is_empty() || file.starts_with('.') || file.contains(['/', '\0']) {
        return Err(ServeError::Name(file.to_owned()));
    }
    let path = directory.join(file);
    if !is_planned(directory, file)? {
        return Ok(Served::NotPlanned);
    }
    loop {
        if is_there(&path)? {
            return copy(&path, destination);
        }
        if is_abandoned(directory)? {
            // It may have come just before the lock was given up.
            if is_there(&path)? {
                return copy(&path, destination);
            }
            return Err(ServeError::Abandoned {
                file: file.to_owned(),
                directory: directory.into(),
            });
        }
        thread::sleep(PAUSE);
    }
}

fn is_planned(directory: &Path, file: &str) -> Result<bool, ServeError> {
    let path = directory.join(PLAN);
    let look = || -> io::Result<bool> {
        for line in BufReader::new(File::open(&path)?).lines() {
            if line?.split(' ').next() == Some(file) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    look().map_err(failed("read", &path))
}

fn is_there(path: &Path) -> Result<bool, ServeError> {
    path.try_exists().map_err(failed("look for", path))
}

fn is_abandoned(directory: &Path) -> Result<bool, ServeError> {
    let path = directory.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(failed("lock", &path)(error.into())),
    }
}

fn copy(from: &Path, to: &Path) -> Result<Served, ServeError> {
    fs::copy(from, to).map_err(failed("copy to", to))?;
    Ok(Served::Copied)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::File {
        operation,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use strongroom_tests::scratch::Scratch;

    use super::*;
    use crate::{allowed::AllowedDirectory, restore::cluster::recovery::directory::WalDirectory};

    const FILE: &str = "000000010000000000000003";

    fn planned(scratch: &Scratch) -> WalDirectory {
        let directory =
            WalDirectory::create(&AllowedDirectory::named(scratch.path()).unwrap(), None).unwrap();
        directory.set_plan([(FILE, 7)].into_iter()).unwrap();
        directory
    }

    fn ask(directory: &WalDirectory, file: &str, scratch: &Scratch) -> Result<Served, ServeError> {
        serve(directory.path(), file, &scratch.join("RECOVERYXLOG"))
    }

    #[test]
    fn a_file_that_is_there_is_copied_whoever_fetches() {
        let scratch = Scratch::new("serve-there");
        let directory = planned(&scratch);
        directory.write(FILE, b"segment").unwrap();
        assert_eq!(ask(&directory, FILE, &scratch).unwrap(), Served::Copied);
        assert_eq!(fs::read(scratch.join("RECOVERYXLOG")).unwrap(), b"segment");
        // Asked for again, as a server does that starts again.
        let fetching = directory.fetching().unwrap();
        assert_eq!(ask(&directory, FILE, &scratch).unwrap(), Served::Copied);
        drop(fetching);
    }

    #[test]
    fn a_file_that_will_come_is_waited_for() {
        let scratch = Scratch::new("serve-waits");
        let directory = planned(&scratch);
        let fetching = directory.fetching().unwrap();
        thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&directory, FILE, &scratch));
            thread::sleep(5 * PAUSE);
            assert!(!asked.is_finished());
            directory.write(FILE, b"segment").unwrap();
            // It comes before the lock goes: it is found, whatever is seen first.
            drop(fetching);
            assert_eq!(asked.join().unwrap().unwrap(), Served::Copied);
        });
    }

    #[test]
    fn a_file_that_nobody_brings_stops_recovery() {
        let scratch = Scratch::new("serve-abandoned");
        let directory = planned(&scratch);
        let error = ask(&directory, FILE, &scratch).unwrap_err();
        assert!(matches!(error, ServeError::Abandoned { .. }), "{error}");
        let fetching = directory.fetching().unwrap();
        thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&directory, FILE, &scratch));
            thread::sleep(3 * PAUSE);
            drop(fetching);
            let error = asked.join().unwrap().unwrap_err().to_string();
            assert!(
                error.contains(FILE) && error.contains("run it again"),
                "{error}"
            );
        });
        assert!(!scratch.join("RECOVERYXLOG").exists());
    }

    #[test]
    fn other_files_are_not_there_and_paths_are_no_names() {
        let scratch = Scratch::new("serve-others");
        let directory = planned(&scratch);
        directory.write("stray", b"").unwrap();
        for file in ["00000002.history", "stray", "00000001000000000000000"] {
            assert_eq!(ask(&directory, file, &scratch).unwrap(), Served::NotPlanned);
        }
        for file in [
            "",
            ".",
            "..",
            ".plan",
            ".lock",
            "../x",
            "/etc/passwd",
            "a/b",
        ] {
            let error = ask(&directory, file, &scratch).unwrap_err();
            assert!(matches!(error, ServeError::Name(_)), "{file}: {error}");
        }
        serve(&scratch.join("nowhere"), FILE, &scratch.join("x")).unwrap_err();
    }
}
