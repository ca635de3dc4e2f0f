//! Objects of a restic v2 repository, and those beside it: their names and
//! paths.
//!
//! Source of the layout: restic `doc/design.rst`, "Repository Layout". Every
//! object except `config` is named by the SHA-256 of its stored bytes.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::WalName;

/// SHA-256 of an object's stored bytes; also the form of blob and tree ids
/// (there: SHA-256 of the plaintext). Shown as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 32]);

impl ObjectId {
    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }

    /// From exactly 32 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        // The encoder only writes ASCII.
        f.pad(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is not an object id or path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseObjectError {
    /// What was given.
    pub text: String,
    /// What it should have been.
    pub expected: &'static str,
}

impl FromStr for ObjectId {
    type Err = ParseObjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 32];
        if text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut id).is_ok() {
            Ok(Self(id))
        } else {
            Err(ParseObjectError {
                text: text.into(),
                expected: "an object id (64 lowercase hex digits)",
            })
        }
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hex = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        // The encoder only writes ASCII.
        serializer.serialize_str(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ObjectIdVisitor)
    }
}

/// Reads ids without a copy: indexes and trees hold millions.
struct ObjectIdVisitor;

impl de::Visitor<'_> for ObjectIdVisitor {
    type Value = ObjectId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object id")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ObjectId, E> {
        text.parse().map_err(E::custom)
    }
}

/// What an object is for. Data and tree packs lie in one directory and only
/// the writer knows which is which, so grants name the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// The one object that is not named by its hash.
    Config,
    /// The master key, sealed under the repository password.
    Key,
    /// A pack of file contents.
    DataPack,
    /// A pack of directory listings.
    TreePack,
    /// Where blobs lie in packs.
    Index,
    /// One finished backup.
    Snapshot,
    /// Keeps foreign `restic` commands from pruning under us.
    Lock,
    /// A sealed piece of an upload or a download. Not of restic's layout, which
    /// knows no such directory and leaves it alone.
    Transfer,
    /// A part of PostgreSQL's write-ahead log. Not of restic's layout either.
    Wal,
}

impl ObjectKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Config,
        Self::Key,
        Self::DataPack,
        Self::TreePack,
        Self::Index,
        Self::Snapshot,
        Self::Lock,
        Self::Transfer,
        Self::Wal,
    ];

    /// Where objects of this kind lie; `None` for `config`, which stands at
    /// the top, and for the write-ahead log, which is listed by position.
    pub fn directory(self) -> Option<Directory> {
        match self {
            Self::Config | Self::Wal => None,
            Self::Key => Some(Directory::Keys),
            Self::DataPack | Self::TreePack => Some(Directory::Data),
            Self::Index => Some(Directory::Index),
            Self::Snapshot => Some(Directory::Snapshots),
            Self::Lock => Some(Directory::Locks),
            Self::Transfer => Some(Directory::Transfers),
        }
    }

    /// The name used in the catalog, the API and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::DataPack => "data-pack",
            Self::TreePack => "tree-pack",
            Self::Index => "index",
            Self::Snapshot => "snapshot",
            Self::Lock => "lock",
            Self::Transfer => "transfer",
            Self::Wal => "wal",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A directory of a repository: what can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Directory {
    /// `keys/`
    Keys,
    /// `data/`, with 256 directories below it
    Data,
    /// `index/`
    Index,
    /// `snapshots/`
    Snapshots,
    /// `locks/`
    Locks,
    /// `transfers/`
    Transfers,
}

impl Directory {
    /// Every directory, for tables and tests.
    pub const ALL: [Self; 6] = [
        Self::Keys,
        Self::Data,
        Self::Index,
        Self::Snapshots,
        Self::Locks,
        Self::Transfers,
    ];

    /// Its path below the repository, without slashes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Data => "data",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Locks => "locks",
            Self::Transfers => "transfers",
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One object of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// `config`
    Config,
    /// A part of the write-ahead log: its name says where it belongs, and the
    /// SHA-256 of its stored bytes.
    Wal(WalName),
    /// Any other object: its kind, which is neither [`ObjectKind::Config`] nor
    /// [`ObjectKind::Wal`], and the SHA-256 of its stored bytes.
    Hashed(ObjectKind, ObjectId),
}

impl ObjectName {
    /// A key file.
    pub fn key(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::Key, id)
    }

    /// A pack of file contents.
    pub fn data_pack(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::DataPack, id)
    }

    /// A pack of trees.
    pub fn tree_pack(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::TreePack, id)
    }

    /// An index file.
    pub fn index(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::Index, id)
    }

    /// A snapshot file.
    pub fn snapshot(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::Snapshot, id)
    }

    /// A lock file.
    pub fn lock(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::Lock, id)
    }

    /// A sealed piece of an upload or a download.
    pub fn transfer(id: ObjectId) -> Self {
        Self::Hashed(ObjectKind::Transfer, id)
    }

    /// What the object is for.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Config => ObjectKind::Config,
            Self::Wal(_) => ObjectKind::Wal,
            Self::Hashed(kind, _) => *kind,
        }
    }

    /// The hash in its name; `None` for `config`.
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Config => None,
            Self::Wal(name) => Some(name.id),
            Self::Hashed(_, id) => Some(*id),
        }
    }

    /// The path below the repository's prefix, `/`-separated, no leading
    /// slash: `config`, `keys/<hex>`, `data/<2 hex>/<hex>`, ….
    pub fn path(&self) -> String {
        match self {
            Self::Config => "config".into(),
            Self::Wal(name) => name.path(),
            Self::Hashed(kind, id) => match kind.directory() {
                Some(Directory::Data) => {
                    let hex = id.to_string();
                    format!("data/{}/{hex}", &hex[..2])
                }
                Some(directory) => format!("{directory}/{id}"),
                // These have no path of their own; they must not alias the
                // real `config`, nor a place in the log.
                None => format!("{kind}/{id}"),
            },
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e";

    #[test]
    fn ids_round_trip_through_hex_and_json() {
        let id: ObjectId = HEX.parse().unwrap();
        assert_eq!(id.to_string(), HEX);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
    }

    #[test]
    fn ids_refuse_other_lengths_and_upper_case() {
        assert!(HEX[2..].parse::<ObjectId>().is_err());
        assert!(HEX.to_uppercase().parse::<ObjectId>().is_err());
        assert!("../config".parse::<ObjectId>().is_err());
    }

    #[test]
    fn paths_are_those_of_restic() {
        let id: ObjectId = HEX.parse().unwrap();
        assert_eq!(ObjectName::Config.path(), "config");
        assert_eq!(ObjectName::key(id).path(), format!("keys/{HEX}"));
        assert_eq!(ObjectName::data_pack(id).path(), format!("data/00/{HEX}"));
        assert_eq!(ObjectName::tree_pack(id).path(), format!("data/00/{HEX}"));
        assert_eq!(ObjectName::snapshot(id).path(), format!("snapshots/{HEX}"));
    }

    #[test]
    fn every_hashed_kind_lies_in_its_directory() {
        let id: ObjectId = HEX.parse().unwrap();
        for kind in ObjectKind::ALL {
            if let Some(directory) = kind.directory() {
                let path = ObjectName::Hashed(kind, id).path();
                assert!(path.starts_with(&format!("{directory}/")), "{path}");
            }
        }
    }
}
