//! A directory whose entries are being saved.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, vec};

use parking_lot::Mutex;
use strongroom_repository::{
    format::{
        FormatError,
        node::{Node, Tree},
        tree::TreeEncoder,
    },
    write::parent::ParentTree,
};

use super::roots::Target;

/// Where the node of an entry goes: a place in the directory above it.
#[derive(Clone)]
pub(super) struct Slot<'t> {
    pub(super) frame: Arc<Frame<'t>>,
    pub(super) index: usize,
}

/// What entries inherit from the directories above them.
#[derive(Clone, Copy)]
pub(super) struct Inherited {
    /// Below a requested path; above there is only the way to these.
    pub(super) requested: bool,
    /// The device of the requested path; `None` for `/`, when that is
    /// requested, until it is opened.
    pub(super) device: Option<u64>,
    /// The device of the directory above; `None` until that is opened.
    pub(super) here: Option<u64>,
    /// An include glob matched a directory on the way.
    pub(super) included: bool,
}

/// Where a directory stands.
pub(super) struct Place<'t> {
    /// Absolute.
    pub(super) path: Vec<u8>,
    /// `None` for `/`.
    pub(super) up: Option<Slot<'t>>,
    pub(super) inherited: Inherited,
    /// What is requested at or below this directory.
    pub(super) target: Option<&'t Target>,
}

/// See the module.
pub(super) struct Frame<'t> {
    pub(super) place: Place<'t>,
    /// The directory in the parent snapshot.
    pub(super) previous: Option<Arc<ParentTree>>,
    cursor: Mutex<Cursor>,
    join: Mutex<Join>,
}

/// Entries that nobody has taken yet.
struct Cursor {
    names: vec::IntoIter<Box<[u8]>>,
    next: usize,
    directory: Option<Arc<OwnedFd>>,
}

/// Some entries to take care of.
pub(super) struct Batch {
    /// The directory; open for as long as somebody needs it, which is not as
    /// long as the frame lives.
    pub(super) directory: Arc<OwnedFd>,
    /// Place of the first.
    pub(super) first: usize,
    pub(super) names: Vec<Box<[u8]>>,
    /// There are more behind these.
    pub(super) more: bool,
}

/// The nodes, put in order.
struct Join {
    encoder: TreeEncoder,
    /// The place of the next node in the tree.
    next: usize,
    /// Nodes, or gaps, that came before those in front of them.
    early: BTreeMap<usize, Option<Node>>,
    total: usize,
    /// The directory's own node, for when it is complete.
    own: Option<Node>,
}

/// A directory with all its entries.
pub(super) struct Complete {
    pub(super) tree: Vec<u8>,
    /// Without its subtree.
    pub(super) own: Node,
}

impl<'t> Frame<'t> {
    /// An open directory with the sorted names of what is in it.
    pub(super) fn new(
        place: Place<'t>,
        previous: Option<Arc<ParentTree>>,
        own: Node,
        directory: OwnedFd,
        names: Vec<Box<[u8]>>,
    ) -> Self {
        Self {
            place,
            previous,
            join: Mutex::new(Join {
                encoder: TreeEncoder::new(),
                next: 0,
                early: BTreeMap::new(),
                total: names.len(),
                own: Some(own),
            }),
            cursor: Mutex::new(Cursor {
                names: names.into_iter(),
                next: 0,
                directory: Some(Arc::new(directory)),
            }),
        }
    }

    /// What it held in the parent snapshot.
    pub(super) fn previous_tree(&self) -> Option<&Tree> {
        self.previous.as_deref().map(|previous| &previous.tree)
    }

    /// The next entries, `size` at most; `None` when all are taken.
    pub(super) fn take_batch(&self, size: usize) -> Option<Batch> {
        let mut cursor = self.cursor.lock();
        let names: Vec<_> = cursor.names.by_ref().take(size).collect();
        let first = cursor.next;
        cursor.next += names.len();
        let more = cursor.names.len() > 0;
        let directory = if more {
            cursor.directory.clone()
        } else {
            cursor.directory.take()
        };
        Some(Batch {
            directory: directory?,
            first,
            names,
            more,
        })
    }

    /// Puts nodes, or gaps where nothing is stored, in their places. Gives the
    /// tree to whoever put the last.
    pub(super) fn put(
        &self,
        nodes: impl IntoIterator<Item = (usize, Option<Node>)>,
    ) -> Result<Option<Complete>, FormatError> {
        let mut join = self.join.lock();
        join.early.extend(nodes);
        let mut next = join.next;
        while let Some(node) = join.early.remove(&next) {
            if let Some(node) = node {
                join.encoder.push(&node)?;
            }
            next += 1;
        }
        join.next = next;
        if join.next < join.total {
            return Ok(None);
        }
        Ok(join.own.take().map(|own| Complete {
            tree: std::mem::take(&mut join.encoder).finish(),
            own,
        }))
    }
}
