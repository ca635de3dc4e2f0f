//! The trees of an earlier snapshot, from which unchanged files are taken.
//!
//! Trees that one run wrote lie together, so blocks of tree packs are fetched
//! and kept for a while. Nothing here is needed for a run to succeed: whatever
//! cannot be had is read from the source again.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use strongroom_layout::{ObjectId, ObjectKind, ObjectName};
use tokio::runtime::Handle;

use super::known::TreePlaces;
use crate::{
    Repository,
    format::{
        FormatError,
        blob::{BlobId, BlobLocation},
        blob_codec::BlobCodec,
        node::Tree,
        snapshot::Snapshot,
    },
    store::{ByteRange, StoreError},
};

/// Fetched at once, in bytes.
const BLOCK: u32 = 4 << 20;
/// Kept of what was fetched, in bytes.
const KEPT: usize = 24 << 20;
/// The JSON of longer trees is not kept beside them.
const LONGEST_JSON: usize = 4 << 20;
/// Of the codecs' compressors, which are not used here.
const LEVEL: i32 = 1;

/// Fetches trees; safe to share between threads that are none of the
/// runtime's.
#[derive(Debug)]
pub struct ParentTrees {
    source: Option<Source>,
}

/// A directory in the parent snapshot.
#[derive(Debug)]
pub struct ParentTree {
    /// What it holds.
    pub tree: Tree,
    id: BlobId,
    json: Option<Vec<u8>>,
}

impl ParentTree {
    /// Its id, when `json` is what it was made from: without hashing that.
    pub fn id_of(&self, json: &[u8]) -> Option<BlobId> {
        (self.json.as_deref() == Some(json)).then_some(self.id)
    }
}

#[derive(Debug)]
struct Source {
    repository: Arc<Repository>,
    runtime: Handle,
    places: TreePlaces,
    root: BlobId,
    began: Timestamp,
    state: Mutex<State>,
    /// Costly to make: one per thread that is at work.
    codecs: Mutex<Vec<BlobCodec>>,
}

#[derive(Debug, Default)]
struct State {
    /// The one used last stands last.
    blocks: Vec<Block>,
    /// Packs that could not be read.
    failed: HashSet<ObjectId>,
}

#[derive(Debug)]
struct Block {
    pack: ObjectId,
    first: u32,
    bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
enum ParentError {
    #[error("it is in no index")]
    NotIndexed,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ParentTrees {
    /// There is no parent.
    pub fn none() -> Self {
        Self { source: None }
    }

    /// Those of a snapshot.
    pub fn new(
        repository: Arc<Repository>,
        runtime: Handle,
        places: TreePlaces,
        snapshot: &Snapshot,
    ) -> Result<Self, FormatError> {
        Ok(Self {
            source: Some(Source {
                repository,
                runtime,
                places,
                root: snapshot.tree,
                began: snapshot.time,
                state: Mutex::default(),
                codecs: Mutex::new(vec![BlobCodec::new(LEVEL)?]),
            }),
        })
    }

    /// The root tree's id.
    pub fn root(&self) -> Option<BlobId> {
        self.source.as_ref().map(|source| source.root)
    }

    /// When the run that made the snapshot began, by its host's clock.
    pub fn began(&self) -> Option<Timestamp> {
        self.source.as_ref().map(|source| source.began)
    }

    /// A tree; `None`, and a line in the log, when it cannot be had.
    pub fn tree(&self, id: BlobId) -> Option<Arc<ParentTree>> {
        let source = self.source.as_ref()?;
        match source.load(id) {
            Ok(tree) => tree.map(Arc::new),
            Err(error) => {
                tracing::warn!(
                    tree = %id.short(), %error,
                    "a tree of the parent snapshot cannot be read; its files are read again"
                );
                None
            }
        }
    }
}

impl Source {
    fn load(&self, id: BlobId) -> Result<Option<ParentTree>, ParentError> {
        let mut failed = Err(ParentError::NotIndexed);
        for (place, end) in self.places.find(&id) {
            match self.load_from(id, &place, end) {
                Ok(Some(tree)) => return Ok(Some(tree)),
                other => failed = other,
            }
        }
        failed
    }

    fn load_from(
        &self,
        id: BlobId,
        place: &BlobLocation,
        end: u32,
    ) -> Result<Option<ParentTree>, ParentError> {
        let Some(sealed) = self.sealed(place, end)? else {
            return Ok(None);
        };
        let json = self.open(&id, &sealed, place.uncompressed_length)?;
        Ok(Some(ParentTree {
            tree: Tree::decode(&json)?,
            id,
            json: Some(json).filter(|json| json.len() <= LONGEST_JSON),
        }))
    }

    /// A tree as it is stored; `None` when its pack could not be read before.
    fn sealed(&self, place: &BlobLocation, end: u32) -> Result<Option<Bytes>, StoreError> {
        // Held while a block is fetched: the others want the same.
        let mut state = self.state.lock();
        if let Some(sealed) = state.cached(place) {
            return Ok(Some(sealed));
        }
        if state.failed.contains(&place.pack) {
            return Ok(None);
        }
        let fetched = self.fetch(place, end);
        if fetched.is_err() {
            state.failed.insert(place.pack);
        }
        Ok(Some(state.keep(place, fetched?)))
    }

    fn open(
        &self,
        id: &BlobId,
        sealed: &[u8],
        length: Option<u32>,
    ) -> Result<Vec<u8>, FormatError> {
        let idle = self.codecs.lock().pop();
        let mut codec = match idle {
            Some(codec) => codec,
            None => BlobCodec::new(LEVEL)?,
        };
        let mut json = Vec::new();
        let opened = codec.open(self.repository.key(), id, sealed, length, &mut json);
        self.codecs.lock().push(codec);
        opened.map(|()| json)
    }

    /// The block of the pack in which a tree begins, and all of the tree.
    fn fetch(&self, place: &BlobLocation, end: u32) -> Result<Block, StoreError> {
        let first = place.offset - place.offset % BLOCK;
        let behind = place.offset.saturating_add(place.length);
        let last = first
            .saturating_add(BLOCK)
            .min(end)
            .max(behind)
            .saturating_sub(1);
        let range = ByteRange {
            first: first.into(),
            last: last.into(),
        };
        let object = ObjectName::Hashed(ObjectKind::TreePack, place.pack);
        let bytes = self
            .runtime
            .block_on(self.repository.store().get(object, Some(range)))?;
        Ok(Block {
            pack: place.pack,
            first,
            bytes,
        })
    }
}

impl Block {
    fn slice(&self, place: &BlobLocation) -> Option<Bytes> {
        if self.pack != place.pack {
            return None;
        }
        let start = place.offset.checked_sub(self.first)? as usize;
        let end = start.checked_add(place.length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

impl State {
    fn cached(&mut self, place: &BlobLocation) -> Option<Bytes> {
        let index = self
            .blocks
            .iter()
            .rposition(|block| block.slice(place).is_some())?;
        let block = self.blocks.remove(index);
        let sealed = block.slice(place);
        self.blocks.push(block);
        sealed
    }

    fn keep(&mut self, place: &BlobLocation, block: Block) -> Bytes {
        let sealed = block.slice(place).unwrap_or_default();
        self.blocks.push(block);
        let mut total: usize = self.blocks.iter().map(|block| block.bytes.len()).sum();
        while total > KEPT && self.blocks.len() > 1 {
            total -= self.blocks.remove(0).bytes.len();
        }
        sealed
    }
}
