//! Configuration that lies outside of the data directory, as on Debian.
//!
//! Kept for people: a restored cluster does not use it, for it may name
//! directories of the old host.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use strongroom_compare::beneath::proc_path;
use strongroom_postgres::physical::backup::ServerFacts;
use strongroom_spec::WarningCode;

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
    let path = path.canonicalize()?;
    // Opening a device may do something.
    let found = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&found)?;
    let reaches = || {
        let mut above = path.ancestors().skip(1);
        above.all(|it| rustix::fs::stat(it).is_ok_and(|stat| owner.may_pass(&stat)))
    };
    if kind(&stat) != FileType::RegularFile || !owner.may_read(&stat) || !reaches() {
        return Err(io::Error::other(format!(
            "it is no file that {}, who owns the cluster, may read",
            owner.name
        )));
    }
    // The very file that was looked at.
    let mut very = proc_path(found.as_fd(), b"");
    very.pop();
    let file = File::open(OsStr::from_bytes(&very))?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, sync::Arc};

    use strongroom_tests::scratch::Scratch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::sources::files::owners::Owners;

    /// The server's configuration names `/etc/shadow`, by itself or by a link.
    #[test]
    fn a_file_that_the_server_may_not_read_is_not_taken_for_it() {
        let scratch = Scratch::new("config-files");
        let secret = scratch.file("shadow", "4111-hush");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        let link = scratch.join("pg_hba.conf");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let public = scratch.file("pg_ident.conf", "a b c");
        fs::set_permissions(&public, fs::Permissions::from_mode(0o644)).unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let facts = ServerFacts {
            version: "15.18".into(),
            major: 15,
            system_identifier: 7,
            in_recovery: false,
            data_directory: path(&scratch.join("data")),
            config_files: vec![
                path(&secret),
                path(&link),
                path(&public),
                path(scratch.path()),
            ],
            settings: BTreeMap::new(),
        };
        let mut cluster = rustix::fs::stat(scratch.path()).unwrap();
        cluster.st_uid = cluster.st_uid.wrapping_add(4711);
        let monitor = Arc::new(Monitor::new(CancellationToken::new()));
        let owner = |stat: &rustix::fs::Stat| Owner::of(stat, &Owners::default());
        let found = collect(&facts, &owner(&cluster), &monitor);
        assert_eq!(found, [("pg_ident.conf".to_owned(), b"a b c".to_vec())]);

        // The cluster's own is taken.
        cluster.st_uid = cluster.st_uid.wrapping_sub(4711);
        let found = collect(&facts, &owner(&cluster), &monitor);
        assert_eq!(found.len(), 3);
    }
}
