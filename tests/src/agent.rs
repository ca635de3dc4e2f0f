//! An agent: the real program with a configuration of the test's.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use crate::{
    operator::Answer,
    program::{Program, binary},
    scratch::Scratch,
};

/// An agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    name: String,
    directory: PathBuf,
    allow: String,
    extra: String,
    powerless: bool,
    accounts: Option<PathBuf>,
    program: Option<Program>,
}

impl Agent {
    /// An agent that allows nothing yet and is not enrolled.
    pub fn prepare(scratch: &Scratch, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            directory: scratch.dir(&format!("agent-{name}")),
            allow: "[allow]\n".into(),
            extra: String::new(),
            powerless: false,
            accounts: None,
            program: None,
        }
    }

    /// Allows every kind of source, reading `read` and restoring below
    /// `restore`.
    #[must_use]
    pub fn allow(mut self, read: &Path, restore: &Path) -> Self {
        self.allow = format!(
            "[allow]\nsources = [\"files\", \"command\", \"postgres\", \"redis\"]\n\
             read_paths = ['{}']\nrestore_paths = ['{}']\n",
            read.display(),
            restore.display()
        );
        self
    }

    /// Adds to `agent.toml`: commands, telemetry, limits.
    #[must_use]
    pub fn extra(mut self, toml: &str) -> Self {
        let _infallible = writeln!(self.extra, "\n{toml}");
        self
    }

    /// Runs the agent without root's power to read what the mode forbids.
    #[must_use]
    pub fn powerless(mut self) -> Self {
        self.powerless = true;
        self
    }

    /// From its next start on it knows the accounts in this file and no others, as on
    /// another host; as root.
    pub fn on_a_host_with(&mut self, passwd: &Path) {
        self.accounts = Some(passwd.to_owned());
    }

    /// Enrols; must succeed.
    pub fn enroll(&self, coordinator: SocketAddr, token: &str) {
        let answer = self.try_enroll(coordinator, token);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }

    /// Enrols and returns whatever comes of it.
    pub fn try_enroll(&self, coordinator: SocketAddr, token: &str) -> Answer {
        self.write_config();
        let output = Command::new(binary("strongroom-agent"))
            .args(["enroll", "--config"])
            .arg(self.config())
            .args(["--coordinator", &coordinator.to_string(), "--token", token])
            .output()
            .expect("strongroom-agent runs");
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `strongroom-agent run` and waits until its session stands.
    pub fn start(&mut self) {
        let program = self.spawn();
        program.wait_for_line("a session", |line| line.contains(CONNECTED));
        self.program = Some(program);
    }

    /// Starts `strongroom-agent run` and waits for nothing.
    pub fn spawn(&self) -> Program {
        self.write_config();
        let mut command = Command::new(binary("strongroom-agent"));
        if self.powerless && geteuid().is_root() {
            command = Command::new("setpriv");
            command
                .args(["--bounding-set", "-dac_override,-dac_read_search"])
                .arg(binary("strongroom-agent"));
        }
        if let Some(passwd) = &self.accounts {
            command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-ec"])
                .arg("mount --bind \"$0\" /etc/passwd; exec \"$@\"")
                .arg(passwd)
                .arg(binary("strongroom-agent"));
        }
        command
            .args(["run", "--config"])
            .arg(self.config())
            .env("RUST_BACKTRACE", "1");
        Program::spawn(&self.name, command, &self.directory.join("log"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.program.take().expect("it runs").kill();
    }

    /// SIGTERM; it must end with 0.
    pub fn stop(&mut self) {
        let status = self.program.take().expect("it runs").terminate();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// The running program.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    /// What operators call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `agent.toml`
    pub fn config(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// Identity and outbox.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where servers push their logs to.
    pub fn wal_socket(&self) -> PathBuf {
        self.directory.join("wal.sock")
    }

    fn write_config(&self) {
        let config = format!(
            "state_dir = '{}'\n\n{}{}\n[wal]\nsocket = '{}'\n",
            self.state().display(),
            self.allow,
            self.extra,
            self.wal_socket().display()
        );
        fs::write(self.config(), config).expect("a file can be written");
    }
}

/// In the log line that says that the coordinator has greeted.
const CONNECTED: &str = "connected";
