//! Plain `restic`, the independent reader and writer of the format.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// `restic` with a repository and its password.
#[derive(Debug, Clone)]
pub struct Restic {
    repository: String,
    password_file: PathBuf,
    environment: Vec<(String, String)>,
}

impl Restic {
    /// A repository at a path or URL, in restic's own notation.
    pub fn new(repository: impl Into<String>, password_file: &Path) -> Self {
        Self {
            repository: repository.into(),
            password_file: password_file.to_owned(),
            environment: Vec::new(),
        }
    }

    /// Adds an environment variable, for example S3 credentials.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command and returns whatever comes of it.
    pub fn try_run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        Command::new("restic")
            .args(arguments)
            .args(["--no-cache", "--quiet"])
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD_FILE", &self.password_file)
            .envs(self.environment.iter().cloned())
            .output()
            .expect("restic runs; `tests/run` installs it")
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.try_run(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "restic failed ({}):\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        stdout
    }

    /// `init` with repository format version 2.
    pub fn init(&self) {
        self.run(["init", "--repository-version", "2"]);
    }

    /// `check --read-data`; fails the test on any complaint.
    pub fn check(&self) {
        self.run(["check", "--read-data"]);
    }

    /// Restores a snapshot below `target`.
    pub fn restore(&self, snapshot: &str, target: &Path) {
        let arguments = [
            OsStr::new("restore"),
            OsStr::new(snapshot),
            OsStr::new("--target"),
            target.as_os_str(),
        ];
        self.run(arguments);
    }

    /// All snapshots, as restic lists them.
    pub fn snapshots(&self) -> Vec<Value> {
        serde_json::from_str(&self.run(["snapshots", "--json"])).expect("restic writes JSON")
    }
}
