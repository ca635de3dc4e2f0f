//! What to do with an entry, given what stands in its place. Pure.

use strongroom_repository::format::node::{Node, NodeKind};
use strongroom_spec::Overwrite;

use super::plan::{DirAction, FileAction};

/// What stands at a path of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Nothing,
    Directory {
        empty: bool,
    },
    File {
        /// It has no other names: those may lie outside the target.
        single: bool,
        /// We may open it for writing.
        writable: bool,
        owner: u32,
        /// Its group, or others, may write it.
        shared: bool,
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

/// For any other entry of the snapshot. `user` is who restores.
pub(crate) fn file(
    node: &Node,
    existing: &Existing,
    mode: Mode,
    user: u32,
) -> Result<FileAction, Refusal> {
    match (existing, mode) {
        (Existing::Nothing, _) => Ok(FileAction::Create),
        (Existing::Directory { empty: false }, _) => Err(Refusal::DirectoryInTheWay),
        (_, Mode::Fresh(Overwrite::Never)) => Err(Refusal::Exists),
        (_, Mode::Fresh(Overwrite::Always)) | (Existing::Directory { empty: true }, _) => {
            Ok(FileAction::Replace)
        }
        (_, Mode::Fresh(Overwrite::IfChanged) | Mode::Resume) => Ok(compared(node, existing, user)),
    }
}

/// Whether an existing file that holds what it should may be given the
/// snapshot's metadata.
///
/// Root gives files away and gives them rights. A file of somebody else's must
/// not become the snapshot's owner's by that, nor one that others have opened
/// for writing a program with rights.
fn is_trusted(node: &Node, owner: u32, shared: bool, user: u32) -> bool {
    let rights = node.mode & 0o6000 != 0
        || node
            .xattrs
            .iter()
            .any(|(name, _)| name == b"security.capability");
    if user != 0 {
        return true;
    }
    if rights {
        owner == user && !shared
    } else {
        owner == user || owner == node.uid
    }
}

fn compared(node: &Node, existing: &Existing, user: u32) -> FileAction {
    match (&node.kind, existing) {
        (
            NodeKind::File { .. },
            Existing::File {
                single: true,
                writable,
                owner,
                shared,
            },
        ) if is_trusted(node, *owner, *shared, user) => {
            if *writable {
                FileAction::Verify
            } else {
                FileAction::Match
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
            mtime: jiff::Timestamp::UNIX_EPOCH,
            atime: jiff::Timestamp::UNIX_EPOCH,
            ctime: jiff::Timestamp::UNIX_EPOCH,
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
        let allocated = false;
        NodeKind::File {
            size,
            content,
            allocated,
        }
    }

    fn existing(single: bool, writable: bool) -> Existing {
        Existing::File {
            single,
            writable,
            owner: 0,
            shared: false,
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
        use FileAction::{Create, Keep, Match, Replace, Verify};
        use Refusal::{DirectoryInTheWay, Exists};
        let to = |target: &[u8]| NodeKind::Symlink {
            target: target.to_vec(),
        };
        let device = |device| NodeKind::CharDevice { device };
        let cases: Vec<Case> = vec![
            (regular(5), Existing::Nothing, [Ok(Create); 4]),
            (
                regular(5),
                existing(true, true),
                [Err(Exists), Ok(Verify), Ok(Replace), Ok(Verify)],
            ),
            (
                regular(5),
                existing(true, false),
                [Err(Exists), Ok(Match), Ok(Replace), Ok(Match)],
            ),
            (
                regular(5),
                existing(false, true),
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
            let decided = modes.map(|mode| file(&node(kind.clone()), &existing, mode, 0));
            assert_eq!(decided, expected, "{kind:?} where there is {existing:?}");
        }
    }

    #[test]
    fn root_gives_no_rights_to_what_others_may_have_written() {
        use FileAction::{Replace, Verify};
        const ROOT: u32 = 0;
        const USER: u32 = 1000;
        const OTHER: u32 = 1001;
        let found = |owner, shared| Existing::File {
            single: true,
            writable: true,
            owner,
            shared,
        };
        // Who restores, the snapshot's owner and mode, who owns what is there and
        // whether others write it.
        for (user, uid, mode, owner, shared, wanted) in [
            (ROOT, USER, 0o644, USER, true, Verify),
            (ROOT, USER, 0o644, OTHER, false, Replace),
            (ROOT, USER, 0o644, ROOT, false, Verify),
            (ROOT, ROOT, 0o644, ROOT, true, Verify),
            (ROOT, ROOT, 0o644, USER, false, Replace),
            (ROOT, ROOT, 0o4755, USER, false, Replace),
            (ROOT, ROOT, 0o4755, ROOT, false, Verify),
            (ROOT, ROOT, 0o2755, ROOT, true, Replace),
            (ROOT, USER, 0o2755, USER, false, Replace),
            (USER, ROOT, 0o4755, USER, false, Verify),
        ] {
            let mut node = node(regular(5));
            (node.uid, node.mode) = (uid, mode);
            let decided = file(&node, &found(owner, shared), IF_CHANGED, user);
            assert_eq!(
                decided,
                Ok(wanted),
                "{user} {uid} {mode:o} {owner} {shared}"
            );
        }
        let mut ping = node(regular(5));
        ping.uid = USER;
        ping.xattrs = vec![(b"security.capability".to_vec(), vec![1])];
        let decided = file(&ping, &found(USER, false), IF_CHANGED, ROOT);
        assert_eq!(decided, Ok(Replace));
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
