//! From what was saved to the snapshot's trees, the deepest first.

use std::{collections::BTreeMap, mem, sync::atomic::Ordering::Relaxed};

use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::fs::Stat;
use strongroom_repository::{
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    write::{Halted, Worker, Writer},
};

use super::{
    ClusterError,
    copy::Copied,
    survey::{Content, Survey},
};
use crate::sources::files::{Counts, metadata, owners::Owners};

/// The nodes of each directory; `None` is the snapshot's root.
#[derive(Debug, Default)]
pub(super) struct Trees {
    nodes: BTreeMap<Option<usize>, Vec<Node>>,
    /// Directories that we made, with the number of the one above them.
    made: Vec<(Option<usize>, MadeDir)>,
}

#[derive(Debug)]
struct MadeDir {
    /// Without its subtree.
    node: Node,
    nodes: Vec<Node>,
}

impl Trees {
    /// Those of files that were surveyed and copied.
    pub(super) fn of(survey: &Survey, copied: Copied, owners: &Owners) -> Self {
        let mut trees = Self::default();
        for (file, copied) in survey.files.iter().zip(copied.files) {
            let node = match (&file.content, copied) {
                (Content::Known(node), _) => node.clone(),
                (_, Some(copied)) if !copied.gone => {
                    let kind = NodeKind::File {
                        size: copied.size,
                        content: copied.blobs,
                        allocated: false,
                    };
                    let mut node = metadata::node(&file.name, kind, &file.stat, owners, Vec::new());
                    if copied.damaged {
                        // So that it is read, and complained about, next time.
                        node.inode = 0;
                    }
                    node
                }
                _ => continue,
            };
            trees.put(Some(file.dir), node);
        }
        trees
    }

    /// Adds a node to a directory.
    pub(super) fn put(&mut self, dir: Option<usize>, node: Node) {
        self.nodes.entry(dir).or_default().push(node);
    }

    /// Counts files and their bytes.
    pub(super) fn count(&self, counts: &Counts) {
        let made = self.made.iter().map(|(_, made)| &made.nodes);
        let (mut files, mut bytes) = (0, 0);
        for node in self.nodes.values().chain(made).flatten() {
            if let NodeKind::File { size, .. } = node.kind {
                bytes += size;
            }
            files += u64::from(!matches!(node.kind, NodeKind::Dir { .. }));
        }
        counts.files.store(files, Relaxed);
        counts.bytes_total.store(bytes, Relaxed);
    }

    /// Adds a directory that is none of the cluster's.
    pub(super) fn put_dir(
        &mut self,
        above: Option<usize>,
        name: &str,
        nodes: Vec<Node>,
        like: &Stat,
        owners: &Owners,
    ) {
        let kind = NodeKind::Dir { subtree: None };
        let node = Node {
            inode: 0,
            device_id: 0,
            ..metadata::node(name.as_bytes(), kind, like, owners, Vec::new())
        };
        self.made.push((above, MadeDir { node, nodes }));
    }

    /// Saves the trees of all directories; gives the root's.
    pub(super) fn save(
        self,
        writer: &Writer,
        survey: &Survey,
        owners: &Owners,
    ) -> Result<BlobId, ClusterError> {
        let trees = Mutex::new(Some(self));
        let saved = Mutex::new(None);
        writer.run((), |worker, ()| {
            let Some(trees) = trees.lock().take() else {
                return Ok(());
            };
            let root = match trees.save_all(worker, survey, owners) {
                Err(ClusterError::Halted(halted)) => return Err(halted),
                root => root,
            };
            *saved.lock() = Some(root);
            Ok(())
        })?;
        saved.into_inner().ok_or(Halted)?
    }

    fn save_all(
        mut self,
        worker: &mut Worker<'_, ()>,
        survey: &Survey,
        owners: &Owners,
    ) -> Result<BlobId, ClusterError> {
        for (parent, made) in mem::take(&mut self.made) {
            let kind = NodeKind::Dir {
                subtree: Some(save_tree(worker, made.nodes)?),
            };
            self.put(parent, Node { kind, ..made.node });
        }
        // A directory's number is above its parent's.
        for (number, dir) in survey.dirs.iter().enumerate().rev() {
            let nodes = self.nodes.remove(&Some(number)).unwrap_or_default();
            let kind = NodeKind::Dir {
                subtree: Some(save_tree(worker, nodes)?),
            };
            let node = metadata::node(&dir.name, kind, &dir.stat, owners, Vec::new());
            self.put(dir.parent, node);
        }
        save_tree(worker, self.nodes.remove(&None).unwrap_or_default())
    }
}

/// Saves a tree of nodes in any order.
fn save_tree(worker: &mut Worker<'_, ()>, mut nodes: Vec<Node>) -> Result<BlobId, ClusterError> {
    nodes.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let json = Tree { nodes }.encode()?;
    Ok(worker.save(BlobKind::Tree, &json)?)
}

/// The node of a file that we made: it belongs to whoever owns the cluster.
pub(super) fn made(
    name: &str,
    content: Vec<BlobId>,
    size: u64,
    like: &Stat,
    owners: &Owners,
    time: Timestamp,
) -> Node {
    let kind = NodeKind::File {
        size,
        content,
        allocated: false,
    };
    Node {
        mode: 0o600,
        mtime: time,
        atime: time,
        ctime: time,
        inode: 0,
        device_id: 0,
        links: 1,
        ..metadata::node(name.as_bytes(), kind, like, owners, Vec::new())
    }
}
