//! What a job may take: the stricter of its own limits and its host's.
//!
//! Rates of the host are shared by all jobs that run at once, so there is one
//! [`HostLimits`] per agent; threads and memory are counted for each job.

use std::sync::Arc;

use strongroom_repository::write::plan::{DEFAULT_MEMORY_BUDGET, workers_within};
use strongroom_runtime::rate_limiter::RateLimiter;
use strongroom_spec::ResourceLimits;
use tracing::{Span, debug, warn};

/// A rate; `None` is unlimited.
type Rate = Option<Arc<RateLimiter>>;

/// The limits of this agent, and the lines that its jobs share.
#[derive(Debug)]
pub struct HostLimits {
    own: ResourceLimits,
    upload: Rate,
    download: Rate,
    read: Rate,
}

/// What one job may take.
#[derive(Debug, Clone)]
pub struct JobLimits {
    /// To the store.
    pub upload: Rate,
    /// From the store.
    pub download: Rate,
    /// From the source.
    pub read: Rate,
    /// Worker threads, at least one.
    pub threads: usize,
    /// Buffers, in bytes; absent: as the engine sees fit.
    pub memory: Option<usize>,
}

impl HostLimits {
    /// For one agent process.
    pub fn new(own: ResourceLimits) -> Self {
        Self {
            upload: own.upload.map(RateLimiter::new),
            download: own.download.map(RateLimiter::new),
            read: own.read.map(RateLimiter::new),
            own,
        }
    }

    /// What a job with limits of its own may take.
    pub fn for_job(&self, job: ResourceLimits) -> JobLimits {
        let rate = |own, host: &Rate| match (own, host) {
            (None, host) => host.clone(),
            (Some(own), None) => Some(RateLimiter::new(own)),
            (Some(own), Some(host)) => Some(RateLimiter::within(own, Arc::clone(host))),
        };
        let memory = stricter(job.memory, self.own.memory)
            .map(|bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX));
        let asked = stricter(job.threads, self.own.threads).map(|threads| threads.get() as usize);
        JobLimits {
            upload: rate(job.upload, &self.upload),
            download: rate(job.download, &self.download),
            read: rate(job.read, &self.read),
            threads: threads(asked, memory),
            memory,
        }
    }
}

impl JobLimits {
    /// Fields of the attempt's span, for [`JobLimits::show`].
    pub const FIELDS: [&str; 5] = [
        "limits.upload",
        "limits.download",
        "limits.read",
        "limits.threads",
        "limits.memory",
    ];

    /// Says in `span` what holds; what is unlimited is left out.
    pub fn show(&self, span: &Span) {
        let rate = |rate: &Rate| rate.as_ref().map(|it| it.bytes_per_second().get());
        let values = [
            rate(&self.upload),
            rate(&self.download),
            rate(&self.read),
            Some(self.threads as u64),
            self.memory.map(|bytes| bytes as u64),
        ];
        for (name, value) in Self::FIELDS.into_iter().zip(values) {
            if let Some(value) = value {
                span.record(name, value);
            }
        }
    }
}

/// The stricter of two limits.
fn stricter<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// How many threads a job gets: as many as were asked for, or one per core,
/// but no more than its memory can hold.
pub fn threads(asked: Option<usize>, memory: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = asked.unwrap_or_else(cores);
    let budget = memory.unwrap_or(DEFAULT_MEMORY_BUDGET);
    let threads = workers_within(budget, wanted).max(1);
    if threads < wanted && asked.is_some() {
        warn!(
            wanted,
            threads, budget, "limits.memory holds fewer threads than limits.threads says"
        );
    } else if threads < wanted {
        debug!(
            cores = wanted,
            threads, budget, "one thread per core would not fit"
        );
    }
    threads
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use strongroom_repository::write::plan::MemoryPlan;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn bytes(number: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(number)
    }

    #[test]
    fn without_limits_there_are_none() {
        let limits = HostLimits::new(ResourceLimits::default()).for_job(ResourceLimits::default());
        assert!(limits.upload.is_none() && limits.download.is_none() && limits.read.is_none());
        assert!(limits.threads >= 1);
        assert_eq!(limits.memory, None);
    }

    #[test]
    fn the_stricter_of_both_holds() {
        let host = HostLimits::new(ResourceLimits {
            upload: bytes(5 * MIB),
            download: bytes(MIB),
            read: None,
            threads: NonZeroU32::new(2),
            memory: bytes(256 * MIB),
        });
        let limits = host.for_job(ResourceLimits {
            upload: bytes(2 * MIB),
            download: bytes(2 * MIB),
            read: bytes(3 * MIB),
            threads: NonZeroU32::new(3),
            memory: bytes(64 * MIB),
        });
        let rate = |rate: &Rate| rate.as_ref().unwrap().bytes_per_second().get();
        assert_eq!(rate(&limits.upload), 2 * MIB);
        assert_eq!(rate(&limits.download), MIB);
        assert_eq!(rate(&limits.read), 3 * MIB);
        assert_eq!(limits.threads, 2);
        assert_eq!(limits.memory, Some(64 << 20));
    }

    #[test]
    fn jobs_share_the_host_s_lines_and_not_each_other_s() {
        let host = HostLimits::new(ResourceLimits {
            upload: bytes(MIB),
            ..ResourceLimits::default()
        });
        let own = ResourceLimits {
            read: bytes(MIB),
            ..ResourceLimits::default()
        };
        let (one, other) = (host.for_job(own), host.for_job(own));
        let same =
            |one: &Rate, other: &Rate| Arc::ptr_eq(one.as_ref().unwrap(), other.as_ref().unwrap());
        assert!(same(&one.upload, &other.upload));
        assert!(!same(&one.read, &other.read));
    }

    #[test]
    fn threads_that_do_not_fit_into_memory_are_given_up() {
        let host = HostLimits::new(ResourceLimits {
            memory: bytes(MemoryPlan::minimum(3) as u64),
            ..ResourceLimits::default()
        });
        let limits = host.for_job(ResourceLimits {
            threads: NonZeroU32::new(16),
            ..ResourceLimits::default()
        });
        assert_eq!(limits.threads, 3);
        let memory = limits.memory.unwrap();
        MemoryPlan::new(memory, limits.threads).unwrap();
        // Too small for one: the engine says what it needs.
        assert_eq!(threads(Some(4), Some(1)), 1);
    }
}
