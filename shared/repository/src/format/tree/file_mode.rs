//! Go's `os.FileMode`, the form of modes in trees.

use crate::format::node::NodeKind;

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// Go's bit and Unix's.
const SPECIAL: [(u32, u32); 3] = [(SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000)];

/// From Unix permission bits and the kind of node.
pub(super) fn to_go(mode: u32, kind: &NodeKind) -> u32 {
    let kind = match kind {
        NodeKind::File { .. } => 0,
        NodeKind::Dir { .. } => DIR,
        NodeKind::Symlink { .. } => SYMLINK,
        NodeKind::BlockDevice { .. } => DEVICE,
        NodeKind::CharDevice { .. } => DEVICE | CHAR_DEVICE,
        NodeKind::Fifo => FIFO,
    };
    SPECIAL
        .iter()
        .filter(|(_, unix)| mode & unix != 0)
        .fold(kind | mode & 0o777, |sum, (go, _)| sum | go)
}

/// To Unix permission bits; the kind stands in the node's type.
pub(super) fn from_go(mode: u32) -> u32 {
    SPECIAL
        .iter()
        .filter(|(go, _)| mode & go != 0)
        .fold(mode & 0o777, |sum, (_, unix)| sum | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_round_trips() {
        for mode in 0..=0o7777 {
            assert_eq!(from_go(to_go(mode, &NodeKind::Fifo)), mode);
        }
    }

    // As restic wrote them.
    #[test]
    fn kinds_are_those_of_go() {
        assert_eq!(
            to_go(0o755, &NodeKind::Dir { subtree: None }),
            2_147_484_141
        );
        assert_eq!(
            to_go(0o777, &NodeKind::Symlink { target: Vec::new() }),
            134_218_239
        );
        assert_eq!(to_go(0o644, &NodeKind::Fifo), 33_554_852);
    }
}
