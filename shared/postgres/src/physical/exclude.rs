//! What a base backup leaves out.
//!
//! Source: the manual's "Making a Base Backup Using the Low Level API" and
//! the lists in `backup/basebackup.c`. Beyond these we leave out the signal
//! files of standbys and recoveries, and the log that a restore of ours
//! brought: a snapshot restores to a server of its own, whatever restores it.

use std::collections::HashSet;

use super::names::{Fork, RelationFile};

/// What a directory of a cluster holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The data directory itself.
    Root,
    /// `global`.
    Global,
    /// The relations of a database, in `base` or in a tablespace.
    Database,
    /// Any other directory of the server's own: `base`, `pg_xact`, that of a
    /// version in a tablespace, and what lies below.
    Own,
    /// What somebody else made in the data directory: logs, certificates.
    Other,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Take,
    /// Only the directory, not what is in it. A link stands for the directory
    /// that it leads to.
    TakeEmpty,
    /// It is not taken.
    Leave,
    /// `pg_control`: taken when all else has been.
    Last,
    /// `pg_wal`: what is needed of it is taken at the end.
    Wal,
    /// `pg_tblspc`: its links are tablespaces.
    Tablespaces,
}

/// The directory of the root into which restores put archived log. Whoever
/// starts the server by himself may leave it there.
pub const FETCHED_LOG: &str = "strongroom_wal";

/// The directory of the root with the socket and the log of a server that a
/// restore has started.
pub const STARTED_SERVER: &str = "strongroom_server";

/// Directories of the root whose contents a server makes anew when it starts.
const EMPTIED: [&[u8]; 7] = [
    b"pg_dynshmem",
    b"pg_notify",
    b"pg_replslot",
    b"pg_serial",
    b"pg_snapshots",
    b"pg_stat_tmp",
    b"pg_subtrans",
];

/// Directories of the root that a server makes, but for those in [`EMPTIED`].
const OWN: [&[u8]; 10] = [
    b"base",
    b"global",
    b"pg_commit_ts",
    b"pg_logical",
    b"pg_multixact",
    b"pg_stat",
    b"pg_tblspc",
    b"pg_twophase",
    b"pg_wal",
    b"pg_xact",
];

/// Files of the root that concern the running server, or another backup.
const LEFT: [&[u8]; 13] = [
    b"backup_label",
    b"backup_manifest",
    b"current_logfiles",
    b"current_logfiles.tmp",
    b"lost+found",
    b"postgresql.auto.conf.tmp",
    b"postmaster.opts",
    b"postmaster.pid",
    b"recovery.signal",
    b"standby.signal",
    FETCHED_LOG.as_bytes(),
    STARTED_SERVER.as_bytes(),
    b"tablespace_map",
];

/// Relations of one directory that are unlogged: they have an initial fork,
/// and nothing else of them is worth keeping.
#[derive(Debug, Default)]
pub struct Unlogged(HashSet<u32>);

impl Unlogged {
    /// From all names in the directory.
    pub fn among<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Self {
        let initial = |name| {
            let file = RelationFile::parse(name)?;
            (file.fork == Fork::Initial && !file.temporary).then_some(file.number)
        };
        Self(names.into_iter().filter_map(initial).collect())
    }
}

/// Whether the entry `name` of a directory belongs to the cluster's data, so
/// that no backup is whole without it; else somebody put it there.
pub fn is_own(place: Place, name: &[u8]) -> bool {
    match place {
        Place::Root => OWN.contains(&name) || EMPTIED.contains(&name) || name == b"PG_VERSION",
        Place::Global | Place::Database | Place::Own => true,
        Place::Other => false,
    }
}

/// What becomes of the entry `name` of a directory.
pub fn verdict(place: Place, name: &[u8], unlogged: &Unlogged) -> Verdict {
    // Sorts and hashes of running queries; the caches of the catalogs.
    if name.starts_with(b"pgsql_tmp") || name.starts_with(b"pg_internal.init") {
        return Verdict::Leave;
    }
    match place {
        Place::Root => of_root(name),
        Place::Global if name == b"pg_control" => Verdict::Last,
        Place::Database => of_database(name, unlogged),
        Place::Global | Place::Own | Place::Other => Verdict::Take,
    }
}

fn of_root(name: &[u8]) -> Verdict {
    match name {
        b"pg_wal" => Verdict::Wal,
        b"pg_tblspc" => Verdict::Tablespaces,
        name if EMPTIED.contains(&name) => Verdict::TakeEmpty,
        name if LEFT.contains(&name) => Verdict::Leave,
        _ => Verdict::Take,
    }
}

fn of_database(name: &[u8], unlogged: &Unlogged) -> Verdict {
    match RelationFile::parse(name) {
        Some(file) if file.temporary => Verdict::Leave,
        Some(file) if file.fork != Fork::Initial && unlogged.0.contains(&file.number) => {
            Verdict::Leave
        }
        _ => Verdict::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(place: Place, name: &str) -> Verdict {
        let names: [&[u8]; 3] = [b"16400_init", b"16400", b"t1_500_init"];
        verdict(place, name.as_bytes(), &Unlogged::among(names))
    }

    #[test]
    fn what_is_the_server_s_and_what_is_not() {
        use Place::{Database, Global, Other, Own, Root};
        for (place, name, wanted) in [
            (Root, "base", true),
            (Root, "pg_multixact", true),
            (Root, "pg_subtrans", true),
            (Root, "pg_wal", true),
            (Root, "PG_VERSION", true),
            (Root, "postgresql.conf", false),
            (Root, "server.key", false),
            (Root, "log", false),
            (Own, "16384", true),
            (Own, "anything", true),
            (Global, "1262", true),
            (Database, "16384.1", true),
            (Other, "base", false),
        ] {
            assert_eq!(
                is_own(place, name.as_bytes()),
                wanted,
                "{name} in {place:?}"
            );
        }
    }

    #[test]
    fn the_manual_s_list() {
        use Place::{Database, Global, Other, Own, Root};
        use Verdict::{Last, Leave, Tablespaces, Take, TakeEmpty, Wal};
        for (place, name, wanted) in [
            (Root, "PG_VERSION", Take),
            (Root, "base", Take),
            (Root, "pg_xact", Take),
            (Root, "pg_multixact", Take),
            (Root, "pg_twophase", Take),
            (Root, "pg_logical", Take),
            (Root, "pg_stat", Take),
            (Root, "postgresql.conf", Take),
            (Root, "postgresql.auto.conf", Take),
            (Root, "log", Take),
            (Root, "pg_wal", Wal),
            (Root, "pg_tblspc", Tablespaces),
            (Root, "pg_replslot", TakeEmpty),
            (Root, "pg_dynshmem", TakeEmpty),
            (Root, "pg_notify", TakeEmpty),
            (Root, "pg_serial", TakeEmpty),
            (Root, "pg_snapshots", TakeEmpty),
            (Root, "pg_stat_tmp", TakeEmpty),
            (Root, "pg_subtrans", TakeEmpty),
            (Root, "postmaster.pid", Leave),
            (Root, "postmaster.opts", Leave),
            (Root, "backup_label", Leave),
            (Root, "backup_label.old", Take),
            (Root, "tablespace_map", Leave),
            (Root, "backup_manifest", Leave),
            (Root, "standby.signal", Leave),
            (Root, "recovery.signal", Leave),
            (Root, "strongroom_wal", Leave),
            (Root, "strongroom_server", Leave),
            (Root, "postgresql.auto.conf.tmp", Leave),
            (Root, "pgsql_tmp", Leave),
            (Other, "pgsql_tmp", Leave),
            (Other, "postmaster.pid", Take),
            (Global, "pg_control", Last),
            (Global, "1262", Take),
            (Global, "pg_internal.init", Leave),
            (Database, "pg_internal.init.4711", Leave),
            (Database, "pg_filenode.map", Take),
            (Database, "pg_control", Take),
            (Database, "pgsql_tmp123.4", Leave),
            (Database, "16384", Take),
            (Database, "16384_fsm", Take),
            (Database, "16384_vm.1", Take),
            (Database, "16400", Leave),
            (Database, "16400.1", Leave),
            (Database, "16400_vm", Leave),
            (Database, "16400_init", Take),
            (Database, "164001", Take),
            (Database, "500", Take),
            (Database, "t3_16400", Leave),
            (Database, "t3_16384_fsm.1", Leave),
            (Own, "16400", Take),
            (Own, "pgsql_tmp", Leave),
            (Other, "16400", Take),
        ] {
            assert_eq!(of(place, name), wanted, "{name} in {place:?}");
        }
    }
}
