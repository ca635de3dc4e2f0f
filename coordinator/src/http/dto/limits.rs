//! Limits of policies and jobs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long, how often, how fast jobs may run. What they may take of their
/// host holds for each job alone; the host's own limits, in `agent.toml`, hold
/// besides. `null`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// One attempt's wall time.
    pub timeout_seconds: Option<u32>,
    /// Attempts that may fail before the job does.
    pub attempts: u32,
    /// What one job may write to the store in all.
    #[serde(default)]
    pub new_data_bytes: Option<u64>,
    /// To the store.
    pub upload_bytes_per_second: Option<u64>,
    /// From the store.
    pub download_bytes_per_second: Option<u64>,
    /// From the source.
    pub read_bytes_per_second: Option<u64>,
    /// Worker threads.
    pub threads: Option<u32>,
    /// Buffers.
    pub memory_bytes: Option<u64>,
}
