//! Holding a request until the test says go.

use std::{sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::program::PATIENCE;

/// A gate that requests wait at. Closed at first; once opened it stays open.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<(Mutex<usize>, Condvar)>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::default(),
        }
    }
}

impl Gate {
    /// Lets through what waits and what comes.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Blocks until a request has reached the gate.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_until_reached(&self) {
        let deadline = Instant::now() + PATIENCE;
        let (count, arrived) = &*self.waiting;
        let mut count = count.lock();
        while *count == 0 {
            let late = arrived.wait_until(&mut count, deadline);
            assert!(!late.timed_out(), "no request reached the gate");
        }
    }

    /// The request's side: waits until the gate is open.
    pub(super) async fn pass(&self) {
        {
            let (count, arrived) = &*self.waiting;
            *count.lock() += 1;
            arrived.notify_all();
        }
        let mut opened = self.open.subscribe();
        // The sender lives in `self`: waiting cannot fail.
        let _open = opened.wait_for(|open| *open).await;
    }
}
