//! Configuration that lies outside of the data directory, as on Debian.
//!
//! Kept for people: a restored cluster does not use it, for it may name
//! directories of the old host.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FileType, fstat};
use strongroom_postgres::physical::backup::ServerFacts;
use strongroom_wire::job::WarningCode;

use super::access::Owner;
use crate::{monitor::Monitor, sources::files::metadata::kind};

/// Larger files are no configuration.
const LARGEST: u64 = 1 << 20;

/// Names and contents of the server's files that are not in its data
/// directory; warns of those that cannot be had.
pub(super) fn collect(
    facts: &ServerFacts,
    owner: &Owner,
    monitor: &Monitor,
) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for path in &facts.config_files {
        let path = Path::new(path);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if is_inside(path, Path::new(&facts.data_directory))
            || found.iter().any(|(other, _)| other == name)
        {
            continue;
        }
        match read(path, owner) {
            Ok(bytes) => found.push((name.to_owned(), bytes)),
            Err(error) => monitor.warn(
                WarningCode::ConfigurationLeftOut,
                path.as_os_str().as_encoded_bytes(),
                format!("the server's configuration file is not in the snapshot: {error}"),
            ),
        }
    }
    found
}

/// Whether a file lies in the data directory, and is part of the backup; one
/// that a link there leads to is not.
fn is_inside(path: &Path, data_directory: &Path) -> bool {
    match (path.canonicalize(), data_directory.canonicalize()) {
        (Ok(path), Ok(data_directory)) => path.starts_with(data_directory),
        _ => path.starts_with(data_directory),
    }
}

/// Only what the server's owner could read too: the server names the file, and
/// we may be able to read more than it.
fn read(path: &Path, owner: &Owner) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = options
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let stat = fstat(&file)?;
    if kind(&stat) != FileType::RegularFile || !owner.may_read(&stat) {
        return Err(io::Error::other(format!(
            "it is no file that {}, who owns the cluster, may read",
            owner.name
        )));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
