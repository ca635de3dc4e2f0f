//! What the last backup has of a cluster, and which files are taken over from it.

use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::Stat;
use strongroom_postgres::physical::{
    exclude::Place,
    manifest::{PGDATA, TABLESPACES},
    names::RelationFile,
};
use strongroom_repository::{
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    write::parent::ParentTree,
};

use super::{
    super::unchanged::may_be_taken_over,
    Surveyor,
    listing::{Content, File},
};
use crate::sources::files::metadata;

/// The last backup's part of a survey.
pub(super) struct Last {
    pub(super) copied_from: Timestamp,
    pub(super) pgdata: Arc<ParentTree>,
    pub(super) tablespaces: Option<Arc<ParentTree>>,
}

impl Surveyor<'_> {
    pub(super) fn file(
        &self,
        dir: usize,
        place: Place,
        name: &[u8],
        stat: Stat,
        previous: Option<&Tree>,
        copied_from: Option<Timestamp>,
    ) -> File {
        let before = previous.and_then(|tree| find(tree, name));
        let taken = before.zip(copied_from).and_then(|(before, copied_from)| {
            let NodeKind::File { content, .. } = &before.kind else {
                return None;
            };
            let known = |id: &BlobId| self.writer.knows(BlobKind::Data, *id);
            (may_be_taken_over(before, &stat, copied_from) && content.iter().all(known)).then(
                || {
                    let kind = before.kind.clone();
                    metadata::node(name, kind, &stat, &self.cluster.owners, Vec::new())
                },
            )
        });
        let relation = || {
            let holds = matches!(place, Place::Database | Place::Global);
            RelationFile::parse(name).filter(|_| holds)
        };
        let content = match (taken, relation()) {
            (Some(node), _) => Content::Known(node),
            (None, Some(file)) => Content::Relation {
                file,
                before: before.and_then(|before| match &before.kind {
                    NodeKind::File { size, content, .. } => Some((*size, content.len())),
                    _ => None,
                }),
            },
            (None, None) => Content::Plain,
        };
        File {
            dir,
            name: name.to_vec(),
            stat,
            content,
        }
    }

    /// The trees of the last backup, if it was one of these.
    pub(super) fn last(&self) -> Option<Last> {
        let root = self.parents.tree(self.parents.root()?)?;
        let pgdata = self.subtree(Some(&root.tree), PGDATA.as_bytes())?;
        let label = find(&pgdata.tree, b"backup_label")?;
        Some(Last {
            copied_from: label.mtime,
            tablespaces: self.subtree(Some(&root.tree), TABLESPACES.as_bytes()),
            pgdata,
        })
    }

    pub(super) fn subtree(&self, tree: Option<&Tree>, name: &[u8]) -> Option<Arc<ParentTree>> {
        match find(tree?, name)?.kind {
            NodeKind::Dir { subtree } => self.parents.tree(subtree?),
            _ => None,
        }
    }
}

fn find<'t>(tree: &'t Tree, name: &[u8]) -> Option<&'t Node> {
    let nodes = &tree.nodes;
    let at = nodes.binary_search_by(|node| (*node.name).cmp(name)).ok()?;
    nodes.get(at)
}
