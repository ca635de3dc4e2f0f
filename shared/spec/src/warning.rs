//! Warnings: what was not done as asked, each kind with a stable code.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::RawPath;

/// One object that could not be treated as asked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What kind it is, for programs and for policies that accept it.
    #[serde(default)]
    pub code: WarningCode,
    /// A path as on the host, or another object's name; need not be UTF-8.
    pub path: RawPath,
    /// For people.
    pub cause: String,
    /// The policy says that this kind is no reason to worry: it is listed but
    /// not counted.
    #[serde(default)]
    pub accepted: bool,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident => $word:literal,)+) => {
        /// The kinds of warning, stable across versions: `docs/warnings.md`
        /// lists them for operators.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WarningCode {
            $($(#[doc = $doc])+ $name,)+
            /// Of an agent that knows more or fewer kinds than this program.
            #[default]
            Other,
        }

        impl WarningCode {
            /// Every code, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+ Self::Other];

            /// Whether it only says what may well be meant: listed, and never
            /// counted, as if every policy accepted it.
            pub const fn is_note(self) -> bool {
                matches!(self, Self::ExcludeUnmatched | Self::OwnerMapped)
            }

            /// The word on the wire, in policies and in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Other => "other",
                }
            }
        }
    };
}

codes! {
    /// An entry, or the rest of a directory, could not be read: it is missing.
    Unreadable => "unreadable",
    /// Extended attributes could not be read: they are missing.
    AttributesUnreadable => "attributes-unreadable",
    /// A file changed while it was read: stored as it was read.
    ChangedWhileRead => "changed-while-read",
    /// A requested path is a symbolic link: the link is stored.
    RequestedLink => "requested-link",
    /// Something of a type of which nothing can be stored.
    TypeNotStored => "type-not-stored",
    /// The agent's own state, which is never read or written.
    OwnState => "own-state",
    /// A mount below a requested path, left out by `one_file_system`.
    MountLeftOut => "mount-left-out",
    /// A file system that holds no data, such as `/proc`: left out.
    PseudoFileSystem => "pseudo-file-system",
    /// A requested directory is empty, or a source gave no file at all.
    NothingFound => "nothing-found",
    /// An include pattern matched nothing: what it was to take is missing.
    IncludeUnmatched => "include-unmatched",
    /// An exclude pattern matched nothing.
    ExcludeUnmatched => "exclude-unmatched",
    /// An object of the repository is damaged and was done without.
    RepositoryDamaged => "repository-damaged",
    /// The store has lost what earlier backups wrote.
    ObjectsLost => "objects-lost",
    /// A line that `pg_dump` or `pg_restore` wrote although it ended well.
    ProgramSaid => "program-said",
    /// Roles are saved without their passwords.
    PasswordsLeftOut => "passwords-left-out",
    /// Roles and tablespaces could not be saved: they are missing.
    GlobalsFailed => "globals-failed",
    /// A database that nobody excluded is a template or allows no connections.
    DatabaseLeftOut => "database-left-out",
    /// A database that the policy names is not on the server.
    DatabaseMissing => "database-missing",
    /// A database went away while others were dumped.
    DatabaseVanished => "database-vanished",
    /// A database is invalid: its `DROP DATABASE` was interrupted.
    DatabaseInvalid => "database-invalid",
    /// The connection's role may not connect to a database, or not read all of it.
    DatabaseForbidden => "database-forbidden",
    /// A database or the role may have no more sessions.
    DatabaseLimited => "database-limited",
    /// Another session held a lock in a database for too long.
    DatabaseLocked => "database-locked",
    /// A standby gave up the dump of a database in order to follow its primary.
    DatabaseConflict => "database-conflict",
    /// Nothing in a database is what the policy selects.
    DatabaseEmpty => "database-empty",
    /// A database could not be dumped for another reason.
    DatabaseFailed => "database-failed",
    /// Rows of a table are not in the dump, such as those of an extension's own.
    RowsLeftOut => "rows-left-out",
    /// Rows of an unlogged table, which no standby has, are not in the dump.
    UnloggedLeftOut => "unlogged-left-out",
    /// The rows of a dump could be neither counted nor summed.
    RowsNotCounted => "rows-not-counted",
    /// Something in a dump needs what the policy leaves out of it.
    ReferenceLeftOut => "reference-left-out",
    /// The options of a user mapping may not be read and are not in the dump; or
    /// a restored one has none.
    MappingOptionsLeftOut => "mapping-options-left-out",
    /// A pattern of the policy matched nothing.
    PatternUnmatched => "pattern-unmatched",
    /// A page's checksum is wrong: stored as it is.
    PageDamaged => "page-damaged",
    /// A configuration file of the server is not in the snapshot.
    ConfigurationLeftOut => "configuration-left-out",
    /// A symbolic link in a data directory that is no part of its data: neither
    /// it nor what it leads to is stored.
    LinkLeftOut => "link-left-out",
    /// Something in a data directory that its server may not read.
    ForeignFile => "foreign-file",
    /// An entry of `pg_tblspc` that is no tablespace of the server.
    StrayTablespace => "stray-tablespace",
    /// Log was not archived: moments are missing until the next base backup.
    LogGap => "log-gap",
    /// The log that was replayed to its end has ended: its database went on.
    LogEnded => "log-ended",
    /// Nothing bounds what a replication slot holds back while the agent is away.
    SlotUnbounded => "slot-unbounded",
    /// A database of a restored server is invalid, or its files are not there.
    DatabaseUnusable => "database-unusable",
    /// A connection leads to another cluster than before; of agents of earlier
    /// versions: now that ends the job.
    OtherCluster => "other-cluster",
    /// Keys of a Redis dataset could not be counted.
    KeysNotCounted => "keys-not-counted",
    /// The server wrote no checksum: damage on the way would not be noticed.
    NoChecksum => "no-checksum",
    /// A Redis server that was restored into keeps nothing on disk, or nobody may
    /// know: a restart loses what was restored.
    NotKept => "not-kept",
    /// Replicas or Sentinels came to a Redis server while it was restored into.
    ReplicasAppeared => "replicas-appeared",
    /// An entry of the snapshot, or a part of it, was not restored.
    NotRestored => "not-restored",
    /// An owner has another number on this host, or none: what belongs to it got
    /// the number of its name, or kept its own.
    OwnerMapped => "owner-mapped",
    /// An owner's name is not known on this host, and its number is somebody
    /// else's: what was restored belongs to them.
    OwnerDiffers => "owner-differs",
    /// Something that a restore made for itself could not be removed.
    Leftover => "leftover",
    /// Subscriptions were left out of a restore, or of a dump.
    SubscriptionsLeftOut => "subscriptions-left-out",
    /// An object of a database, without rows of its own, could not be made.
    ObjectNotRestored => "object-not-restored",
    /// A role that was there is no member of another, and was in the snapshot.
    MembershipLeftOut => "membership-left-out",
    /// An object, an owner or a right was left out because it names a role that
    /// the server lacks.
    RoleMissing => "role-missing",
    /// Owners or privileges of restored objects could not be given, though their
    /// roles are there.
    RightsNotGiven => "rights-not-given",
    /// What acts with its owner's rights came without its owner: nobody else may
    /// use it.
    RightsWithheld => "rights-withheld",
    /// A setting, a privilege or a limit of a restored database could not be given.
    PropertyNotGiven => "property-not-given",
    /// A role was made, and lacks something that was said of it.
    RoleIncomplete => "role-incomplete",
    /// Foreign keys to tables that a restore does not take were left out.
    ForeignKeyLeftOut => "foreign-key-left-out",
}

impl FromStr for WarningCode {
    type Err = UnknownWarningCode;

    fn from_str(word: &str) -> Result<Self, UnknownWarningCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == word)
            .ok_or_else(|| UnknownWarningCode(word.chars().take(80).collect()))
    }
}

/// No warning has this code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no warning's code: docs/warnings.md lists them, for example \"{example}\"", example = WarningCode::ChangedWhileRead)]
pub struct UnknownWarningCode(String);

impl fmt::Display for WarningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for WarningCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for WarningCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_no_two_are_alike() {
        for code in WarningCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
        assert!("grew".parse::<WarningCode>().is_err());
    }

    #[test]
    fn the_document_lists_every_code() {
        let document = include_str!("../../../docs/warnings.md");
        for code in WarningCode::ALL {
            let row = format!("| `{code}` |");
            assert!(document.contains(&row), "docs/warnings.md misses {row}");
        }
    }
}
