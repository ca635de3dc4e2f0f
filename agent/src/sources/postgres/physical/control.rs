//! Reading `pg_control`, which the server may be writing.

use std::{io, path::Path, sync::Arc, thread, time::Duration};

use rustix::fs::{Stat, fstat};
use strongroom_compare::beneath;
use strongroom_postgres::physical::control::{CONTROL_FILE_SIZE, ControlFile, InvalidControl};

use super::{
    ClusterError,
    copy::read_fully,
    survey::{Dir, failed},
};
use crate::sources::files::file::open;

const NAME: &str = "pg_control";

/// How often a file that seems torn is read again, a millisecond apart: the
/// server writes it in one call.
const ATTEMPTS: usize = 100;

/// A control file as it is stored.
pub(super) struct LastControl {
    pub(super) bytes: Vec<u8>,
    pub(super) stat: Stat,
}

/// What the control file of a data directory says.
pub(super) fn of_directory(directory: &Path, owner: &str) -> Result<ControlFile, ClusterError> {
    let place = directory.join("global");
    let fd = beneath::open_root(&place).map_err(|error| failed(&place, error, owner))?;
    parsed(&fd.into(), &place, owner).map(|(control, _)| control)
}

/// A whole control file, to be stored.
pub(super) fn read(global: &Dir, owner: &str) -> Result<LastControl, ClusterError> {
    parsed(&global.fd, &global.place, owner).map(|(_, last)| last)
}

fn parsed(
    global: &Arc<std::os::fd::OwnedFd>,
    place: &Path,
    owner: &str,
) -> Result<(ControlFile, LastControl), ClusterError> {
    let path = place.join(NAME);
    let mut problem = InvalidControl::Short(0);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let last = once(global).map_err(|error| failed(&path, error, owner))?;
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

fn once(global: &Arc<std::os::fd::OwnedFd>) -> io::Result<LastControl> {
    let fd = open(global, NAME.as_bytes())?;
    let stat = fstat(&fd)?;
    let mut bytes = vec![0; CONTROL_FILE_SIZE];
    let length = read_fully(&fd, &mut bytes, 0)?;
    bytes.truncate(length);
    Ok(LastControl { bytes, stat })
}
