//! A slow line to the service.

use std::{num::NonZeroU64, sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};
use strongroom_runtime::rate_limiter::RateLimiter;

use crate::program::PATIENCE;

/// So many bytes a second, shared by all requests that are sent through it.
#[derive(Debug, Clone)]
pub struct Throttle {
    limiter: Arc<RateLimiter>,
    passed: Arc<(Mutex<u64>, Condvar)>,
}

impl Throttle {
    /// Bytes per second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            limiter: RateLimiter::new(bytes_per_second),
            passed: Arc::default(),
        }
    }

    /// Bytes of bodies that went through so far.
    pub fn passed(&self) -> u64 {
        *self.passed.0.lock()
    }

    /// Blocks until so many bytes went through.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_until_passed(&self, bytes: u64) {
        let deadline = Instant::now() + PATIENCE;
        let (passed, more) = &*self.passed;
        let mut passed = passed.lock();
        while *passed < bytes {
            let late = more.wait_until(&mut passed, deadline);
            assert!(!late.timed_out(), "{passed} of {bytes} bytes passed");
        }
    }

    /// The request's side: waits until `bytes` more may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        self.limiter.take(bytes).await;
        let (passed, more) = &*self.passed;
        *passed.lock() += bytes;
        more.notify_all();
    }
}
