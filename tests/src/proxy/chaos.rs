//! Faults at random, the same for the same seed.

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Action, Seen};

/// Gives a share of all requests one of the faults that S3 services show.
#[derive(Debug)]
pub struct Chaos {
    random: Mutex<StdRng>,
    share: f64,
}

impl Chaos {
    /// `share` is between 0 and 1.
    pub fn new(seed: u64, share: f64) -> Self {
        Self {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            share,
        }
    }

    /// What happens to this request; use it as a rule of the proxy.
    pub fn strike(&self, seen: &Seen) -> Option<Action> {
        let mut random = self.random.lock();
        // Drawn for every request, so that the sequence depends on the seed
        // and the order of requests alone.
        let (struck, kind) = (random.random_bool(self.share), random.random_range(0..6));
        struck.then_some(match kind {
            0 => Action::Answer(500, "InternalError"),
            1 => Action::Answer(503, "SlowDown"),
            2 => Action::ResetRequest(seen.length / 2),
            3 => Action::ResetAnswer(100),
            4 => Action::LoseAnswer,
            _ => Action::Stall,
        })
    }
}
