//! A running program, in a process group of its own.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use strongroom_postgres::server_words::{EntryListener, Listener};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Command, CommandError};

/// Kept of what a command says on standard error, in bytes.
const TAIL: usize = 4096;
/// Longer lines on standard error are cut.
const LONGEST_LINE: usize = 64 << 10;

/// What is kept of standard error, which may end in reports and logs.
#[derive(Debug)]
pub(crate) enum Ear {
    /// All: whoever wrote the command is the host's own.
    All,
    /// Nothing.
    Deaf,
    /// Of PostgreSQL's programs: what holds no values.
    Postgres(Listener),
    /// Of a `pg_restore` that goes on when entries fail: which, and why.
    Entries(Arc<Mutex<EntryListener>>),
}

impl Ear {
    /// For a program that comes with PostgreSQL.
    pub(crate) fn postgres() -> Self {
        Self::Postgres(Listener::default())
    }

    fn hear(&mut self, line: &str) -> Option<String> {
        match self {
            Self::All => Some(line.to_owned()),
            Self::Deaf => None,
            Self::Postgres(listener) => listener.hear(line),
            Self::Entries(listener) => listener.lock().hear(line),
        }
    }
}

/// See the module. Killed, with its group, when the work on it ends early.
pub(crate) struct Process {
    child: Child,
    ear: Ear,
    /// Also that of its group.
    pid: Pid,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last of what was kept of its standard error.
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
        let ear = if command.report_stderr {
            Ear::All
        } else {
            Ear::Deaf
        };
        let mut command = std::process::Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        Self::spawn(&mut command, ear).map_err(error)
    }

    /// Starts `command`, whose standard input is the caller's to set; what it
    /// says is piped.
    pub(crate) fn spawn(command: &mut std::process::Command, ear: Ear) -> io::Result<Self> {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            pid: Pid::from_child(&child),
            child,
            ear,
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
        let mut ear = std::mem::replace(&mut self.ear, Ear::Deaf);
        let done = CancellationToken::new();
        std::thread::scope(|scope| {
            let tail =
                scope.spawn(move || stderr.map(|it| drain(it, &mut ear)).unwrap_or_default());
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

/// Reads to the end; gives the last of what is kept.
fn drain(stderr: impl Read, ear: &mut Ear) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut kept = String::new();
    let mut line = Vec::new();
    while let Some(ended) = next_line(&mut stderr, &mut line) {
        if let Some(heard) = ear.hear(&String::from_utf8_lossy(&line)) {
            kept.push_str(&heard);
            kept.push_str(if ended { "\n" } else { "" });
        }
        let mut surplus = kept.len().saturating_sub(TAIL);
        while !kept.is_char_boundary(surplus) {
            surplus += 1;
        }
        kept.drain(..surplus);
    }
    kept
}

/// Reads a line without its end, of which the front is kept; gives whether it
/// had one. `None`: there is no more.
fn next_line(stderr: &mut impl BufRead, line: &mut Vec<u8>) -> Option<bool> {
    line.clear();
    let mut begun = false;
    loop {
        let piece = match stderr.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok([]) | Err(_) => return begun.then_some(false),
            Ok(piece) => piece,
        };
        begun = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let text = &piece[..end.unwrap_or(piece.len())];
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend_from_slice(&text[..text.len().min(room)]);
        let used = text.len() + usize::from(end.is_some());
        stderr.consume(used);
        if end.is_some() {
            return Some(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_of_what_is_heard() {
        let said = "x\n".repeat(9000) + "last w\u{f6}rds";
        let kept = drain(said.as_bytes(), &mut Ear::All);
        assert_eq!(kept.len(), TAIL);
        assert!(kept.ends_with("x\nlast w\u{f6}rds"));
        assert_eq!(drain(said.as_bytes(), &mut Ear::Deaf), "");
    }

    #[test]
    fn an_error_is_heard_in_front_of_any_long_command() {
        let said = format!(
            "pg_restore: error: could not execute query: ERROR:  role \"u\" does not exist\n\
             Command was: {}\nhush\n",
            "hush ".repeat(1 << 20)
        );
        assert_eq!(
            drain(said.as_bytes(), &mut Ear::postgres()),
            "pg_restore: error: could not execute query: ERROR:  role \"u\" does not exist\n"
        );
    }
}
