//! The bounds of the embedded store.

use std::time::Duration;

use crate::door::Limits;

/// How many connections it takes, how much it keeps that has no name yet, and
/// how slow a caller may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of connections. A caller is known by a request with a good signature;
    /// callers from one address count as one.
    pub limits: Limits,
    /// Bytes of all unfinished uploads together.
    pub unfinished: u64,
    /// For any request, however small.
    pub patience: Duration,
    /// Bytes a second at least of a body, either way, behind that.
    pub slowest: u64,
}

impl Bounds {
    /// The usual ones for so many connections.
    pub const fn of(connections: usize, strangers: usize) -> Self {
        let mut limits = Limits::of(connections, strangers);
        // An agent has a connection for each object under way, and several
        // agents can share an address.
        limits.per_caller = connections / 4;
        Self {
            limits,
            unfinished: 16 << 30,
            patience: Duration::from_mins(5),
            slowest: 8 << 10,
        }
    }

    /// How long a body of `length` bytes may take.
    pub(super) fn allowance(&self, length: u64) -> Duration {
        self.patience + Duration::from_secs(length / self.slowest.max(1))
    }
}
