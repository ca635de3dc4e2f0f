//! Which paths are hard links of one another must be the same on both sides:
//! inodes of the source and of the restored tree stand for each other, one to
//! one.

use std::{collections::HashMap, path::Path};

use rustix::fs::Stat;

use crate::EscapedPath;

/// Device and inode.
type Inode = (u64, u64);

/// What the table says of a pair of entries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Seen for the first time: its content is still to be compared.
    First,
    /// Links of a pair that was seen before.
    Again,
    /// The links differ, in words.
    Differs(String),
}

/// The inodes seen so far that have, or should have, several links.
#[derive(Default)]
pub(crate) struct Links {
    restored_of: HashMap<Inode, (Inode, Box<Path>)>,
    source_of: HashMap<Inode, (Inode, Box<Path>)>,
}

impl Links {
    /// Notes that `source` and `restored` stand at the same `path`.
    pub(crate) fn note(&mut self, path: &Path, source: &Stat, restored: &Stat) -> Verdict {
        if source.st_nlink == 1 && restored.st_nlink == 1 {
            return Verdict::First;
        }
        let (source, restored) = (inode(source), inode(restored));
        if let Some((known, first)) = self.restored_of.get(&source) {
            return if *known == restored {
                Verdict::Again
            } else {
                let first = EscapedPath(first);
                Verdict::Differs(format!("is no longer a hard link of {first}"))
            };
        }
        if let Some((_, first)) = self.source_of.get(&restored) {
            let first = EscapedPath(first);
            return Verdict::Differs(format!(
                "became a hard link of {first}, a separate file in the source"
            ));
        }
        self.restored_of.insert(source, (restored, path.into()));
        self.source_of.insert(restored, (source, path.into()));
        Verdict::First
    }
}

fn inode(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}
