//! What a restored cluster lacks when its configuration lay elsewhere.

use std::{fmt::Write as _, fs::File, io::Write as _};

use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
};
use strongroom_postgres::physical::manifest::Manifest;

use super::ClusterRestoreError;
use crate::allowed::AllowedDirectory;

/// Settings that a server must have at least as the original had them, or
/// cannot read some of its files without.
const KEPT: [&str; 7] = [
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "shared_preload_libraries",
    "wal_level",
];

/// A minimal `postgresql.conf`.
fn main_file(manifest: &Manifest) -> String {
    let mut text = String::from(
        "# The original's configuration lay outside of its data directory: see /config in the\n\
         # snapshot. This is what a server needs in order to start.\n",
    );
    for name in KEPT {
        let value = manifest
            .settings
            .get(name)
            .filter(|value| !value.is_empty());
        if let Some(value) = value {
            let _infallible = writeln!(text, "{name} = '{}'", quoted(value));
        }
    }
    text
}

/// As it stands between single quotes. Line ends end a setting: there are
/// none in the values of these.
fn quoted(value: &str) -> String {
    value
        .replace(['\n', '\r', '\0'], " ")
        .replace('\\', "\\\\")
        .replace('\'', "''")
}

/// Local users under their own names, and passwords otherwise.
const HBA: &str = "# The original's rules lay outside of its data directory: see /config in the snapshot.\n\
    local all all peer\n\
    host all all 127.0.0.1/32 scram-sha-256\n\
    host all all ::1/128 scram-sha-256\n";

const IDENT: &str = "# The original's maps lay outside of its data directory.\n";

/// Writes what is missing; gives the names of what was written.
pub(super) fn complete(
    target: &AllowedDirectory,
    manifest: &Manifest,
) -> Result<Vec<&'static str>, ClusterRestoreError> {
    let root = target.descriptor();
    let root = root.map_err(ClusterRestoreError::file("open", target.path()))?;
    let files = [
        ("postgresql.conf", main_file(manifest)),
        ("pg_hba.conf", HBA.to_owned()),
        ("pg_ident.conf", IDENT.to_owned()),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = target.path().join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(&root, name, flags, Mode::RUSR | Mode::WUSR).map(File::from) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())
                    .map_err(ClusterRestoreError::file("write", &path))?;
                written.push(name);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(ClusterRestoreError::file("create", &path)(error.into())),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted("a'b\\c\nd"), "a''b\\\\c d");
    }
}
