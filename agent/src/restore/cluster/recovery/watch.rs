//! Watching a server until it has ended its recovery.
//!
//! `pg_ctl` says that a server is up as soon as replay has begun, when it has
//! no hot standby. The server itself notes what it is at in `postmaster.pid`:
//! `standby` until recovery has ended, then `ready`.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{
        RestoreError,
        cluster::{
            ClusterRestoreError,
            owner::Owner,
            postmaster::{PID_FILE, Status, status},
            server::{Running, stop},
        },
    },
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the server of a data directory has ended its recovery. A cancel
/// ends the server, too.
pub(super) fn until_ready(
    target: &AllowedDirectory,
    running: &Running,
    owner: &Owner,
    runtime: &Handle,
    monitor: &Monitor,
) -> Result<(), ClusterRestoreError> {
    let path = target.path().join(PID_FILE);
    loop {
        let status = status(target, owner);
        match status.map_err(ClusterRestoreError::file("read", &path))? {
            Status::Ready => return Ok(()),
            Status::Ended => return Err(running.failure(target.path())),
            Status::Busy => {}
        }
        let pause = async { tokio::time::timeout(PAUSE, monitor.cancel.cancelled()).await };
        if runtime.block_on(pause).is_ok() {
            stop(target, owner)?;
            return Err(RestoreError::Cancelled.into());
        }
    }
}
