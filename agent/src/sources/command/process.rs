//! A running program, in a process group of its own.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Command, CommandError};

/// Kept of what a command says on standard error, in bytes.
const TAIL: usize = 4096;

/// See the module. Killed, with its group, when the work on it ends early.
pub(crate) struct Process {
    child: Child,
    /// Also that of its group.
    pid: Pid,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last of its standard error.
    pub(crate) stderr: String,
}

impl Process {
    pub(super) fn start(command: &Command) -> Result<Self, CommandError> {
        let name = &command.name;
        let (program, arguments) = command
            .argv
            .split_first()
            .ok_or_else(|| CommandError::Empty { name: name.clone() })?;
        let error = |source| CommandError::Start {
            name: name.clone(),
            program: program.clone(),
            source,
        };
        let mut command = std::process::Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        Self::spawn(&mut command).map_err(error)
    }

    /// Starts `command`, whose standard input is the caller's to set; what it
    /// says is piped.
    pub(crate) fn spawn(command: &mut std::process::Command) -> io::Result<Self> {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            pid: Pid::from_child(&child),
            child,
        })
    }

    /// Calls `read` with the command's standard output, drains its standard
    /// error meanwhile, and waits for its end. Kills it, and all in its group,
    /// when `halted` is cancelled or `read` returns before the output's end.
    pub(crate) fn attend<R>(
        self,
        runtime: &Handle,
        halted: &CancellationToken,
        read: impl FnOnce(&mut (dyn Read + Send)) -> R,
    ) -> (R, io::Result<Ended>) {
        self.converse(runtime, halted, |_, stdout| match stdout {
            // Dropped at the end: a command that goes on gets a SIGPIPE.
            Some(mut stdout) => read(&mut stdout),
            None => read(&mut io::empty()),
        })
    }

    /// As [`Process::attend`], with both pipes; a program that reads waits
    /// until the first is dropped.
    pub(crate) fn converse<R>(
        mut self,
        runtime: &Handle,
        halted: &CancellationToken,
        work: impl FnOnce(Option<ChildStdin>, Option<ChildStdout>) -> R,
    ) -> (R, io::Result<Ended>) {
        let stdin = self.child.stdin.take();
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let done = CancellationToken::new();
        std::thread::scope(|scope| {
            let tail = scope.spawn(|| stderr.map(drain).unwrap_or_default());
            let pid = self.pid;
            let guard = scope.spawn({
                let done = done.clone();
                move || {
                    runtime.block_on(async {
                        tokio::select! {
                            () = done.cancelled() => {}
                            () = halted.cancelled() => kill(pid),
                        }
                    });
                }
            });
            let result = work(stdin, stdout);
            // Until it is reaped below, its id, and its group's, are its own.
            let exited = wait_without_reaping(self.pid);
            done.cancel();
            let _ = guard.join();
            kill(self.pid);
            let status = exited.and_then(|()| self.child.wait());
            let stderr = tail.join().unwrap_or_default();
            (result, status.map(|status| Ended { status, stderr }))
        })
    }
}

fn kill(group: Pid) {
    // Nobody left to kill is what we want.
    let _ = kill_process_group(group, Signal::KILL);
}

fn wait_without_reaping(pid: Pid) -> io::Result<()> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Reads to the end; gives the last of it.
fn drain(mut stderr: ChildStderr) -> String {
    let mut tail = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                tail.extend_from_slice(&buffer[..length]);
                let surplus = tail.len().saturating_sub(TAIL);
                tail.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&tail).into_owned()
}
