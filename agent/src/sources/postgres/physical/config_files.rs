//! Configuration that lies outside of the data directory, as on Debian.
//!
//! Kept for people: a restored cluster does not use it, for it may name
//! directories of the old host.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::Stat;
use strongroom_postgres::physical::backup::ServerFacts;
use strongroom_wire::job::WarningCode;

use crate::monitor::Monitor;

/// Larger files are no configuration.
const LARGEST: u64 = 1 << 20;

/// Names and contents of the server's files that are not in its data
/// directory; warns of those that cannot be had.
pub(super) fn collect(
    facts: &ServerFacts,
    cluster: &Stat,
    monitor: &Monitor,
) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for path in &facts.config_files {
        let path = Path::new(path);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_inside = path.starts_with(&facts.data_directory);
        if is_inside || found.iter().any(|(other, _)| other == name) {
            continue;
        }
        match read(path, cluster.st_uid) {
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

/// Only what the server's owner could read too: the server names the file, and
/// we may be able to read more than it.
fn read(path: &Path, owner: u32) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = options
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    let theirs = metadata.uid() == owner || metadata.mode() & 0o004 != 0;
    if !metadata.is_file() || !theirs {
        return Err(io::Error::other("it is not a file of the cluster's owner"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
