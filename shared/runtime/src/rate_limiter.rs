//! The rate limiter: at most so many bytes per second.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Time that may be saved up: it evens out late timers.
const BURST: Duration = Duration::from_millis(100);

/// Seconds that one passage takes at most, so that no sum of them overflows.
const LONGEST: f64 = 1e9;

/// Lets bytes through at a steady rate, shared by all who hold it: each waits
/// until its bytes would have passed a line of that speed. One limiter may lie
/// [`within`](Self::within) another, such as a job's within its host's; then
/// the stricter one decides at every moment.
#[derive(Debug)]
pub struct RateLimiter {
    bytes_per_second: NonZeroU64,
    /// Where the bytes pass, too.
    outer: Option<Arc<Self>>,
    /// When all bytes that were asked for so far will have passed.
    free_at: Mutex<Instant>,
}

impl RateLimiter {
    /// For all who share the result together.
    pub fn new(bytes_per_second: NonZeroU64) -> Arc<Self> {
        Self::make(bytes_per_second, None)
    }

    /// For all who share the result together. What passes here also passes
    /// `outer`, which others may use besides.
    pub fn within(bytes_per_second: NonZeroU64, outer: Arc<Self>) -> Arc<Self> {
        Self::make(bytes_per_second, Some(outer))
    }

    fn make(bytes_per_second: NonZeroU64, outer: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            bytes_per_second,
            outer,
            free_at: Mutex::new(Instant::now()),
        })
    }

    /// The speed of the slowest line that bytes pass here, when nobody else
    /// uses it.
    pub fn bytes_per_second(&self) -> NonZeroU64 {
        let own = self.bytes_per_second;
        self.outer
            .as_ref()
            .map_or(own, |outer| own.min(outer.bytes_per_second()))
    }

    /// Returns when `bytes` more have passed.
    pub async fn take(&self, bytes: u64) {
        sleep_until(self.reserve(bytes, Instant::now())).await;
    }

    /// Bytes to take at a time for an even flow: some 50 ms' worth.
    pub fn piece(&self) -> usize {
        (self.bytes_per_second().get() / 20).clamp(4 << 10, 64 << 10) as usize
    }

    /// Takes `bytes`; gives when they will have passed. For those who cannot
    /// wait with [`Self::take`].
    pub fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        // Not under our own lock: others may be ahead of us there.
        let outside = self.outer.as_ref().map(|outer| outer.reserve(bytes, now));
        let passing = bytes as f64 / self.bytes_per_second.get() as f64;
        let passing = Duration::from_secs_f64(passing.min(LONGEST));
        let mut free_at = self.free_at.lock();
        let start = now
            .checked_sub(BURST)
            .map_or(*free_at, |earliest| earliest.max(*free_at));
        let passed = start + passing;
        // What waits outside is not made up for here later.
        *free_at = outside.map_or(passed, |outside| passed.max(outside));
        *free_at
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    const RATE: u64 = 1 << 20;

    fn limiter() -> Arc<RateLimiter> {
        RateLimiter::new(NonZeroU64::new(RATE).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn many_together_get_the_rate_within_a_tenth_every_second() {
        let limiter = limiter();
        let started = Instant::now();
        let passed = Mutex::new([0_u64; 20]);
        join_all((0..8).map(|_| async {
            while started.elapsed() < Duration::from_secs(20) {
                let piece = limiter.piece() as u64;
                limiter.take(piece).await;
                if let Some(sum) = passed.lock().get_mut(started.elapsed().as_secs() as usize) {
                    *sum += piece;
                }
            }
        }))
        .await;
        for (second, bytes) in passed.lock().iter().enumerate() {
            let off = bytes.abs_diff(RATE);
            assert!(
                off <= RATE / 10 + RATE / 10 * u64::from(second == 0),
                "{second}: {bytes}"
            );
        }
    }

    /// Seconds that `together` tasks need for `bytes` each.
    async fn seconds(limiter: &Arc<RateLimiter>, together: u64, bytes: u64) -> f64 {
        let started = Instant::now();
        join_all((0..together).map(|_| async {
            let mut left = bytes;
            while left > 0 {
                let piece = left.min(limiter.piece() as u64);
                limiter.take(piece).await;
                left -= piece;
            }
        }))
        .await;
        started.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_limits_the_stricter_one_holds() {
        let rate = |bytes| NonZeroU64::new(bytes).unwrap();
        for (own, outer) in [(RATE, 4 * RATE), (4 * RATE, RATE), (RATE, RATE)] {
            let limiter = RateLimiter::within(rate(own), RateLimiter::new(rate(outer)));
            assert_eq!(limiter.bytes_per_second().get(), RATE);
            let took = seconds(&limiter, 4, 5 * RATE).await;
            assert!((18.0..=22.0).contains(&took), "{own} in {outer}: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn limits_within_one_share_it_and_none_exceeds_its_own() {
        let rate = |bytes| NonZeroU64::new(bytes).unwrap();
        let host = RateLimiter::new(rate(RATE));
        let narrow = RateLimiter::within(rate(RATE / 4), Arc::clone(&host));
        let wide = RateLimiter::within(rate(2 * RATE), Arc::clone(&host));
        let (narrow, wide) = tokio::join!(
            seconds(&narrow, 8, 5 * RATE / 8),
            seconds(&wide, 2, 15 * RATE / 2)
        );
        // 20 RATE in all: 5 at a quarter of the rate, 15 in what that leaves.
        assert!((18.0..=22.0).contains(&narrow), "{narrow} s");
        assert!((18.0..=22.0).contains(&wide), "{wide} s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_line_saves_up_almost_nothing() {
        let limiter = limiter();
        tokio::time::sleep(Duration::from_mins(10)).await;
        let started = Instant::now();
        limiter.take(10 * RATE).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(9_890), "{took:?}");
        assert!(took <= Duration::from_millis(10_010), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crawling_line_does_not_overflow() {
        let limiter = RateLimiter::new(NonZeroU64::MIN);
        limiter.reserve(u64::MAX, Instant::now());
        let far = limiter.reserve(u64::MAX, Instant::now());
        assert!(far > Instant::now() + Duration::from_hours(1));
    }
}
