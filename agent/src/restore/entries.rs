//! The entries of a snapshot that a restore may make, beside directories and
//! regular files. Pure.
//!
//! A restore of files makes all of them as they were. A cluster is for a server,
//! which writes into what lies there: through a link or a device it would write
//! elsewhere, into the original beside it for example. So of a cluster nothing
//! is restored but directories and files, and those links that a server only
//! reads through.

use strongroom_postgres::physical::DEEPEST;
use strongroom_repository::format::node::{Node, NodeKind};

/// What is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// A tree of files.
    All,
    /// A cluster's data directory.
    DataDirectory,
    /// A directory of a tablespace.
    Tablespace,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Restore,
    /// A server does without, or makes it anew.
    LeaveOut,
    /// It stands in the place of something that the server would write to.
    Refuse,
}

/// What a server writes to at the top of a data directory, beside names that
/// begin with `pg_`.
const WRITTEN: [&[u8]; 12] = [
    b"PG_VERSION",
    b"backup_label",
    b"backup_label.old",
    b"base",
    b"current_logfiles",
    b"global",
    b"postgresql.auto.conf",
    b"postmaster.opts",
    b"postmaster.pid",
    b"recovery.signal",
    b"standby.signal",
    b"tablespace_map",
];

/// Names that begin so, but are not the server's.
const UNWRITTEN: [&[u8]; 2] = [b"pg_hba.conf", b"pg_ident.conf"];

/// How configuration, certificates and keys are called, which a server only
/// reads.
const READ: [&[u8]; 5] = [b".conf", b".crt", b".crl", b".key", b".pem"];

impl Entries {
    /// What becomes of the entry `name`, which lies `at_top` or below.
    pub(crate) fn verdict(self, at_top: bool, name: &[u8], kind: &NodeKind) -> Verdict {
        match kind {
            NodeKind::Dir { .. } | NodeKind::File { .. } => Verdict::Restore,
            _ if self == Self::All => Verdict::Restore,
            NodeKind::Symlink { .. } if self == Self::DataDirectory && at_top => of_link(name),
            _ => Verdict::Refuse,
        }
    }

    /// How many directories deep entries may lie. What is walked again when it is
    /// there is bounded; a tree of files is not.
    pub(crate) fn deepest(self) -> usize {
        if self == Self::All {
            usize::MAX
        } else {
            DEEPEST
        }
    }

    /// Takes from a node what a server's files never have, and what would give
    /// whoever owns the cluster more rights than their own: capabilities and
    /// other attributes, setuid and setgid.
    pub(crate) fn bare(self, node: &mut Node) {
        if self != Self::All {
            node.mode &= 0o777;
            node.xattrs.clear();
        }
    }
}

fn of_link(name: &[u8]) -> Verdict {
    if is_only_read(name) {
        Verdict::Restore
    } else if is_written(name) {
        Verdict::Refuse
    } else {
        // Of the server's log, for the most part.
        Verdict::LeaveOut
    }
}

/// Whether what stands under a name at the top of a data directory is only read
/// by a server, so that it may be a link.
pub(crate) fn is_only_read(name: &[u8]) -> bool {
    !is_written(name) && READ.iter().any(|ending| name.ends_with(ending))
}

fn is_written(name: &[u8]) -> bool {
    let of_server = name.starts_with(b"pg_") && name != b"pg_log" && !UNWRITTEN.contains(&name);
    of_server || WRITTEN.contains(&name) || name.starts_with(b"postgresql.auto.conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> NodeKind {
        NodeKind::Symlink {
            target: b"/elsewhere".to_vec(),
        }
    }

    #[test]
    fn a_link_in_a_cluster_is_one_that_is_only_read() {
        let data = |name: &str| Entries::DataDirectory.verdict(true, name.as_bytes(), &link());
        for name in [
            "postgresql.conf",
            "pg_hba.conf",
            "pg_ident.conf",
            "custom.conf",
            "server.crt",
            "server.key",
            "root.crl",
            "chain.pem",
        ] {
            assert_eq!(data(name), Verdict::Restore, "{name}");
            let below = Entries::DataDirectory.verdict(false, name.as_bytes(), &link());
            assert_eq!(below, Verdict::Refuse, "{name}");
            let below = Entries::Tablespace.verdict(true, name.as_bytes(), &link());
            assert_eq!(below, Verdict::Refuse, "{name}");
        }
        for name in [
            "base",
            "global",
            "pg_wal",
            "pg_xact",
            "pg_tblspc",
            "pg_replslot",
            "pg_stat_tmp",
            "pg_new_directory_of_tomorrow",
            "PG_VERSION",
            "postgresql.auto.conf",
            "postgresql.auto.conf.tmp",
            "postmaster.pid",
            "postmaster.opts",
            "current_logfiles",
            "backup_label",
            "tablespace_map",
        ] {
            assert_eq!(data(name), Verdict::Refuse, "{name}");
        }
        for name in ["log", "pg_log", "conf.d", "dumps"] {
            assert_eq!(data(name), Verdict::LeaveOut, "{name}");
        }
        assert_eq!(
            Entries::All.verdict(false, b"base", &link()),
            Verdict::Restore
        );
    }

    #[test]
    fn nothing_in_a_cluster_is_a_device() {
        for kind in [
            NodeKind::Fifo,
            NodeKind::BlockDevice { device: 1 },
            NodeKind::CharDevice { device: 1 },
        ] {
            for entries in [Entries::DataDirectory, Entries::Tablespace] {
                assert_eq!(
                    entries.verdict(true, b"x.conf", &kind),
                    Verdict::Refuse,
                    "{kind:?}"
                );
            }
            assert_eq!(Entries::All.verdict(true, b"x", &kind), Verdict::Restore);
        }
    }
}
