//! A program under test: its log, its signals, its end.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};

/// How long anything in a test may take before it counts as hung. Generous:
/// it is only ever waited out by a failing test.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Lines shown of the log when a test fails.
const TAIL: usize = 60;

/// The path of one of the two programs, as built beside the tests, or in the
/// directory that `STRONGROOM_TEST_PROGRAMS` names.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("STRONGROOM_TEST_PROGRAMS") {
        return Path::new(&directory).join(name);
    }
    let test = std::env::current_exe().expect("the test knows its own path");
    // target/debug/deps/e2e-… or target/release/peers
    let candidates = test.ancestors().skip(1).take(2);
    let path = candidates
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    path.unwrap_or_else(|| {
        panic!("{name} is not built beside {}; use `tests/run`, or `cargo build --workspace --bins` first", test.display())
    })
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    /// Pipes still open.
    open: usize,
}

/// A spawned program. Killed, with all that it started, when dropped; its
/// log's tail is printed when that happens in a failing test.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` in a process group of its own. Both of its outputs go
    /// to `log`, line by line.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a child has a pidfd");

        let file = File::options().create(true).append(true).open(log);
        let file = Arc::new(Mutex::new(file.expect("the log file opens")));
        let shared = Arc::new(Log::default());
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        shared.lines.lock().open = pipes.len();
        let readers = pipes
            .into_iter()
            .flatten()
            .map(|pipe| {
                let (log, file) = (Arc::clone(&shared), Arc::clone(&file));
                thread::spawn(move || follow(pipe, &log, &file))
            })
            .collect();
        Self {
            name: name.to_owned(),
            child,
            pidfd,
            log: shared,
            readers,
            ended: None,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that `wanted` accepts, from the start of the log.
    ///
    /// # Panics
    /// When the program ends without it, or after [`PATIENCE`].
    pub fn wait_for_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = lines.all[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = lines.all.len();
            assert!(lines.open > 0, "{} ended without {what}", self.name);
            let late = self.log.changed.wait_until(&mut lines, deadline);
            assert!(
                !late.timed_out(),
                "{} did not show {what} within {PATIENCE:?}",
                self.name
            );
        }
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().all.join("\n")
    }

    /// Sends a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        // ESRCH: already gone, which is what the caller sees when it waits.
        let _gone = pidfd_send_signal(&self.pidfd, signal);
    }

    /// SIGKILL to the program alone, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(PATIENCE);
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        assert!(
            ends_within(&self.pidfd, patience),
            "{} did not end within {patience:?}",
            self.name
        );
        let status = self.child.wait().expect("an ended child can be reaped");
        self.ended = Some(status);
        // Its last words may still be in the pipes. What it started may hold
        // them open for longer.
        let mut lines = self.log.lines.lock();
        let last_words = Instant::now() + Duration::from_secs(5);
        while lines.open > 0
            && !self
                .log
                .changed
                .wait_until(&mut lines, last_words)
                .timed_out()
        {}
        status
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.ended.is_none() && !ends_within(&self.pidfd, Duration::ZERO)
    }

    /// A figure of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`, ….
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("a running program has a status");
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("the field is there") * 1024
    }

    fn tail(&self) -> String {
        let lines = self.log.lines.lock();
        let mut tail: VecDeque<_> = lines.all.iter().rev().take(TAIL).collect();
        let mut text = format!("---- {} (last {} lines)\n", self.name, tail.len());
        while let Some(line) = tail.pop_back() {
            let _infallible = writeln!(text, "{line}");
        }
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The group may outlive its leader: commands, the agent of `dev`.
        let _gone = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        if self.ended.is_none() {
            let _reaped = self.child.wait();
        }
        for reader in self.readers.drain(..) {
            let _joined = reader.join();
        }
        if thread::panicking() {
            eprint!("{}", self.tail());
        }
    }
}

fn ends_within(pidfd: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a test's patience is short");
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("a program cannot be watched: {error}"),
        }
    }
}

fn follow(pipe: Box<dyn Read + Send>, log: &Log, file: &Mutex<File>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let _unwritten = file.lock().write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        log.lines.lock().all.push(text);
        log.changed.notify_all();
        line.clear();
    }
    log.lines.lock().open -= 1;
    log.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn shell(script: &str, scratch: &Scratch) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::spawn("script", command, &scratch.join("log"))
    }

    #[test]
    fn lines_of_both_outputs_are_seen_and_logged() {
        let scratch = Scratch::new("program");
        let mut program = shell("echo one; echo two >&2; exit 3", &scratch);
        assert_eq!(program.wait_for_line("two", |line| line == "two"), "two");
        assert_eq!(program.wait_for_line("one", |line| line == "one"), "one");
        assert_eq!(program.wait(PATIENCE).code(), Some(3));
        let logged = std::fs::read_to_string(scratch.join("log")).unwrap();
        assert_eq!(logged.lines().count(), 2);
    }

    #[test]
    fn dropping_kills_what_the_program_started() {
        let scratch = Scratch::new("program");
        let program = shell("sleep 600 & echo $!; wait", &scratch);
        let child = program.wait_for_line("a pid", |line| !line.is_empty());
        let child = Pid::from_raw(child.parse().unwrap()).unwrap();
        let child = pidfd_open(child, PidfdFlags::empty()).unwrap();
        assert!(program.is_running());
        drop(program);
        assert!(ends_within(&child, PATIENCE), "the sleeping child survived");
    }
}
