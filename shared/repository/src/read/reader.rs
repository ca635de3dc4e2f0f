//! Fetches and opens blobs and trees.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_layout::ObjectName;

use super::{BlobRef, Damage, Index, ReadError, load_index, segments::Segments};
use crate::{
    Repository,
    format::{
        blob::{BlobId, BlobKind},
        blob_codec::BlobCodec,
        node::Tree,
    },
    store::ByteRange,
};

/// The level of the codec's compressor, which is not used here.
const READING_LEVEL: i32 = 1;

/// A repository whose index is loaded. Cheap to share; all methods may be
/// called at once.
#[derive(Debug)]
pub struct Reader {
    repository: Arc<Repository>,
    index: Index,
    segments: Segments,
    /// Codecs are costly to make: each holds zstd contexts.
    codecs: Mutex<Vec<BlobCodec>>,
}

impl Reader {
    /// Loads the index.
    pub async fn open(repository: Arc<Repository>) -> Result<Arc<Self>, ReadError> {
        let index = load_index(&repository).await?;
        Ok(Self::with_index(repository, index))
    }

    /// With an index that is loaded already.
    pub fn with_index(repository: Arc<Repository>, index: Index) -> Arc<Self> {
        Arc::new(Self {
            repository,
            index,
            segments: Segments::new(),
            codecs: Mutex::default(),
        })
    }

    /// The repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Fetches a range of a pack, as it is stored.
    pub async fn fetch(&self, pack: ObjectName, range: Range<u32>) -> Result<Bytes, ReadError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let byte_range = ByteRange {
            first: range.start.into(),
            last: u64::from(range.end) - 1,
        };
        let store = self.repository.store();
        let bytes = store
            .get(pack, Some(byte_range))
            .await
            .map_err(|error| ReadError::from_get(pack, error))?;
        let (got, expected) = (bytes.len() as u64, range.len() as u64);
        if got == expected {
            return Ok(bytes);
        }
        Err(ReadError::damaged(
            pack,
            Damage::Truncated { got, expected },
        ))
    }

    /// Opens a blob from its stored form and appends its plaintext to `out`:
    /// authentication code, decompressed length and hash are verified; on an
    /// error `out` is as it was.
    pub fn open_blob(
        &self,
        codec: &mut BlobCodec,
        blob: BlobRef,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let location = self.index.location(blob);
        let start = out.len();
        let key = self.repository.key();
        let opened = codec.open_unnamed(key, sealed, location.uncompressed_length, out);
        let damage = match opened {
            Ok(id) if self.index.is_id(blob, &id) => return Ok(()),
            Ok(got) => Damage::WrongHash { got },
            Err(error) => Damage::Format(error),
        };
        out.truncate(start);
        Err(self.damaged(blob, damage))
    }

    /// Fetches, opens and verifies one blob.
    pub async fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>, ReadError> {
        let blob = self.index.require(kind, id)?;
        let sealed = self.fetch_blob(blob).await?;
        let mut out = Vec::new();
        self.with_codec(|codec| self.open_blob(codec, blob, &sealed, &mut out))?;
        Ok(out)
    }

    /// Fetches a tree without opening it: what may be done on any task. See
    /// [`Reader::open_tree`].
    pub async fn fetch_tree(&self, id: &BlobId) -> Result<Bytes, ReadError> {
        let blob = self.index.require(BlobKind::Tree, id)?;
        self.fetch_blob(blob).await
    }

    /// Opens and decodes a tree: takes CPU, up to seconds for a directory
    /// with a million entries.
    pub fn open_tree(&self, id: &BlobId, sealed: &[u8]) -> Result<Tree, ReadError> {
        let blob = self.index.require(BlobKind::Tree, id)?;
        let mut json = Vec::new();
        self.with_codec(|codec| self.open_blob(codec, blob, sealed, &mut json))?;
        Tree::decode(&json).map_err(|error| self.damaged(blob, Damage::Format(error)))
    }

    /// Fetches and decodes a tree.
    pub async fn tree(self: &Arc<Self>, id: &BlobId) -> Result<Tree, ReadError> {
        let sealed = self.fetch_tree(id).await?;
        let (this, id) = (self.clone(), *id);
        tokio::task::spawn_blocking(move || this.open_tree(&id, &sealed)).await?
    }

    /// Lends a codec for as long as `work` takes.
    pub fn with_codec<T>(
        &self,
        work: impl FnOnce(&mut BlobCodec) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let pooled = self.codecs.lock().pop();
        let mut codec = match pooled {
            Some(codec) => codec,
            None => BlobCodec::new(READING_LEVEL).map_err(ReadError::Codec)?,
        };
        let result = work(&mut codec);
        self.codecs.lock().push(codec);
        result
    }

    async fn fetch_blob(&self, blob: BlobRef) -> Result<Bytes, ReadError> {
        let location = self.index.location(blob);
        let name = self.index.pack_name(blob);
        let range = location.offset..location.offset.saturating_add(location.length);
        match self.index.kind(blob) {
            BlobKind::Data => self.fetch(name, range).await,
            BlobKind::Tree => {
                let pack = self.index.pack_of(blob);
                let end = self.index.pack_end(pack);
                let fetch = |range| self.fetch(name, range);
                self.segments.get(pack, end, range, fetch).await
            }
        }
    }

    fn damaged(&self, blob: BlobRef, damage: Damage) -> ReadError {
        ReadError::DamagedBlob {
            pack: self.index.pack_name(blob),
            blob: self.index.shown_id(blob),
            offset: self.index.location(blob).offset,
            damage: Box::new(damage),
        }
    }
}
