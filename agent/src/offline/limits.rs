//! `--threads`, `--memory`, `--limit-…`: what agent.toml says of an agent.
//!
//! Niceness is the caller's: put `nice` and `ionice` before the command.

use std::{num::NonZeroU32, sync::Arc};

use clap::Args;
use strongroom_repository::store::{SharedStore, s3::S3Store, throttle::ThrottleStore};
use strongroom_runtime::{printable, rate_limiter::RateLimiter};

use crate::{
    config::{ByteRate, ByteSize, parse_memory, parse_rate, parse_threads},
    limits,
};

/// Of commands that compute.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct MachineArgs {
    /// Threads to use [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<NonZeroU32>,
    /// Memory for buffers at most, such as 256MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<ByteSize>,
}

impl MachineArgs {
    /// As many threads as were asked for and the memory can hold, at least
    /// one; and the memory in bytes.
    pub(super) fn fitted(self) -> (usize, Option<usize>) {
        let memory = self
            .memory
            .map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
        let asked = self.threads.map(|threads| threads.get() as usize);
        let threads = limits::threads(asked, memory);
        if let Some(asked) = asked.filter(|asked| threads < *asked) {
            printable::err(&format!(
                "strongroom-agent: {threads} threads instead of {asked}: more do not fit into the \
                 memory (--memory)"
            ));
        }
        (threads, memory)
    }
}

/// Of commands that fetch much.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct DownloadArgs {
    /// Fetch no faster than this, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    limit_download: Option<ByteRate>,
}

/// How fast objects may be moved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StoreLimits {
    pub(super) upload: Option<ByteRate>,
    pub(super) download: Option<ByteRate>,
}

impl From<DownloadArgs> for StoreLimits {
    fn from(args: DownloadArgs) -> Self {
        Self {
            upload: None,
            download: args.limit_download,
        }
    }
}

impl StoreLimits {
    /// For a store that paces its bodies itself.
    pub(super) fn of_s3(self, store: S3Store) -> S3Store {
        store.throttled(limiter(self.upload), limiter(self.download))
    }

    /// For any other store.
    pub(super) fn of_any(self, store: SharedStore) -> SharedStore {
        if self.upload.is_none() && self.download.is_none() {
            return store;
        }
        let (upload, download) = (limiter(self.upload), limiter(self.download));
        Arc::new(ThrottleStore::new(store, upload, download))
    }
}

/// A limiter of this command's own.
pub(super) fn limiter(rate: Option<ByteRate>) -> Option<Arc<RateLimiter>> {
    rate.map(|rate| RateLimiter::new(rate.bytes_per_second()))
}
