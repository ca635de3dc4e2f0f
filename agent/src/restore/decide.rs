//! What to do with an entry, given what stands in its place. Pure.

use jiff::Timestamp;
use strongroom_repository::format::node::{Node, NodeKind};
use strongroom_wire::job::Overwrite;

use super::plan::{DirAction, FileAction};

/// What stands at a path of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Nothing,
    Directory {
        empty: bool,
    },
    File {
        size: u64,
        mtime: Timestamp,
        /// It has no other names: those may lie outside the target.
        single: bool,
        /// We may open it for writing.
        writable: bool,
    },
    Symlink {
        target: Vec<u8>,
        single: bool,
    },
    /// A fifo, device or socket.
    Special {
        kind: &'static str,
        device: u64,
        single: bool,
    },
}

/// How existing entries are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As asked.
    Fresh(Overwrite),
    /// An earlier run of the same restore was interrupted: whatever it wrote
    /// is compared and completed, whatever was asked for then.
    Resume,
}

/// Why a restore must not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It would be overwritten.
    Exists,
    /// A directory that is not empty would have to go.
    DirectoryInTheWay,
}

/// For a directory of the snapshot.
pub(crate) fn directory(existing: &Existing, mode: Mode) -> Result<DirAction, Refusal> {
    match existing {
        Existing::Nothing => Ok(DirAction::Create),
        Existing::Directory { .. } => Ok(DirAction::Keep),
        _ if mode == Mode::Fresh(Overwrite::Never) => Err(Refusal::Exists),
        _ => Ok(DirAction::Replace),
    }
}

/// For any other entry of the snapshot.
pub(crate) fn file(node: &Node, existing: &Existing, mode: Mode) -> Result<FileAction, Refusal> {
    match (existing, mode) {
        (Existing::Nothing, _) => Ok(FileAction::Create),
        (Existing::Directory { empty: false }, _) => Err(Refusal::DirectoryInTheWay),
        (_, Mode::Fresh(Overwrite::Never)) => Err(Refusal::Exists),
        (_, Mode::Fresh(Overwrite::Always)) | (Existing::Directory { empty: true }, _) => {
            Ok(FileAction::Replace)
        }
        (_, Mode::Fresh(Overwrite::IfChanged) | Mode::Resume) => {
            Ok(compared(node, existing, mode == Mode::Resume))
        }
    }
}

fn compared(node: &Node, existing: &Existing, resume: bool) -> FileAction {
    match (&node.kind, existing) {
        (
            NodeKind::File { size: wanted, .. },
            Existing::File {
                size,
                mtime,
                single: true,
                writable,
            },
        ) => {
            if !resume && size == wanted && *mtime == node.mtime {
                FileAction::Keep
            } else if *writable {
                FileAction::Verify
            } else {
                FileAction::Replace
            }
        }
        (
            NodeKind::Symlink { target: wanted },
            Existing::Symlink {
                target,
                single: true,
            },
        ) if wanted == target => FileAction::Keep,
        (
            kind,
            Existing::Special {
                kind: existing,
                device,
                single: true,
            },
        ) if kind.as_str() == *existing && rdev(kind) == *device => FileAction::Keep,
        _ => FileAction::Replace,
    }
}

fn rdev(kind: &NodeKind) -> u64 {
    match kind {
        NodeKind::BlockDevice { device } | NodeKind::CharDevice { device } => *device,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Mode = Mode::Fresh(Overwrite::Never);
    const IF_CHANGED: Mode = Mode::Fresh(Overwrite::IfChanged);
    const ALWAYS: Mode = Mode::Fresh(Overwrite::Always);

    fn node(kind: NodeKind) -> Node {
        Node {
            name: b"name".to_vec(),
            kind,
            mode: 0o644,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 1,
            device_id: 1,
            links: 1,
            xattrs: Vec::new(),
        }
    }

    fn regular(size: u64) -> NodeKind {
        let content = Vec::new();
        NodeKind::File { size, content }
    }

    fn existing(size: u64, seconds: i64) -> Existing {
        Existing::File {
            size,
            mtime: Timestamp::from_second(seconds).unwrap(),
            single: true,
            writable: true,
        }
    }

    fn linked(existing: Existing) -> Existing {
        match existing {
            Existing::File {
                size,
                mtime,
                writable,
                ..
            } => Existing::File {
                size,
                mtime,
                single: false,
                writable,
            },
            other => other,
        }
    }

    fn symlink(target: &[u8], single: bool) -> Existing {
        let target = target.to_vec();
        Existing::Symlink { target, single }
    }

    fn special(kind: &'static str, device: u64) -> Existing {
        Existing::Special {
            kind,
            device,
            single: true,
        }
    }

    /// Wanted, existing, then what never, if-changed, always and resume do.
    type Case = (NodeKind, Existing, [Result<FileAction, Refusal>; 4]);

    #[test]
    fn files() {
        use FileAction::{Create, Keep, Replace, Verify};
        use Refusal::{DirectoryInTheWay, Exists};
        let to = |target: &[u8]| NodeKind::Symlink {
            target: target.to_vec(),
        };
        let device = |device| NodeKind::CharDevice { device };
        let read_only = Existing::File {
            size: 6,
            mtime: Timestamp::UNIX_EPOCH,
            single: true,
            writable: false,
        };
        let cases: Vec<Case> = vec![
            (regular(5), Existing::Nothing, [Ok(Create); 4]),
            (
                regular(5),
                existing(5, 0),
                [Err(Exists), Ok(Keep), Ok(Replace), Ok(Verify)],
            ),
            (
                regular(5),
                existing(5, 1),
                [Err(Exists), Ok(Verify), Ok(Replace), Ok(Verify)],
            ),
            (
                regular(5),
                existing(6, 0),
                [Err(Exists), Ok(Verify), Ok(Replace), Ok(Verify)],
            ),
            (
                regular(5),
                linked(existing(5, 0)),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                regular(5),
                read_only,
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                regular(5),
                symlink(b"/etc/passwd", true),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                regular(5),
                Existing::Directory { empty: true },
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                regular(5),
                Existing::Directory { empty: false },
                [Err(DirectoryInTheWay); 4],
            ),
            (
                to(b"a"),
                symlink(b"a", true),
                [Err(Exists), Ok(Keep), Ok(Replace), Ok(Keep)],
            ),
            (
                to(b"a"),
                symlink(b"a", false),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                to(b"a"),
                symlink(b"b", true),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                device(7),
                special("chardev", 7),
                [Err(Exists), Ok(Keep), Ok(Replace), Ok(Keep)],
            ),
            (
                device(7),
                special("chardev", 8),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
            (
                NodeKind::Fifo,
                special("socket", 0),
                [Err(Exists), Ok(Replace), Ok(Replace), Ok(Replace)],
            ),
        ];
        for (kind, existing, expected) in cases {
            let modes = [NEVER, IF_CHANGED, ALWAYS, Mode::Resume];
            let decided = modes.map(|mode| file(&node(kind.clone()), &existing, mode));
            assert_eq!(decided, expected, "{kind:?} where there is {existing:?}");
        }
    }

    #[test]
    fn directories_are_entered_and_never_through_symlinks() {
        let there = Existing::Directory { empty: false };
        let link = symlink(b"/", true);
        for mode in [NEVER, IF_CHANGED, ALWAYS, Mode::Resume] {
            assert_eq!(directory(&Existing::Nothing, mode), Ok(DirAction::Create));
            assert_eq!(directory(&there, mode), Ok(DirAction::Keep));
        }
        assert_eq!(directory(&link, NEVER), Err(Refusal::Exists));
        for mode in [IF_CHANGED, ALWAYS, Mode::Resume] {
            assert_eq!(directory(&link, mode), Ok(DirAction::Replace));
        }
    }
}
