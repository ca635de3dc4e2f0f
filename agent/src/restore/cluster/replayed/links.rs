//! The links in `pg_tblspc` of a restored cluster.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, readlinkat, statat, unlinkat},
    io::Errno,
};
use strongroom_compare::beneath;

use crate::{allowed::AllowedDirectory, restore::cluster::ClusterRestoreError};

const DIRECTORY: &str = "pg_tblspc";

fn open(target: &AllowedDirectory) -> io::Result<OwnedFd> {
    beneath::open_child(target.descriptor()?, DIRECTORY.as_bytes())
}

/// Verifies that each link leads where the tablespace of its number goes, and
/// that there are no others. What is no link lies in the data directory.
pub(super) fn verify(
    target: &AllowedDirectory,
    allowed: &BTreeMap<u32, &str>,
) -> Result<(), ClusterRestoreError> {
    let path = target.path().join(DIRECTORY);
    let stray = stray(target, allowed).map_err(ClusterRestoreError::file("list", &path))?;
    stray.map_or(Ok(()), |(name, to)| {
        Err(ClusterRestoreError::StrayLink {
            link: path.join(name),
            to,
        })
    })
}

fn stray(
    target: &AllowedDirectory,
    allowed: &BTreeMap<u32, &str>,
) -> io::Result<Option<(String, String)>> {
    let directory = open(target)?;
    for name in beneath::names(&directory)? {
        // A server that runs may drop one.
        let stat = match statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            continue;
        }
        let to = match readlinkat(&directory, &*name, Vec::new()) {
            Ok(to) => to.into_bytes(),
            // Neither a link nor a directory: it leads nowhere.
            Err(Errno::NOENT | Errno::INVAL) => continue,
            Err(error) => return Err(error.into()),
        };
        let name = String::from_utf8_lossy(&name).into_owned();
        let wanted = name.parse().ok().and_then(|oid: u32| allowed.get(&oid));
        if wanted.is_none_or(|wanted| wanted.as_bytes() != to) {
            return Ok(Some((name, String::from_utf8_lossy(&to).into_owned())));
        }
    }
    Ok(None)
}

/// Removes the link of a tablespace, if there is one.
pub(super) fn forget(target: &AllowedDirectory, oid: u32) {
    if let Ok(directory) = open(target) {
        let _gone = unlinkat(directory, oid.to_string(), AtFlags::empty());
    }
}
