//! From the limits of policies and jobs to the API's.

use std::num::{NonZeroU32, NonZeroU64};

use crate::{http::dto::Limits, model::JobLimits};

/// As the API shows them.
pub(super) fn shape(limits: &JobLimits) -> Limits {
    let resources = limits.resources;
    Limits {
        timeout_seconds: limits.timeout_seconds,
        attempts: limits.max_attempts,
        new_data_bytes: limits.new_data.map(NonZeroU64::get),
        upload_bytes_per_second: resources.upload.map(NonZeroU64::get),
        download_bytes_per_second: resources.download.map(NonZeroU64::get),
        read_bytes_per_second: resources.read.map(NonZeroU64::get),
        threads: resources.threads.map(NonZeroU32::get),
        memory_bytes: resources.memory.map(NonZeroU64::get),
    }
}
