//! Whatever else runs on the host goes first: niceness and I/O priority.
//!
//! Linux keeps both per thread; a new thread has those of the one that starts
//! it, and so does a command. So they are set once, on the only thread there
//! is, before the runtime starts.

mod ioprio;

use std::io;

use crate::config::{IoNice, Limits};

/// A priority that the kernel refused: the agent works all the same.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value} could not be set: {source}")]
pub struct Refused {
    key: &'static str,
    value: String,
    #[source]
    source: io::Error,
}

/// Sets what `limits` say for this thread and those that it will start.
/// Gives what could not be set, for the log.
pub fn set(limits: &Limits) -> Vec<Refused> {
    let nice = limits.nice.unwrap_or(Limits::DEFAULT_NICE);
    let niced = rustix::process::setpriority_process(None, nice).map_err(|errno| Refused {
        key: "limits.nice",
        value: nice.to_string(),
        source: errno.into(),
    });
    let ioniced = ioprio::set(limits.ionice).map_err(|source| Refused {
        key: "limits.ionice",
        value: format!("\"{}\"", limits.ionice),
        source,
    });
    [niced.err(), ioniced.err()].into_iter().flatten().collect()
}

impl IoNice {
    /// As the kernel takes it; `None`: nothing is to be set.
    fn value(self) -> Option<i32> {
        /// `IOPRIO_CLASS_SHIFT`
        const SHIFT: u32 = 13;
        match self {
            Self::Inherited => None,
            Self::BestEffort(level) => Some((2 << SHIFT) | i32::from(level.min(7))),
            Self::Idle => Some(3 << SHIFT),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On threads of their own: the test's thread is not to be slowed down.
    #[test]
    fn threads_have_the_priorities_of_the_one_that_starts_them() {
        for ionice in [IoNice::BestEffort(7), IoNice::BestEffort(3), IoNice::Idle] {
            let limits = Limits {
                nice: Some(15),
                ionice,
                ..Limits::default()
            };
            let set_and_start = move || {
                let refused = set(&limits);
                assert!(refused.is_empty(), "{refused:?}");
                thread::spawn(|| {
                    let nice = rustix::process::getpriority_process(None).unwrap();
                    (nice, ioprio::get().unwrap())
                })
                .join()
                .unwrap()
            };
            let (nice, found) = thread::spawn(set_and_start).join().unwrap();
            assert_eq!(nice, 15);
            assert_eq!(Some(found), ionice.value());
        }
    }

    #[test]
    fn none_leaves_it_alone() {
        let find = || {
            let before = ioprio::get().unwrap();
            ioprio::set(IoNice::Inherited).unwrap();
            (before, ioprio::get().unwrap())
        };
        let (before, after) = thread::spawn(find).join().unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = Refused {
            key: "limits.nice",
            value: "-5".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert!(refused.to_string().starts_with("limits.nice = -5 could"));
    }
}
