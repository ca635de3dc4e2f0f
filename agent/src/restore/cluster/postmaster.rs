//! The postmaster of a data directory: found by its pid file, and believed only
//! when it is proven to be one.
//!
//! `postmaster.pid` belongs to the server's user, and outlives a host that
//! crashed: it may name any process. So a pid counts only if that process works
//! in the very directory (`/proc/PID/cwd` has its device and inode) and is run
//! by the cluster's owner; and what is signalled is the process that was looked
//! at, by a descriptor of it. Any other file is stale, and is removed.
//!
//! All of it is done as the owner: an agent that is root need not be allowed
//! to look into others' processes, nor to signal them, and the owner could stop
//! nobody else's.

use std::{
    fs, io,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, Stat, fstat, stat, statat, unlinkat},
    io::Errno,
    process::{
        Gid, Pid, PidfdFlags, Signal, Uid, geteuid, kill_process, pidfd_open, pidfd_send_signal,
        test_kill_process,
    },
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{owner::Owner, single::open_single};
use crate::allowed::AllowedDirectory;

/// Where a server notes what it is at.
pub(super) const PID_FILE: &str = "postmaster.pid";
/// Longer ones are none, bytes.
const LARGEST: u64 = 4096;

/// The lines of `postmaster.pid` that matter, counted from 0.
const PID_LINE: usize = 0;
const STATUS_LINE: usize = 7;

/// A server that is told to stop at once has done so long before.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks, where a process cannot be waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// What a server is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It accepts connections, as a primary.
    Ready,
    /// It starts, or replays its log.
    Busy,
    /// There is none.
    Ended,
}

/// What the pid file of a data directory names.
enum Named {
    Nothing,
    /// Its process is not there, or is none of this directory's.
    Stale(Stat),
    Postmaster(Postmaster, Status),
}

/// A process that is a data directory's server.
struct Postmaster {
    pid: Pid,
    /// `None` on kernels before 5.3.
    fd: Option<OwnedFd>,
}

/// What the server of a data directory is at.
pub(super) fn status(target: &AllowedDirectory, owner: &Owner) -> io::Result<Status> {
    as_owner(owner, || match named(target, owner)? {
        Named::Postmaster(_, status) => Ok(status),
        Named::Nothing | Named::Stale(_) => Ok(Status::Ended),
    })
}

/// Has the server of a data directory end without a checkpoint, if there is one.
pub(super) fn quit(target: &AllowedDirectory, owner: &Owner) -> io::Result<()> {
    as_owner(owner, || match named(target, owner)? {
        Named::Postmaster(postmaster, _) => postmaster.signal(Signal::QUIT),
        Named::Nothing | Named::Stale(_) => Ok(()),
    })
}

/// As [`quit`], and waits until it has ended. A pid file of anybody else is
/// removed: no server would start beside it.
pub(super) fn stop(target: &AllowedDirectory, owner: &Owner) -> io::Result<()> {
    as_owner(owner, || match named(target, owner)? {
        Named::Nothing => Ok(()),
        Named::Stale(file) => remove(target, &file),
        Named::Postmaster(postmaster, _) => {
            postmaster.signal(Signal::QUIT)?;
            postmaster.wait()
        }
    })
}

fn named(target: &AllowedDirectory, owner: &Owner) -> io::Result<Named> {
    let root = target.descriptor()?;
    let file = match open_single(&root, PID_FILE, rustix::fs::OFlags::RDONLY) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::Nothing),
        Err(error) => return Err(error),
    };
    let found = fstat(&file)?;
    let mut bytes = Vec::new();
    // What is no text says nothing.
    io::Read::read_to_end(&mut io::Read::take(file, LARGEST), &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = |number| text.lines().nth(number).unwrap_or_default().trim();
    // Of a standalone backend it is negative.
    let number = line(PID_LINE).parse().ok();
    let pid = number.and_then(|pid: i32| Pid::from_raw(pid.checked_abs()?));
    let postmaster = pid.and_then(|pid| Postmaster::find(pid, &root, owner));
    let status = if line(STATUS_LINE) == "ready" {
        Status::Ready
    } else {
        Status::Busy
    };
    Ok(postmaster.map_or(Named::Stale(found), |it| Named::Postmaster(it, status)))
}

/// Removes a pid file, if it is still that one.
fn remove(target: &AllowedDirectory, file: &Stat) -> io::Result<()> {
    let root = target.descriptor()?;
    match statat(&root, PID_FILE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) if (now.st_dev, now.st_ino) == (file.st_dev, file.st_ino) => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(
        path = %target.path().join(PID_FILE).display(),
        "removing a pid file: its process is no server of this directory"
    );
    match unlinkat(&root, PID_FILE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Postmaster {
    /// The process of that number, if it is what works in the directory, and is
    /// the owner's.
    fn find(pid: Pid, directory: &OwnedFd, owner: &Owner) -> Option<Self> {
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(Errno::NOSYS | Errno::PERM) => None,
            Err(_) => return None,
        };
        let postmaster = Self { pid, fd };
        let ours = works_in(pid, directory).unwrap_or(false) && is_of(pid, owner.uid);
        // As long as it lives, no other process has its number.
        (ours && postmaster.lives()).then_some(postmaster)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.fd {
            Some(fd) => pidfd_send_signal(fd, signal),
            None => kill_process(self.pid, signal),
        };
        match sent {
            // It has ended by itself.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn lives(&self) -> bool {
        match &self.fd {
            Some(fd) => matches!(ended(fd, Duration::ZERO), Ok(false)),
            None => test_kill_process(self.pid).is_ok(),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match &self.fd {
                Some(fd) => {
                    if ended(fd, until.saturating_duration_since(Instant::now()))? {
                        return Ok(());
                    }
                }
                None if !self.lives() => return Ok(()),
                None => thread::sleep(PAUSE),
            }
        }
        let pid = self.pid;
        Err(io::Error::other(format!(
            "its server, process {pid}, was told to stop and has not: see what holds it, end it, \
             and restore again"
        )))
    }
}

/// Whether a process has ended, within that time.
fn ended(fd: &OwnedFd, within: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(within.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: within.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut polled, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A server works in its data directory from before it writes its pid file.
fn works_in(pid: Pid, directory: &OwnedFd) -> io::Result<bool> {
    let (works, wanted) = (stat(format!("/proc/{pid}/cwd"))?, fstat(directory)?);
    Ok((works.st_dev, works.st_ino) == (wanted.st_dev, wanted.st_ino))
}

/// Whether a process is a user's: real, effective, saved and for files.
fn is_of(pid: Pid, user: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.is_some_and(|users| {
        let mut users = users.split_ascii_whitespace().peekable();
        users.peek().is_some() && users.all(|it| it.parse() == Ok(user))
    })
}

/// Does something with no more rights than the cluster's owner has, in a thread
/// of its own.
fn as_owner<T: Send>(owner: &Owner, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if !geteuid().is_root() {
        return work();
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let become_owner = move || -> io::Result<()> {
        set_thread_groups(&[])?;
        // Effective alone: whom a thread really belongs to may signal it, and a
        // signal that ends it ends the agent.
        set_thread_res_gid(Gid::ROOT, gid, Gid::ROOT)?;
        Ok(set_thread_res_uid(Uid::ROOT, uid, Uid::ROOT)?)
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("as-owner".into());
        let thread = thread.spawn_scoped(scope, || become_owner().and_then(|()| work()))?;
        let panicked = |_| Err(io::Error::other("it panicked: please report it"));
        thread.join().unwrap_or_else(panicked)
    })
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{
            fs::{chown, symlink},
            process::CommandExt,
        },
        path::Path,
        process::{Child, Command},
    };

    use strongroom_tests::scratch::Scratch;

    use super::*;

    /// A user who is not root.
    const OTHER: u32 = 12_345;

    fn owner(uid: u32) -> Owner {
        Owner {
            name: uid.to_string(),
            uid,
            gid: uid,
        }
    }

    /// A process that works in a directory; ended when dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn of(uid: u32, directory: &Path) -> Self {
            let mut sleep = Command::new("sleep");
            let sleep = sleep.arg("600").current_dir(directory).uid(uid).gid(uid);
            Self(sleep.spawn().unwrap())
        }

        fn lives(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ended = self.0.kill();
            let _ended = self.0.wait();
        }
    }

    struct Place {
        scratch: Scratch,
        target: AllowedDirectory,
    }

    impl Place {
        fn new(name: &str) -> Self {
            assert!(geteuid().is_root(), "these tests need root");
            let scratch = Scratch::new(name);
            let data = scratch.dir("data");
            chown(&data, Some(OTHER), Some(OTHER)).unwrap();
            Self {
                target: AllowedDirectory::named(&data).unwrap(),
                scratch,
            }
        }

        fn data(&self) -> &Path {
            self.target.path()
        }

        fn note(&self, pid: impl std::fmt::Display, word: &str) {
            let text = format!("{pid}\n/d\n1790000000\n5432\n/tmp\n127.0.0.1\n  1 2\n{word}\n");
            let path = self.data().join(PID_FILE);
            fs::write(&path, text).unwrap();
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        }

        fn status(&self) -> Status {
            status(&self.target, &owner(OTHER)).unwrap()
        }

        fn stop(&self) {
            stop(&self.target, &owner(OTHER)).unwrap();
        }

        fn is_noted(&self) -> bool {
            self.data().join(PID_FILE).exists()
        }
    }

    #[test]
    fn a_servers_own_word_counts_while_it_lives() {
        let place = Place::new("postmaster-status");
        assert_eq!(place.status(), Status::Ended);
        place.stop();
        let mut server = Sleeper::of(OTHER, place.data());
        for (word, wanted) in [
            ("starting", Status::Busy),
            ("standby ", Status::Busy),
            ("ready   ", Status::Ready),
        ] {
            place.note(server.0.id(), word);
            assert_eq!(place.status(), wanted, "{word}");
        }
        quit(&place.target, &owner(OTHER)).unwrap();
        server.0.wait().unwrap();
        assert_eq!(place.status(), Status::Ended);
        let server = Sleeper::of(OTHER, place.data());
        place.note(server.0.id(), "starting");
        // It is reaped by nobody, and has ended all the same.
        place.stop();
        assert!(place.is_noted(), "it was the server's to remove");
        place.stop();
        assert!(!place.is_noted());
    }

    #[test]
    fn another_process_is_neither_believed_nor_signalled_and_its_file_goes() {
        let place = Place::new("postmaster-planted");
        let other = place.scratch.dir("other");
        let mut elsewhere = Sleeper::of(OTHER, &other);
        let mut of_root = Sleeper::of(0, place.data());
        let mut of_other = Sleeper::of(OTHER + 1, place.data());
        for victim in [&mut elsewhere, &mut of_root, &mut of_other] {
            for word in ["starting", "ready"] {
                place.note(victim.0.id(), word);
                assert_eq!(place.status(), Status::Ended);
                quit(&place.target, &owner(OTHER)).unwrap();
                assert!(place.is_noted());
                place.stop();
                assert!(!place.is_noted());
                assert!(victim.lives());
            }
        }
        // No process has as large a number, and some are no process.
        for pid in ["2147483647", "-2147483648", "1", "0", "-1", "", "no number"] {
            place.note(pid, "ready");
            assert_eq!(place.status(), Status::Ended, "{pid}");
            place.stop();
            assert!(!place.is_noted(), "{pid}");
        }
    }

    #[test]
    fn a_pid_file_that_is_another_s_is_not_read() {
        let place = Place::new("postmaster-links");
        let server = Sleeper::of(OTHER, place.data());
        place.note(server.0.id(), "ready");
        let (file, elsewhere) = (place.data().join(PID_FILE), place.scratch.join("elsewhere"));
        fs::hard_link(&file, &elsewhere).unwrap();
        status(&place.target, &owner(OTHER)).unwrap_err();
        fs::remove_file(&file).unwrap();
        symlink(&elsewhere, &file).unwrap();
        status(&place.target, &owner(OTHER)).unwrap_err();
        stop(&place.target, &owner(OTHER)).unwrap_err();
    }

    #[test]
    fn a_process_is_of_the_user_that_it_runs_as() {
        let scratch = Scratch::new("postmaster-user");
        let sleeper = Sleeper::of(OTHER, scratch.path());
        let pid = Pid::from_child(&sleeper.0);
        assert!(is_of(pid, OTHER));
        assert!(!is_of(pid, 0));
        drop(sleeper);
        assert!(!is_of(pid, OTHER));
    }

    #[test]
    fn only_the_file_that_was_looked_at_is_removed() {
        let place = Place::new("postmaster-exchanged");
        place.note(1, "ready");
        let old = stat(place.data().join(PID_FILE)).unwrap();
        let kept = place.scratch.join("kept");
        fs::rename(place.data().join(PID_FILE), kept).unwrap();
        place.note(2, "ready");
        remove(&place.target, &old).unwrap();
        assert!(place.is_noted());
    }
}
