//! What a snapshot of a cluster holds: its manifest and its directories.

use std::sync::Arc;

use strongroom_layout::ObjectId;
use strongroom_postgres::physical::manifest::{
    LARGEST_MANIFEST, MANIFEST, Manifest, PGDATA, TABLESPACES,
};
use strongroom_repository::{
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    read::Reader,
};
use strongroom_spec::{ClusterTarget, DirectoryTarget, RestoreSpec};
use tokio::runtime::Handle;

use super::{ClusterRestoreError, tablespaces::Placed};
use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{RestoreError, block_on, entries::Entries},
};

/// A directory to restore.
pub(super) struct Place {
    pub(super) target: AllowedDirectory,
    pub(super) tree: BlobId,
    /// What the marker in it says.
    pub(super) work: RestoreSpec<DirectoryTarget>,
    /// Of the directory itself.
    pub(super) mode: u32,
    /// What of it is restored.
    pub(super) entries: Entries,
}

/// The snapshot.
pub(super) struct Source<'a> {
    pub(super) reader: &'a Arc<Reader>,
    pub(super) runtime: &'a Handle,
    pub(super) monitor: &'a Monitor,
    pub(super) snapshot: ObjectId,
}

impl Source<'_> {
    pub(super) fn tree(&self, id: &BlobId) -> Result<Tree, RestoreError> {
        Ok(block_on(self.runtime, self.monitor, self.reader.tree(id))??)
    }

    fn not_physical(&self, cause: impl Into<String>) -> ClusterRestoreError {
        ClusterRestoreError::NotPhysical {
            snapshot: self.snapshot.short(),
            cause: cause.into(),
        }
    }

    pub(super) fn manifest(&self, root: &Tree) -> Result<Manifest, ClusterRestoreError> {
        let node = find(root, MANIFEST);
        let Some(NodeKind::File { size, content, .. }) = node.map(|node| &node.kind) else {
            return Err(self.not_physical(format!("it has no /{MANIFEST}")));
        };
        if *size > LARGEST_MANIFEST {
            return Err(self.not_physical(format!("its /{MANIFEST} has {size} bytes")));
        }
        let mut json = Vec::new();
        for id in content {
            let blob = self.reader.blob(BlobKind::Data, id);
            let blob = block_on(self.runtime, self.monitor, blob)?;
            json.extend(blob.map_err(RestoreError::from)?);
            if json.len() as u64 > LARGEST_MANIFEST {
                return Err(self.not_physical(format!("its /{MANIFEST} is too large")));
            }
        }
        Manifest::parse(&json).map_err(|source| ClusterRestoreError::Manifest {
            snapshot: self.snapshot.short(),
            source,
        })
    }

    /// The data directory first, which goes to `target`, then the tablespaces.
    pub(super) fn places(
        &self,
        root: &Tree,
        work: &RestoreSpec<ClusterTarget>,
        target: &AllowedDirectory,
        moves: &[Placed],
    ) -> Result<Vec<Place>, ClusterRestoreError> {
        let mut places = vec![self.place(root, PGDATA, PGDATA, target.clone(), work)?];
        if moves.is_empty() {
            return Ok(places);
        }
        let above = find(root, TABLESPACES).and_then(subtree);
        let above = above.ok_or_else(|| self.not_physical("its tablespaces are missing"))?;
        let above = self.tree(&above)?;
        for place in moves {
            let name = place.to.oid.to_string();
            let shown = format!("{TABLESPACES}/{name}");
            places.push(self.place(&above, &name, &shown, place.directory.clone(), work)?);
        }
        Ok(places)
    }

    fn place(
        &self,
        above: &Tree,
        name: &str,
        shown: &str,
        target: AllowedDirectory,
        work: &RestoreSpec<ClusterTarget>,
    ) -> Result<Place, ClusterRestoreError> {
        let node = find(above, name);
        let tree = node.and_then(subtree);
        let missing = || self.not_physical(format!("it has no directory /{shown}"));
        let (node, tree) = node.zip(tree).ok_or_else(missing)?;
        Ok(Place {
            tree,
            // PostgreSQL takes no other modes.
            mode: if node.mode & 0o050 == 0o050 && shown == PGDATA {
                0o750
            } else {
                0o700
            },
            entries: if shown == PGDATA {
                Entries::DataDirectory
            } else {
                Entries::Tablespace
            },
            work: RestoreSpec {
                dry_run: work.dry_run,
                ..RestoreSpec::new(
                    work.snapshot,
                    DirectoryTarget {
                        directory: target.path().to_string_lossy().into_owned(),
                        paths: vec![format!("/{shown}")],
                        numeric_ids: true,
                        ..DirectoryTarget::default()
                    },
                )
            },
            target,
        })
    }
}

fn find<'t>(tree: &'t Tree, name: &str) -> Option<&'t Node> {
    tree.nodes.iter().find(|node| node.name == name.as_bytes())
}

fn subtree(node: &Node) -> Option<BlobId> {
    match node.kind {
        NodeKind::Dir { subtree } => subtree,
        _ => None,
    }
}
