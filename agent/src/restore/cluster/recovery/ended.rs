//! How a recovery ended: by the server's control file and its log.

use std::{
    io::{self, BufReader},
    thread,
    time::Duration,
};

use strongroom_compare::beneath;
use strongroom_postgres::physical::control::{
    CONTROL_FILE_SIZE, ClusterState, ControlFile, InvalidControl,
};
use strongroom_spec::RecoveryTarget;

use super::{
    RecoveryError,
    error::shown,
    server_log::{Said, said},
};
use crate::{
    allowed::AllowedDirectory,
    restore::cluster::{
        ClusterRestoreError, server_directory::ServerDirectory, single::read_single,
    },
};

/// How often a control file that seems torn is read again: the server writes
/// it in one call.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// In a server's words: the log ended first, or the target lies before the
/// base backup's end.
const GAVE_UP: [&str; 2] = [
    "recovery ended before configured recovery target was reached",
    "requested recovery stop point is before consistent recovery point",
];

/// What a start that failed means for whoever wanted to get to `wanted`.
pub(super) fn failure(error: ClusterRestoreError, wanted: &RecoveryTarget) -> ClusterRestoreError {
    match error {
        ClusterRestoreError::Start { target, cause }
            if GAVE_UP.iter().any(|words| cause.contains(words)) =>
        {
            let wanted = shown(wanted);
            RecoveryError::GaveUp {
                target,
                wanted,
                cause,
            }
            .into()
        }
        other => other,
    }
}

/// Verifies that the server of a data directory is a primary, and gives what
/// its log says.
pub(super) fn ended(
    target: &AllowedDirectory,
    directory: &ServerDirectory,
) -> Result<Said, RecoveryError> {
    let log = directory.log();
    let state = state(target)?;
    if state != ClusterState::InProduction {
        return Err(RecoveryError::NotEnded {
            target: target.path().display().to_string(),
            state: format!("{state:?}"),
            log,
        });
    }
    let read = || said(BufReader::new(directory.open_log()?));
    read().map_err(RecoveryError::file("read", log))
}

fn state(target: &AllowedDirectory) -> Result<ClusterState, RecoveryError> {
    let path = target.path().join("global/pg_control");
    let mut last = InvalidControl::Short(0);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        let bytes = read(target).map_err(RecoveryError::file("read", &path))?;
        match ControlFile::parse(&bytes) {
            Ok(control) => return Ok(control.state),
            Err(error) => last = error,
        }
    }
    let invalid = io::Error::new(io::ErrorKind::InvalidData, last);
    Err(RecoveryError::file("understand", path)(invalid))
}

fn read(target: &AllowedDirectory) -> io::Result<Vec<u8>> {
    let global = beneath::open_dir(target.descriptor()?, b"global")?;
    read_single(&global, "pg_control", CONTROL_FILE_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_gave_up_is_told_from_one_that_does_not_start() {
        let start = |cause: &str| ClusterRestoreError::Start {
            target: "/d".into(),
            cause: cause.into(),
        };
        let wanted = RecoveryTarget::Xid(742);
        let said = "FATAL:  recovery ended before configured recovery target was reached";
        let error = failure(start(said), &wanted).to_string();
        assert!(
            error.contains("transaction 742") && error.contains(said),
            "{error}"
        );
        let other = failure(start("FATAL:  out of memory"), &wanted);
        assert!(
            matches!(other, ClusterRestoreError::Start { .. }),
            "{other}"
        );
    }
}
