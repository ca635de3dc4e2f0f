//! Nodes of a tree: one per directory entry.

use jiff::Timestamp;

use super::blob::BlobId;

/// One entry of a directory. Names are raw bytes; they hold neither `/` nor
/// NUL and are neither `.` nor `..` (decoding refuses such trees).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Raw bytes, as on the host.
    pub name: Vec<u8>,
    /// Type and what only that type has.
    pub kind: NodeKind,
    /// Permission, setuid, setgid and sticky bits, Unix layout (`0o7777`).
    pub mode: u32,
    /// Modification time, nanoseconds.
    pub mtime: Timestamp,
    /// Access time; we store the modification time here.
    pub atime: Timestamp,
    /// Inode change time.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, may be empty.
    pub user: String,
    /// Group's name, may be empty.
    pub group: String,
    /// Inode number.
    pub inode: u64,
    /// Device the inode lies on.
    pub device_id: u64,
    /// Number of hard links; 0 when not known.
    pub links: u64,
    /// Extended attributes, ACLs among them: raw name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What kind of entry a [`Node`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Its chunks, in order.
        content: Vec<BlobId>,
        /// It has long runs of zeros, and they lay on the disk: none was a hole.
        /// Not known of most files, which have neither.
        allocated: bool,
    },
    /// A directory.
    Dir {
        /// The tree blob that lists it; `None` when it could not be read.
        subtree: Option<BlobId>,
    },
    /// A symbolic link.
    Symlink {
        /// Raw bytes.
        target: Vec<u8>,
    },
    /// A block device.
    BlockDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A character device.
    CharDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A named pipe.
    Fifo,
}

impl NodeKind {
    /// restic's word: `file`, `dir`, `symlink`, `dev`, `chardev`, `fifo`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Dir { .. } => "dir",
            Self::Symlink { .. } => "symlink",
            Self::BlockDevice { .. } => "dev",
            Self::CharDevice { .. } => "chardev",
            Self::Fifo => "fifo",
        }
    }
}

/// A directory listing: nodes strictly ascending by name bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Sorted.
    pub nodes: Vec<Node>,
}
