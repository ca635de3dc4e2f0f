//! What a running attempt tells the outside, and how the outside stops it.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use strongroom_wire::job::{MAX_WARNINGS, Warning};
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
    warnings: Mutex<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings {
    first: Vec<Warning>,
    count: u64,
}

impl Monitor {
    /// Fresh counters that end with `cancel`.
    pub fn new(cancel: CancellationToken) -> Self {
        Self {
            cancel,
            ..Self::default()
        }
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

    /// Notes a path that could not be treated as asked. Keeps the first
    /// [`MAX_WARNINGS`] and counts all.
    pub fn warn(&self, path: impl Into<Vec<u8>>, cause: impl Into<String>) {
        let mut warnings = self.warnings.lock();
        warnings.count += 1;
        if warnings.first.len() < MAX_WARNINGS {
            warnings.first.push(Warning {
                path: path.into(),
                cause: cause.into(),
            });
        }
    }

    /// The first warnings and the count of all.
    pub fn warnings(&self) -> (Vec<Warning>, u64) {
        let warnings = self.warnings.lock();
        (warnings.first.clone(), warnings.count)
    }

    /// The count of all warnings.
    pub fn warning_count(&self) -> u64 {
        self.warnings.lock().count
    }

    /// Adds an entry of `bytes` bytes to what is done.
    pub fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
