//! Watching a server until it has ended its recovery.
//!
//! `pg_ctl` says that a server is up as soon as replay has begun, when it has
//! no hot standby. The server itself notes what it is at in `postmaster.pid`:
//! `standby` until recovery has ended, then `ready`.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
    process::{Pid, test_kill_process},
};
use tokio::runtime::Handle;

use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{
        RestoreError,
        cluster::{ClusterRestoreError, owner::Owner, programs::Programs, server::Running},
    },
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a server notes what it is at.
const PID_FILE: &str = "postmaster.pid";
/// Longer ones are none, bytes.
const LARGEST: u64 = 4096;

/// The lines of `postmaster.pid` that matter, counted from 0.
const PID_LINE: usize = 0;
const STATUS_LINE: usize = 7;

/// What a server is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// It accepts connections, as a primary.
    Ready,
    /// It starts, or replays its log.
    Busy,
    /// There is none.
    Ended,
}

/// Waits until the server of a data directory has ended its recovery. A cancel
/// ends the server, too.
pub(super) fn until_ready(
    target: &AllowedDirectory,
    running: &Running,
    (programs, owner): (&Programs, &Owner),
    runtime: &Handle,
    monitor: &Monitor,
) -> Result<(), ClusterRestoreError> {
    let path = target.path().join(PID_FILE);
    loop {
        let status = target.descriptor().and_then(|opened| status(&opened));
        match status.map_err(ClusterRestoreError::file("read", &path))? {
            Status::Ready => return Ok(()),
            Status::Ended => return Err(running.failure(target.path())),
            Status::Busy => {}
        }
        let pause = async { tokio::time::timeout(PAUSE, monitor.cancel.cancelled()).await };
        if runtime.block_on(pause).is_ok() {
            runtime.block_on(programs.stop(target.path(), owner));
            return Err(RestoreError::Cancelled.into());
        }
    }
}

fn status(target: &OwnedFd) -> io::Result<Status> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut text = String::new();
    match openat(target, PID_FILE, flags, Mode::empty()) {
        // What is no text says nothing.
        Ok(file) => drop(File::from(file).take(LARGEST).read_to_string(&mut text)),
        Err(Errno::NOENT) => return Ok(Status::Ended),
        Err(error) => return Err(error.into()),
    }
    let line = |number| text.lines().nth(number).unwrap_or_default().trim();
    if line(STATUS_LINE) == "ready" {
        return Ok(Status::Ready);
    }
    // One that was killed leaves its file behind.
    let pid = line(PID_LINE).parse().ok().and_then(Pid::from_raw);
    let alive = pid.is_some_and(|pid| test_kill_process(pid).is_ok());
    Ok(if alive { Status::Busy } else { Status::Ended })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use strongroom_compare::beneath;
    use strongroom_tests::scratch::Scratch;

    use super::*;

    #[test]
    fn a_server_s_own_word_counts_and_its_life() {
        let scratch = Scratch::new("watch-status");
        let path = scratch.join(PID_FILE);
        let target = beneath::open_root(scratch.path()).unwrap();
        assert_eq!(status(&target).unwrap(), Status::Ended);
        let own = std::process::id().to_string();
        // No process has as large a number.
        let dead = i32::MAX.to_string();
        for (pid, word, wanted) in [
            (&own, "starting", Status::Busy),
            (&own, "standby ", Status::Busy),
            (&own, "ready   ", Status::Ready),
            (&dead, "standby ", Status::Ended),
        ] {
            let text = format!("{pid}\n/d\n1790000000\n5432\n/tmp\n127.0.0.1\n  1 2\n{word}\n");
            fs::write(&path, text).unwrap();
            assert_eq!(status(&target).unwrap(), wanted, "{word}");
        }
        fs::write(&path, "").unwrap();
        assert_eq!(status(&target).unwrap(), Status::Ended);
        // What a link leads to is not looked at.
        let elsewhere = scratch.file("elsewhere", format!("{own}\n2\n3\n4\n5\n6\n7\nready\n"));
        fs::remove_file(&path).unwrap();
        symlink(elsewhere, &path).unwrap();
        status(&target).unwrap_err();
    }
}
