//! Packs, snapshots and trees: does everything that is referred to exist?

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use futures::{StreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectName};

use super::{CheckProgress, CheckReport};
use crate::{
    format::{
        blob::{BlobId, BlobKind},
        node::{NodeKind, Tree},
        pack,
    },
    read::{BlobRef, ReadError, Reader},
};

/// Trees that are loaded at once.
const TREES_AT_ONCE: usize = 16;

/// A pack that is there and that an index names.
pub(super) struct IndexedPack {
    pub(super) name: ObjectName,
    /// Bytes, as listed.
    pub(super) size: u64,
    /// What the index says that lies in it, by offset.
    pub(super) blobs: Vec<BlobRef>,
}

/// Compares the packs of the index with those that are there.
pub(super) async fn packs(
    reader: &Reader,
    report: &mut CheckReport,
) -> Result<Vec<IndexedPack>, ReadError> {
    let index = reader.index();
    let listed = reader.repository().store().list(Directory::Data).await?;
    let mut sizes: HashMap<ObjectId, u64> =
        listed.iter().map(|pack| (pack.id, pack.size)).collect();
    let blobs = index.blobs_by_pack();
    report.blobs = blobs.len() as u64;
    let mut packs = Vec::new();
    for blobs in blobs.chunk_by(|left, right| index.pack_of(*left) == index.pack_of(*right)) {
        report.packs += 1;
        let name = index.pack_name(blobs[0]);
        let id = index.location(blobs[0]).pack;
        let Some(size) = sizes.remove(&id) else {
            report.add(name.path(), "it is missing from the store");
            continue;
        };
        let expected = expected_size(reader, blobs);
        if size != expected {
            let what = format!("it has {size} bytes, by the index it should have {expected}");
            report.add(name.path(), what);
        }
        let blobs = blobs.to_vec();
        packs.push(IndexedPack { name, size, blobs });
    }
    if !sizes.is_empty() {
        let bytes: u64 = sizes.values().sum();
        report.notes.push(format!(
            "{} packs with {bytes} bytes are in no index: interrupted backups leave such packs, a prune removes them",
            sizes.len()
        ));
    }
    Ok(packs)
}

/// The size of a pack that holds these blobs and nothing else.
fn expected_size(reader: &Reader, blobs: &[BlobRef]) -> u64 {
    let locations = blobs.iter().map(|blob| reader.index().location(*blob));
    pack::size(locations.map(|it| (it.length, it.uncompressed_length)))
}

/// Reads every snapshot and every tree, each once.
pub(super) async fn snapshots(
    reader: &Arc<Reader>,
    progress: &CheckProgress,
    report: &mut CheckReport,
) -> Result<(), ReadError> {
    let repository = reader.repository();
    let listed = repository.store().list(Directory::Snapshots).await?;
    let mut walk = Walk {
        reader,
        progress,
        report,
        seen: HashSet::new(),
        waiting: Vec::new(),
    };
    for listed in listed {
        walk.report.snapshots += 1;
        let object = ObjectName::snapshot(listed.id);
        match repository.snapshot(listed.id).await {
            Ok(snapshot) => {
                let path = format!("snapshot {}:", listed.id.short());
                walk.enter(snapshot.tree, path);
                walk.run().await?;
            }
            Err(error) => match ReadError::from_repository(object, error) {
                error if error.is_damage() => walk.report.add_error(&error),
                error => return Err(error),
            },
        }
    }
    Ok(())
}

struct Walk<'a> {
    reader: &'a Arc<Reader>,
    progress: &'a CheckProgress,
    report: &'a mut CheckReport,
    seen: HashSet<BlobId>,
    /// Trees, and where they stand, for messages.
    waiting: Vec<(BlobId, String)>,
}

impl Walk<'_> {
    fn enter(&mut self, tree: BlobId, path: String) {
        if self.seen.insert(tree) {
            self.waiting.push((tree, path));
        }
    }

    async fn run(&mut self) -> Result<(), ReadError> {
        while !self.waiting.is_empty() {
            let rest = self.waiting.len().saturating_sub(TREES_AT_ONCE);
            let batch = self.waiting.split_off(rest);
            let reader = self.reader;
            let mut trees = stream::iter(batch)
                .map(|(id, path)| async move { (reader.tree(&id).await, path) })
                .buffered(TREES_AT_ONCE);
            while let Some((tree, path)) = trees.next().await {
                self.progress.trees.fetch_add(1, Relaxed);
                self.report.trees += 1;
                match tree {
                    Ok(tree) => self.tree(&tree, &path),
                    Err(error) if error.is_damage() => {
                        self.report.add(shown(&path), error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn tree(&mut self, tree: &Tree, path: &str) {
        for node in &tree.nodes {
            let path = || format!("{path}/{}", node.name.escape_ascii());
            match &node.kind {
                NodeKind::Dir {
                    subtree: Some(subtree),
                } => self.enter(*subtree, path()),
                NodeKind::File { size, content, .. } => self.content(*size, content, path),
                _ => {}
            }
        }
    }

    fn content(&mut self, size: u64, content: &[BlobId], path: impl Fn() -> String) {
        let index = self.reader.index();
        let mut total = 0;
        for id in content {
            match index.require(BlobKind::Data, id) {
                Ok(blob) => total += u64::from(index.plaintext_length(blob)),
                Err(error) => {
                    self.report.add(path(), error.to_string());
                    return;
                }
            }
        }
        if total != size {
            let what = format!("its size is {size} bytes, its content has {total}");
            self.report.add(path(), what);
        }
    }
}

/// The root of a snapshot has no name of its own.
fn shown(path: &str) -> String {
    if path.ends_with(':') {
        format!("{path}/")
    } else {
        path.to_owned()
    }
}
