//! What a job may take of its host.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

/// What a job may take of its host. Absent is unlimited; where the host has
/// limits of its own, the stricter one holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// To the store, bytes per second.
    pub upload: Option<NonZeroU64>,
    /// From the store, bytes per second.
    pub download: Option<NonZeroU64>,
    /// From the source, bytes per second.
    pub read: Option<NonZeroU64>,
    /// Worker threads.
    pub threads: Option<NonZeroU32>,
    /// Buffers, bytes.
    pub memory: Option<NonZeroU64>,
}

impl ResourceLimits {
    /// Bytes: the smallest packs and one thread. A test of the agent compares
    /// it with what the engine says; it stands here because the coordinator,
    /// which checks policies, does not link the engine.
    pub const LEAST_MEMORY: u64 = 22 << 20;
}
