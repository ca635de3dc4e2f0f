//! Reads no faster than a limit allows: all workers of a job together, and all
//! jobs of the host together.
//!
//! Sources are read by threads that may block. Each reads a piece, notes it
//! with the limiter, and sleeps until that piece would have passed: it returns
//! from the sleep at once when the run ends.

use std::{fmt, io, sync::Arc};

use strongroom_runtime::rate_limiter::RateLimiter;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Time, as a thread that blocks knows it.
pub trait Sleeper: Send + Sync {
    /// Now.
    fn now(&self) -> Instant;

    /// Blocks until then, or until `ended` is cancelled.
    fn sleep_until(&self, then: Instant, ended: &CancellationToken);
}

/// Real time, with the timers of a runtime. Sleep on threads that are none of
/// the runtime's own.
struct Timers(Handle);

impl Sleeper for Timers {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, then: Instant, ended: &CancellationToken) {
        self.0.block_on(async {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = sleep_until(then) => {}
            }
        });
    }
}

/// How fast a job may read its source. Cheap to share.
#[derive(Clone)]
pub struct Pace(Option<Limited>);

#[derive(Clone)]
struct Limited {
    limiter: Arc<RateLimiter>,
    sleeper: Arc<dyn Sleeper>,
    ended: CancellationToken,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.0.as_ref().map(|it| it.limiter.bytes_per_second());
        f.debug_tuple("Pace").field(&rate).finish()
    }
}

impl Pace {
    /// As fast as it goes.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// As `limiter` says, if there is one; sleeps with the timers of `runtime`.
    pub fn new(limiter: Option<Arc<RateLimiter>>, runtime: Handle) -> Self {
        let sleeper: Arc<dyn Sleeper> = Arc::new(Timers(runtime));
        limiter.map_or_else(Self::unlimited, |limiter| {
            Self::with_sleeper(limiter, sleeper)
        })
    }

    /// With a time of the caller's.
    pub fn with_sleeper(limiter: Arc<RateLimiter>, sleeper: Arc<dyn Sleeper>) -> Self {
        Self(Some(Limited {
            limiter,
            sleeper,
            ended: CancellationToken::new(),
        }))
    }

    /// Holds nobody back once `ended` is cancelled.
    #[must_use]
    pub fn until(self, ended: CancellationToken) -> Self {
        Self(self.0.map(|limited| Limited { ended, ..limited }))
    }

    /// Calls `read` with as much of `out` as may be read at a time, and waits
    /// until what it read has passed.
    pub fn read(
        &self,
        out: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(limited) = &self.0 else {
            return read(out);
        };
        let most = out.len().min(limited.limiter.piece());
        let length = read(&mut out[..most])?;
        if length > 0 && !limited.ended.is_cancelled() {
            let now = limited.sleeper.now();
            let passed = limited.limiter.reserve(length as u64, now);
            if passed > now {
                limited.sleeper.sleep_until(passed, &limited.ended);
            }
        }
        Ok(length)
    }
}

/// A reader that keeps the pace.
pub(crate) struct Paced<'a, R: ?Sized> {
    pub(crate) pace: &'a Pace,
    pub(crate) inner: &'a mut R,
}

impl<R: io::Read + ?Sized> io::Read for Paced<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.pace.read(out, |out| self.inner.read(out))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{io::Read, num::NonZeroU64, thread, time::Duration};

    use parking_lot::Mutex;

    use super::*;

    const RATE: u64 = 1 << 20;

    /// Time that only passes while somebody sleeps, and then at once. However
    /// threads are scheduled, the same bytes take the same time.
    pub(crate) struct Dream {
        begun: Instant,
        now: Mutex<Instant>,
    }

    impl Dream {
        pub(crate) fn new() -> Arc<Self> {
            let begun = Instant::now();
            Arc::new(Self {
                begun,
                now: Mutex::new(begun),
            })
        }

        /// Seconds since the beginning.
        pub(crate) fn seconds(&self) -> f64 {
            (*self.now.lock() - self.begun).as_secs_f64()
        }
    }

    impl Sleeper for Dream {
        fn now(&self) -> Instant {
            *self.now.lock()
        }

        fn sleep_until(&self, then: Instant, _ended: &CancellationToken) {
            let mut now = self.now.lock();
            *now = then.max(*now);
        }
    }

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    /// Reads `bytes` in each of `threads` threads.
    fn read(pace: &Pace, threads: u64, bytes: u64) {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut input = io::repeat(7).take(bytes);
                    let mut inner = Paced {
                        pace,
                        inner: &mut input,
                    };
                    assert_eq!(io::copy(&mut inner, &mut io::sink()).unwrap(), bytes);
                });
            }
        });
    }

    #[test]
    fn all_threads_together_keep_the_rate_within_a_tenth() {
        for threads in [1, 4] {
            let dream = Dream::new();
            let pace = Pace::with_sleeper(RateLimiter::new(rate(RATE)), dream.clone());
            read(&pace, threads, 40 * RATE / threads);
            let took = dream.seconds();
            assert!((36.0..=44.0).contains(&took), "{threads} threads: {took} s");
        }
    }

    #[test]
    fn a_job_s_rate_and_its_host_s_combine() {
        let host = RateLimiter::new(rate(RATE));
        let dream = Dream::new();
        let pace = |own| {
            let own = RateLimiter::within(rate(own), Arc::clone(&host));
            Pace::with_sleeper(own, dream.clone())
        };
        // The job's is the stricter one, then the host's.
        read(&pace(RATE / 2), 2, 5 * RATE);
        let slow = dream.seconds();
        assert!((18.0..=22.0).contains(&slow), "{slow} s");
        read(&pace(9 * RATE), 2, 10 * RATE);
        let fast = dream.seconds() - slow;
        assert!((18.0..=22.0).contains(&fast), "{fast} s");
    }

    #[test]
    fn jobs_that_run_at_once_share_the_host_s_rate() {
        let host = RateLimiter::new(rate(RATE));
        let dream = Dream::new();
        let pace = Pace::with_sleeper(host, dream.clone());
        thread::scope(|scope| {
            scope.spawn(|| read(&pace, 2, 10 * RATE));
            scope.spawn(|| read(&pace, 2, 10 * RATE));
        });
        let took = dream.seconds();
        assert!((36.0..=44.0).contains(&took), "{took} s");
    }

    /// It would sleep for an hour.
    #[test]
    fn a_sleeper_wakes_up_when_the_run_ends() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let ended = CancellationToken::new();
        let timers = Timers(runtime.handle().clone());
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                timers.sleep_until(Instant::now() + Duration::from_hours(1), &ended);
            });
            ended.cancel();
            sleeper.join().unwrap();
        });
    }

    #[test]
    fn without_a_limit_nothing_is_cut_short() {
        let mut out = vec![0; 10 << 20];
        let read = Pace::unlimited().read(&mut out, |out| Ok(out.len()));
        assert_eq!(read.unwrap(), 10 << 20);
    }
}
