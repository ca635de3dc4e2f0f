//! `strongroom-agent offline`: the engine without any coordinator.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{operator::Answer, program::binary};

/// The offline commands on one repository.
#[derive(Debug, Clone)]
pub struct Offline {
    repository: String,
    password_file: PathBuf,
    environment: Vec<(String, String)>,
}

impl Offline {
    /// `repository` is a directory or `s3:ENDPOINT/BUCKET/PREFIX`.
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
    pub fn run<A: AsRef<OsStr>>(&self, command: &str, more: impl IntoIterator<Item = A>) -> Answer {
        let output = self.command(command).args(more).output();
        let output = output.expect("strongroom-agent runs");
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A command to add arguments to and to start.
    pub fn command(&self, command: &str) -> Command {
        let mut process = Command::new(binary("strongroom-agent"));
        process
            .args(["offline", command, "--repository", &self.repository])
            .arg("--password-file")
            .arg(&self.password_file)
            .envs(self.environment.iter().cloned());
        process
    }

    /// Runs a command that must succeed, and returns its JSON.
    pub fn json<A: AsRef<OsStr>>(&self, command: &str, more: impl IntoIterator<Item = A>) -> Value {
        let output = [
            OsStr::new("--output").to_owned(),
            OsStr::new("json").to_owned(),
        ];
        let more = more
            .into_iter()
            .map(|argument| argument.as_ref().to_owned());
        let answer = self.run(command, more.chain(output));
        assert_eq!(answer.code, 0, "offline {command}: {answer:#?}");
        answer.json()
    }

    /// Makes the repository.
    pub fn init(&self) {
        let answer = self.run::<&str>("init", []);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }

    /// Restores a snapshot (or `latest`) below `target`; must succeed.
    pub fn restore(&self, snapshot: &str, target: &Path) {
        let arguments = [
            OsStr::new(snapshot),
            OsStr::new("--target"),
            target.as_os_str(),
        ];
        let answer = self.run("restore", arguments);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
}
