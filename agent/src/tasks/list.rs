//! The listing of a snapshot's trees.

use strongroom_spec::{Failure, ListOutcome, ListSpec};
use tokio::runtime::Handle;

use super::{Task, blocking};
use crate::{failure, restore};

impl Task {
    pub(super) async fn list(self, spec: ListSpec) -> Result<ListOutcome, Failure> {
        let runtime = Handle::current();
        blocking(move || restore::list(self.repository, &runtime, &spec, &self.monitor))
            .await?
            .map_err(|error| failure::of_restore(&error))
    }
}
