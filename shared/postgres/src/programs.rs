//! Finds the programs that come with PostgreSQL, in a version that fits.
//!
//! `pg_dump` refuses servers that are newer than itself, and `pg_restore`
//! archives of a newer `pg_dump`. A newer program works but may say what an
//! older server does not understand: that of the server's own version is taken
//! wherever it is installed, else the oldest that fits.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::version::{ProgramVersion, program_version};

/// Versions beside each other, as Debian and Red Hat install them. Debian's
/// `/usr/bin/pg_dump` is a script that chooses one of them by rules of its own.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Dumps one database.
    Dump,
    /// Dumps what no database holds.
    DumpAll,
    /// Restores what `pg_dump` wrote.
    Restore,
    /// Runs SQL.
    Psql,
}

impl Program {
    /// Its file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "pg_dump",
            Self::DumpAll => "pg_dumpall",
            Self::Restore => "pg_restore",
            Self::Psql => "psql",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says to `--version`.
    pub version: ProgramVersion,
}

/// No program fits.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is none at all.
    #[error(
        "{program} is not on this host (looked in {looked}): install the package \
         postgresql-client-{wanted}, or say where it lies with bin_dir in agent.toml"
    )]
    Missing {
        /// Which one.
        program: Program,
        /// The major version that would do.
        wanted: u32,
        /// Directories.
        looked: String,
    },
    /// All there are is too old.
    #[error(
        "{program} at {path} is version {found}, too old for {subject} of version {wanted}: install \
         the package postgresql-client-{wanted}, or say where a newer one lies with bin_dir in \
         agent.toml"
    )]
    TooOld {
        /// Which one.
        program: Program,
        /// The newest of them.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The major version that would do.
        wanted: u32,
        /// `a server`, `a dump`.
        subject: &'static str,
    },
    /// It is there and does not say its version.
    #[error("{path} does not say its version ({cause}): look at bin_dir in agent.toml")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// What came instead.
        cause: String,
    },
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Programs {
    /// In order of preference: where one has a program that fits, the next are
    /// looked at only for one of the very version.
    places: Vec<Vec<PathBuf>>,
    /// Where only that counts.
    usual: Vec<PathBuf>,
}

impl Programs {
    /// In `bin_dir`; without it, where packages put them, then along `PATH`.
    /// Where a program of `bin_dir` is newer than it need be, one of the very
    /// version is looked for where packages put them, too.
    pub fn new(bin_dir: Option<&Path>) -> Self {
        let path = || {
            let path = env::var_os("PATH");
            path.map(|path| env::split_paths(&path).collect())
                .unwrap_or_default()
        };
        match bin_dir {
            Some(directory) => Self {
                places: vec![vec![directory.to_owned()]],
                usual: versioned(),
            },
            None => Self {
                places: vec![versioned(), path()],
                usual: path(),
            },
        }
    }

    /// The oldest `program` of major version `wanted` or newer. Runs what it
    /// finds with `--version`. `subject` needs it: `a server`.
    pub fn find(
        &self,
        program: Program,
        wanted: u32,
        subject: &'static str,
    ) -> Result<Found, ProgramError> {
        let mut newest: Option<Found> = None;
        let mut problem = None;
        for place in &self.places {
            let mut fits: Option<Found> = None;
            for directory in place {
                let path = directory.join(program.name());
                if !path.is_file() {
                    continue;
                }
                let found = match ask(path) {
                    Ok(found) => found,
                    Err(error) => {
                        problem.get_or_insert(error);
                        continue;
                    }
                };
                let major = found.version.major;
                if major >= wanted && fits.as_ref().is_none_or(|it| major < it.version.major) {
                    fits = Some(found);
                } else if newest.as_ref().is_none_or(|it| major > it.version.major) {
                    newest = Some(found);
                }
            }
            if let Some(found) = fits {
                return Ok(self.of_the_very_version(program, wanted, found));
            }
        }
        match (newest, problem) {
            (Some(newest), _) => Err(ProgramError::TooOld {
                program,
                path: newest.path,
                found: newest.version.text,
                wanted,
                subject,
            }),
            (None, Some(problem)) => Err(problem),
            (None, None) => Err(ProgramError::Missing {
                program,
                wanted,
                looked: self.looked(),
            }),
        }
    }

    /// One of major version `wanted`, if `found` is newer and there is one.
    fn of_the_very_version(&self, program: Program, wanted: u32, found: Found) -> Found {
        if found.version.major == wanted {
            return found;
        }
        let usual = self.usual.iter().map(|it| it.join(program.name()));
        let mut usual = usual
            .filter(|it| it.is_file())
            .filter_map(|it| ask(it).ok());
        usual.find(|it| it.version.major == wanted).unwrap_or(found)
    }

    fn looked(&self) -> String {
        let shown: Vec<_> = self
            .places
            .iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect();
        shown.join(", ")
    }
}

fn versioned() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix) in VERSIONED {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if version.is_some_and(|version| version.parse::<u32>().is_ok()) {
                found.push(entry.path().join("bin"));
            }
        }
    }
    found.sort();
    found
}

fn ask(path: PathBuf) -> Result<Found, ProgramError> {
    let output = Command::new(&path)
        .arg("--version")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let said = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return Err(unusable(path, &error)),
    };
    match program_version(&said) {
        Some(version) => Ok(Found { path, version }),
        None => Err(unusable(
            path,
            &io::Error::other(format!(
                "it says {:?}",
                said.chars().take(80).collect::<String>()
            )),
        )),
    }
}

fn unusable(path: PathBuf, error: &io::Error) -> ProgramError {
    ProgramError::Unusable {
        path,
        cause: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a process of its own: if this one had the file open, another
    /// test's child could inherit that, and running it would fail.
    fn script(path: &Path, says: &str) {
        let write = "printf '#!/bin/sh\necho \"%s\"\n' \"$1\" >\"$0\"; chmod 755 \"$0\"";
        let status = Command::new("sh")
            .args(["-c", write])
            .arg(path)
            .arg(says)
            .status();
        assert!(status.unwrap().success());
    }

    fn fake(directory: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join("pg_dump");
        script(&path, &format!("pg_dump (PostgreSQL) {version}"));
        path
    }

    fn places(directories: &[&Path]) -> Programs {
        let place = directories.iter().map(|path| path.to_path_buf()).collect();
        Programs {
            places: vec![place],
            usual: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_that_fits_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let (a, b, c) = (
            scratch.path().join("a"),
            scratch.path().join("b"),
            scratch.path().join("c"),
        );
        fake(&a, "17.2");
        let fits = fake(&b, "16.1 (Debian 16.1-1)");
        fake(&c, "14.9");
        let programs = places(&[&a, &b, &c]);
        let found = programs.find(Program::Dump, 15, "a server").unwrap();
        assert_eq!(found.path, fits);
        assert_eq!(found.version.text, "16.1");
        let error = programs.find(Program::Dump, 18, "a server").unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("17.2") && error.contains("postgresql-client-18"),
            "{error}"
        );
    }

    #[test]
    fn one_of_the_very_version_is_taken_wherever_it_lies() {
        let scratch = tempfile::tempdir().unwrap();
        let (newer, usual) = (scratch.path().join("newer"), scratch.path().join("usual"));
        let only = fake(&newer, "17.2");
        let very = fake(&usual, "15.4");
        let programs = Programs {
            usual: vec![usual],
            ..places(&[&newer])
        };
        let found = |wanted| programs.find(Program::Dump, wanted, "a server").unwrap();
        assert_eq!(found(15).path, very);
        assert_eq!(found(16).path, only);
        // Where there is none in the first place, that is said.
        assert!(programs.find(Program::Restore, 15, "a dump").is_err());
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let programs = Programs::new(Some(scratch.path()));
        let error = programs.find(Program::Dump, 15, "a server").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("postgresql-client-15"), "{error}");
        assert!(error.contains(scratch.path().to_str().unwrap()), "{error}");
        script(&scratch.path().join("pg_dump"), "hello");
        let error = programs.find(Program::Dump, 15, "a server").unwrap_err();
        assert!(error.to_string().contains("hello"), "{error}");
    }
}
