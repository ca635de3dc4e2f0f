//! Long polls, all alike: a request waits up to a minute for something to change, and
//! is answered at once when the coordinator ends.

use std::{future::pending, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{
    problem::{Code, Problem},
    state::ApiState,
};
use crate::catalog::Changes;

/// A long poll may wait this long.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// What changes all the time is looked at this often at most.
const STEP: Duration = Duration::from_millis(100);
/// What other coordinators write may not be announced: look now and then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a request may wait that asks for so many seconds.
pub(super) fn patience(seconds: u64) -> Result<Duration, Problem> {
    let wait = Duration::from_secs(seconds);
    if wait <= MAX_WAIT {
        return Ok(wait);
    }
    let problem = "nobody waits longer than 60 seconds at once";
    Err(Problem::new(Code::Invalid, problem).hint("give a smaller `wait`, and ask again"))
}

/// A request that waits. Made before it looks for the first time: what changes from
/// then on is not missed.
pub(super) struct Waiting<'a> {
    state: &'a ApiState,
    deadline: Instant,
    changes: Changes,
    progress: Option<watch::Receiver<()>>,
}

impl<'a> Waiting<'a> {
    /// Waits for changes in the catalog, in all for so long.
    pub(super) fn new(state: &'a ApiState, wait: Duration) -> Self {
        Self {
            state,
            deadline: Instant::now() + wait,
            changes: state.catalog.changes(),
            progress: None,
        }
    }

    /// Waits for the progress of jobs as well.
    pub(super) fn or_progress(self) -> Self {
        let progress = Some(self.state.live.progress_changes());
        Self { progress, ..self }
    }

    /// Waits until it is time to look again. `false`: it is time to answer, whatever
    /// there is.
    pub(super) async fn again(&mut self) -> bool {
        if Instant::now() >= self.deadline || self.state.shutdown.is_cancelled() {
            return false;
        }
        let deadline = self.deadline;
        let change = async {
            tokio::select! {
                () = self.changes.changed() => {}
                () = changed(&mut self.progress) => {}
                () = self.state.shutdown.cancelled() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        };
        if timeout_at(deadline, change).await.is_ok() {
            sleep(STEP).await;
        }
        true
    }
}

async fn changed(progress: &mut Option<watch::Receiver<()>>) {
    if let Some(progress) = progress
        && progress.changed().await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}
