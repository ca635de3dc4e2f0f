//! Bringing a server up on a restored cluster.
//!
//! It has a free port, a socket directory and a log of its own, and its own
//! directories, whatever its configuration says: it must not be mistaken for the
//! original, nor mistake itself. All that stands on its command line, for this
//! run only. What it is not to do at all stands in its configuration: `quiet`.

use std::{
    ffi::OsStr,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::geteuid;
use strongroom_postgres::server_words;
use strongroom_spec::StartedServer;
use tokio::runtime::Handle;

use super::{
    ClusterRestoreError,
    owner::Owner,
    postmaster::{self, PID_FILE},
    programs::Programs,
    served::Served,
    server_directory::ServerDirectory,
};
use crate::{allowed::AllowedDirectory, monitor::Monitor};

/// Ports that others took between our look and the server's start.
const ATTEMPTS: usize = 5;

/// `pg_ctl` waits as long as replay takes; a cancel ends it earlier.
const PATIENCE: &str = "31536000";

/// How often a server that is just being started is told to stop, at most.
const STOPS: usize = 100;
const BETWEEN_STOPS: Duration = Duration::from_millis(100);

/// A server that accepts connections.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) port: u16,
    pub(super) directory: ServerDirectory,
    pub(super) served: Served,
    pub(super) pg_ctl: PathBuf,
}

impl Running {
    /// That it has ended, and its last words.
    pub(super) fn failure(&self, target: &Path) -> ClusterRestoreError {
        ended(target, &self.directory.log(), &self.directory.tail())
    }

    /// For whoever wants to connect to it.
    pub(super) fn to_started(&self) -> StartedServer {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        StartedServer {
            port: self.port,
            socket_directory: text(self.directory.sockets()),
            log: text(&self.directory.log()),
        }
    }
}

impl Programs {
    /// Starts a server with these settings beside ours, and waits until it
    /// accepts connections.
    pub(super) fn start(
        &self,
        directory: &AllowedDirectory,
        owner: &Owner,
        runtime: &Handle,
        monitor: &Monitor,
        settings: &[(&str, &str)],
    ) -> Result<Running, ClusterRestoreError> {
        let target = directory.path();
        let served = Served::of(directory, owner)?;
        let ours = ServerDirectory::make(directory, owner, served.is_steady())?;
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port().map_err(|error| failed(target, &error.to_string()))?;
            let options = options(served.path(), port, ours.sockets(), settings);
            let mut start = self.command(&served, owner, "start");
            start
                .args(["-s", "-w", "-t", PATIENCE, "-l"])
                .arg(ServerDirectory::log_in(served.path()))
                .arg("-o")
                .arg(options);
            served
                .hand_to(&mut start)
                .map_err(|error| failed(target, &error.to_string()))?;
            let started = self.attempt(directory, owner, runtime, monitor, start)?;
            if started {
                return Ok(Running {
                    port,
                    directory: ours,
                    served,
                    pg_ctl: self.pg_ctl.clone(),
                });
            }
            failure = ours.tail();
            if !failure.contains("Address already in use") {
                break;
            }
        }
        Err(ended(target, &ours.log(), &failure))
    }

    /// Whether it came up.
    fn attempt(
        &self,
        directory: &AllowedDirectory,
        owner: &Owner,
        runtime: &Handle,
        monitor: &Monitor,
        mut start: tokio::process::Command,
    ) -> Result<bool, ClusterRestoreError> {
        let target = directory.path();
        start.kill_on_drop(true);
        let status = runtime.block_on(async {
            let mut child = start.spawn()?;
            tokio::select! {
                biased;
                () = monitor.cancel.cancelled() => {
                    // Killed, it could leave a server behind that is only about
                    // to be there. It ends by itself with the server.
                    for _ in 0..STOPS {
                        if !matches!(child.try_wait(), Ok(None)) {
                            break;
                        }
                        let _quits = postmaster::quit(directory, owner);
                        tokio::time::sleep(BETWEEN_STOPS).await;
                    }
                    let _ended = child.kill().await;
                    Ok(None)
                }
                status = child.wait() => status.map(Some),
            }
        });
        match status {
            Ok(Some(status)) => Ok(status.success()),
            Ok(None) => {
                stop(directory, owner)?;
                Err(super::super::RestoreError::Cancelled.into())
            }
            Err(error) => Err(failed(
                target,
                &format!("cannot run {}: {error}", self.pg_ctl.display()),
            )),
        }
    }

    /// `pg_ctl`, as the owner, with nothing of our environment. The data
    /// directory is named by a variable, for `pg_ctl` puts its arguments into
    /// the command line of a shell.
    fn command(&self, served: &Served, owner: &Owner, what: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.pg_ctl);
        command
            .arg(what)
            .env_clear()
            .env("PGDATA", served.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if geteuid().is_root() {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

/// Ends the server of a data directory without a checkpoint, if there is one,
/// and removes a pid file that is none's.
pub(super) fn stop(directory: &AllowedDirectory, owner: &Owner) -> Result<(), ClusterRestoreError> {
    let path = directory.path().join(PID_FILE);
    postmaster::stop(directory, owner)
        .map_err(ClusterRestoreError::file("stop the server of", path))
}

/// What the server is told beside its configuration, quoted for the shell
/// that `pg_ctl` starts it with.
fn options(
    target: &Path,
    port: u16,
    sockets: &Path,
    settings: &[(&str, &str)],
) -> std::ffi::OsString {
    let mut all = std::ffi::OsString::from(format!("-p {port}"));
    let mut set = |name: &str, value: &OsStr| {
        let mut setting = std::ffi::OsString::from(format!("{name}="));
        setting.push(value);
        all.push(" -c ");
        all.push(shell_quoted(&setting));
    };
    set("unix_socket_directories", sockets.as_os_str());
    set("data_directory", target.as_os_str());
    set("hba_file", target.join("pg_hba.conf").as_os_str());
    set("ident_file", target.join("pg_ident.conf").as_os_str());
    let ours = [
        ("external_pid_file", ""),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ];
    for (name, value) in ours.iter().chain(settings) {
        set(name, OsStr::new(value));
    }
    all
}

fn shell_quoted(text: &OsStr) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut quoted = vec![b'\''];
    for byte in text.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    std::ffi::OsString::from_vec(quoted)
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// An error when somebody else decides what a server of this owner's would find
/// in a directory.
pub(super) fn check_steady(
    directory: &AllowedDirectory,
    owner: &Owner,
) -> Result<(), ClusterRestoreError> {
    let steady = directory.check_steady(owner.uid);
    steady.map_err(|source| ClusterRestoreError::Unsteady {
        path: directory.path().into(),
        source,
    })
}

/// Of its log what holds no values: a cluster's configuration may have it
/// write statements, and commands with passwords.
fn ended(target: &Path, log: &Path, tail: &str) -> ClusterRestoreError {
    let shown = server_words::log(tail);
    failed(target, &format!("the end of {}:\n{shown}", log.display()))
}

fn failed(target: &Path, cause: &str) -> ClusterRestoreError {
    ClusterRestoreError::Start {
        target: target.display().to_string(),
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_without_what_its_configuration_adds() {
        let log = Path::new("/run/x/log");
        let said = "\
db=4111-hush LOG:  statement: ALTER ROLE app PASSWORD '4222-hush'
db=4111-hush LOG:  could not run archive_command \"cp --key=4333-hush\"
db=4111-hush FATAL:  database \"shop\" does not exist
db=4111-hush FATAL:  invalid value for parameter \"TimeZone\": \"4444-hush\"
\tINSERT INTO cards VALUES ('4555-hush')";
        let shown = ended(Path::new("/srv/data"), log, said).to_string();
        assert!(shown.contains("/run/x/log"), "{shown}");
        assert!(
            shown.contains("database \"shop\" does not exist"),
            "{shown}"
        );
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_shell_sees_every_path_as_it_is() {
        let target = Path::new("/odd $HOME `x` 'quoted' \"path\"");
        let options = options(target, 5, Path::new("/tmp/s"), &[]);
        let mut echo = Command::new("sh");
        let mut script = std::ffi::OsString::from("printf '%s\\n' ");
        script.push(&options);
        let said = echo.arg("-c").arg(script).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.lines()
                .any(|line| line == format!("data_directory={}", target.display())),
            "{said}"
        );
        assert!(said.starts_with("-p\n5\n-c\n"), "{said}");
    }
}
