//! What a running attempt tells the outside, and how the outside stops it.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use strongroom_spec::{MAX_WARNINGS, Warning, WarningCode};
use tokio_util::sync::CancellationToken;

/// Shared between an attempt and whoever watches it. Cheap to update from the
/// innermost loops.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Entries done.
    pub files: AtomicU64,
    /// Source bytes done (backup), target bytes done (restore).
    pub bytes: AtomicU64,
    /// Bytes uploaded or fetched.
    pub bytes_stored: AtomicU64,
    /// Entries in all; 0 while not known.
    pub total_files: AtomicU64,
    /// Bytes in all; 0 while not known.
    pub total_bytes: AtomicU64,
    /// Cancelled: every loop ends as soon as it can.
    pub cancel: CancellationToken,
    stage: Mutex<Cow<'static, str>>,
    accept: Vec<WarningCode>,
    warnings: Mutex<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings {
    first: Vec<Warning>,
    count: u64,
    accepted: Vec<Warning>,
}

impl Monitor {
    /// Fresh counters that end with `cancel`.
    pub fn new(cancel: CancellationToken) -> Self {
        Self {
            cancel,
            ..Self::default()
        }
    }

    /// Warnings of these kinds are listed, but do not count.
    #[must_use]
    pub fn accepting(mut self, accept: &[WarningCode]) -> Self {
        self.accept = accept.to_vec();
        self
    }

    /// Says what the attempt is at: `opening`, `backing up`, …. An event of the
    /// attempt's trace, so that it shows where the time went.
    pub fn enter(&self, stage: &'static str) {
        let mut current = self.stage.lock();
        if *current != stage {
            tracing::debug!(stage, "entered a stage");
            *current = stage.into();
        }
    }

    /// What the attempt is at.
    pub fn stage(&self) -> String {
        self.stage.lock().to_string()
    }

    /// Notes an object that could not be treated as asked. Keeps the first
    /// [`MAX_WARNINGS`] and counts all.
    pub fn warn(&self, code: WarningCode, path: impl Into<Vec<u8>>, cause: impl Into<String>) {
        let accepted = code.is_note() || self.accept.contains(&code);
        self.keep(code, path.into(), cause.into(), accepted);
    }

    /// As [`Self::warn`], where this once it may well be meant: listed, not counted.
    pub fn note(&self, code: WarningCode, path: impl Into<Vec<u8>>, cause: impl Into<String>) {
        self.keep(code, path.into(), cause.into(), true);
    }

    fn keep(&self, code: WarningCode, path: Vec<u8>, cause: String, accepted: bool) {
        let mut warnings = self.warnings.lock();
        let kept = if accepted {
            &mut warnings.accepted
        } else {
            warnings.count += 1;
            &mut warnings.first
        };
        if kept.len() < MAX_WARNINGS {
            kept.push(Warning {
                code,
                path: path.into(),
                cause,
                accepted,
            });
        }
    }

    /// The first warnings, those that are accepted behind the others, and the
    /// count of the others.
    pub fn warnings(&self) -> (Vec<Warning>, u64) {
        let warnings = self.warnings.lock();
        let all = warnings.first.iter().chain(&warnings.accepted);
        (all.take(MAX_WARNINGS).cloned().collect(), warnings.count)
    }

    /// The count of all warnings but those that are accepted.
    pub fn warning_count(&self) -> u64 {
        self.warnings.lock().count
    }

    /// Adds an entry of `bytes` bytes to what is done.
    pub fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_warnings_are_listed_last_and_not_counted() {
        let monitor = Monitor::default().accepting(&[WarningCode::ChangedWhileRead]);
        for _ in 0..2 * MAX_WARNINGS {
            monitor.warn(WarningCode::ChangedWhileRead, "/log", "it grew");
        }
        monitor.warn(WarningCode::Unreadable, "/secret", "no");
        let (warnings, count) = monitor.warnings();
        assert_eq!((warnings.len(), count), (MAX_WARNINGS, 1));
        assert_eq!(warnings[0].code, WarningCode::Unreadable);
        assert!(!warnings[0].accepted && warnings[1..].iter().all(|it| it.accepted));
        assert_eq!(monitor.warning_count(), 1);
    }
}
