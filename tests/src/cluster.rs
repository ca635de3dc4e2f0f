//! PostgreSQL clusters of a test's own: made, started, broken and stopped by
//! it, in its directory.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::geteuid;

use crate::{port::Port, scratch::Scratch};

/// Where the newest installed server's programs lie.
///
/// # Panics
/// When there is none: `tests/run` installs one.
pub fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("initdb")
                .is_file()
                .then_some((version, programs))
        })
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, programs)| programs);
    newest.expect("a PostgreSQL server is installed; `tests/run` does it")
}

/// Where `initdb`, `pg_ctl` and `postgres` of the server under test lie: the
/// newest installed, or another version in the directory that
/// `STRONGROOM_TEST_SERVER` names (which must be on `PATH`, too, for the
/// agent).
pub fn server_programs() -> PathBuf {
    let other = std::env::var_os("STRONGROOM_TEST_SERVER");
    other.map_or_else(programs, PathBuf::from)
}

/// A command that runs as a user that PostgreSQL accepts, which root is not.
pub fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
                "--",
            ])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .env("LC_ALL", "C")
        .env_remove("PGDATA")
        .current_dir("/");
    command
}

/// Makes a directory that belongs to that user.
pub fn directory_for_postgres(path: &Path) {
    fs::create_dir_all(path).expect("a directory can be made");
    if geteuid().is_root() {
        let id = |flag| {
            let output = Command::new("id").args([flag, "postgres"]).output();
            let output = String::from_utf8(output.expect("id runs").stdout);
            output.expect("a number").trim().parse().expect("a number")
        };
        chown(path, Some(id("-u")), Some(id("-g"))).expect("root may give away");
    }
}

/// A running cluster; stopped at its end.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    port: Port,
    running: bool,
}

impl Cluster {
    /// A new cluster with checksums.
    pub fn start(scratch: &Scratch, name: &str) -> Self {
        Self::with(scratch, name, "")
    }

    /// With more lines in its `postgresql.conf`.
    pub fn with(scratch: &Scratch, name: &str, settings: &str) -> Self {
        let cluster = Self::prepare(scratch, name);
        let initdb = [
            "-A",
            "trust",
            "-U",
            "postgres",
            "-k",
            "-E",
            "UTF8",
            "--locale=C",
        ];
        let mut command = as_postgres(server_programs().join("initdb"));
        command
            .args(initdb)
            .args(["--no-sync", "-D"])
            .arg(cluster.data());
        succeed(&mut command);
        cluster.run(settings)
    }

    /// A standby that follows this cluster.
    #[must_use]
    pub fn standby(&self, scratch: &Scratch, name: &str) -> Self {
        let standby = Self::prepare(scratch, name);
        let mut command = as_postgres(programs().join("pg_basebackup"));
        command
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
            ])
            .args(["--no-sync", "-p", &self.port().to_string(), "-D"])
            .arg(standby.data());
        succeed(&mut command);
        standby.run("")
    }

    fn prepare(scratch: &Scratch, name: &str) -> Self {
        let directory = scratch.join(name);
        directory_for_postgres(&directory);
        Self {
            directory,
            port: Port::lease(),
            running: false,
        }
    }

    fn run(mut self, settings: &str) -> Self {
        let path = self.data().join("postgresql.conf");
        let mut config = fs::read_to_string(&path).expect("a configuration");
        let _infallible = writeln!(
            config,
            "\nport = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             fsync = off\nshared_buffers = 16MB\nautovacuum = off\n{settings}",
            self.port()
        );
        fs::write(&path, config).expect("a configuration can be written");
        self.start_again();
        self
    }

    /// Starts it on the same port.
    pub fn start_again(&mut self) {
        let mut start = self.pg_ctl("start");
        start.args(["-s", "-w", "-t", "600", "-l"]).arg(self.log());
        let output = start.output().expect("pg_ctl runs");
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        assert!(output.status.success(), "{output:?}\n{}", log());
        self.running = true;
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        succeed(
            self.pg_ctl("stop")
                .args(["-s", "-w", "-t", "600", "-m", "fast"]),
        );
        self.running = false;
    }

    /// SIGKILL to the server, as far as it matters: no checkpoint, no goodbye.
    pub fn kill(&mut self) {
        succeed(
            self.pg_ctl("stop")
                .args(["-s", "-w", "-t", "600", "-m", "immediate"]),
        );
        self.running = false;
    }

    fn pg_ctl(&self, what: &str) -> Command {
        let mut command = as_postgres(server_programs().join("pg_ctl"));
        command.arg(what).arg("-D").arg(self.data());
        // What a daemon inherits keeps pipes of the test open.
        command.stdin(std::process::Stdio::null());
        command
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the server writes.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A directory beside it that the server may use.
    pub fn beside(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        directory_for_postgres(&path);
        path
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// For `agent.toml`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port())
    }

    /// Runs statements in `postgres`; gives what they say, a line per row,
    /// columns separated by `|`.
    pub fn sql(&self, statements: &str) -> String {
        sql(self.port(), "postgres", statements)
    }

    /// The path of a relation's file below the data directory.
    pub fn file_of(&self, relation: &str) -> PathBuf {
        let path = self.sql(&format!("SELECT pg_relation_filepath('{relation}')"));
        self.data().join(path)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running {
            let _stopped = self
                .pg_ctl("stop")
                .args(["-s", "-w", "-m", "immediate"])
                .output();
        }
    }
}

/// Runs statements on the server at a port; they must succeed.
pub fn sql(port: u16, database: &str, statements: &str) -> String {
    let mut command = as_postgres(programs().join("psql"));
    command
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ])
        .args(["-p", &port.to_string(), "-d", database, "-c", statements]);
    let output = succeed(&mut command);
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim_end()
        .to_owned()
}

/// Stops a server that somebody else started.
pub fn stop(data: &Path) {
    let mut command = as_postgres(server_programs().join("pg_ctl"));
    succeed(
        command
            .args(["stop", "-s", "-w", "-t", "600", "-m", "fast", "-D"])
            .arg(data),
    );
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
