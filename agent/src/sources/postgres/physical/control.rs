//! Reading `pg_control`, which the server may be writing.

use std::{io, os::fd::OwnedFd, path::Path, thread, time::Duration};

use rustix::fs::Stat;
use strongroom_postgres::physical::control::{CONTROL_FILE_SIZE, ControlFile, InvalidControl};

use super::{ClusterError, access::Owner, copy::read_fully};

const NAME: &str = "pg_control";

/// How often a file that seems torn is read again, a millisecond apart: the
/// server writes it in one call.
const ATTEMPTS: usize = 100;

/// A control file as it is stored.
pub(super) struct LastControl {
    pub(super) bytes: Vec<u8>,
    pub(super) stat: Stat,
}

/// A whole control file of the directory `global`, which lies at `place`: what
/// it says, and as it is to be stored.
pub(super) fn read(
    global: &OwnedFd,
    place: &Path,
    owner: &Owner,
) -> Result<(ControlFile, LastControl), ClusterError> {
    let path = place.join(NAME);
    let mut problem = InvalidControl::Short(0);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let last = once(global, place, owner)?;
        match ControlFile::parse(&last.bytes) {
            Ok(control) => return Ok((control, last)),
            Err(error @ InvalidControl::Checksum { .. }) => problem = error,
            Err(source) => return Err(ClusterError::Control { path, source }),
        }
    }
    Err(ClusterError::Control {
        path,
        source: problem,
    })
}

fn once(global: &OwnedFd, place: &Path, owner: &Owner) -> Result<LastControl, ClusterError> {
    let path = place.join(NAME);
    let Some((fd, stat)) = owner.open(global, place, NAME.as_bytes())? else {
        return Err(ClusterError::Missing { path });
    };
    let mut bytes = vec![0; CONTROL_FILE_SIZE];
    let read = read_fully(&fd, &mut bytes, 0);
    let length = read.map_err(|error: io::Error| owner.failed(&path, error))?;
    bytes.truncate(length);
    Ok(LastControl { bytes, stat })
}
