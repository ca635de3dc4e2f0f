//! Fetches and opens blobs and trees.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectName};

use super::{
    BlobRef, Damage, Index, OnTrouble, PackRef, ReadError,
    load::{load_file, load_index_or_headers},
    segments::Segments,
};
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

/// So many packs that do not hold what is said of them are reported, each with
/// the index files that say it, for which all are read again.
const REPORTED: usize = 10;

/// A repository whose index is loaded. Cheap to share; all methods may be
/// called at once.
#[derive(Debug)]
pub struct Reader {
    repository: Arc<Repository>,
    index: Index,
    segments: Segments,
    /// Codecs are costly to make: each holds zstd contexts.
    codecs: Mutex<Vec<BlobCodec>>,
    on_trouble: OnTrouble,
    /// Packs that did not hold what was said of them.
    reported: Mutex<HashSet<PackRef>>,
    /// Where disputed blobs really lie, by their first place.
    settled: Mutex<HashMap<BlobRef, BlobRef>>,
}

impl Reader {
    /// Loads the index. Index files that are damaged are passed over; that, and
    /// all else that is wrong and can be done without, is told to `on_trouble`.
    pub async fn open(
        repository: Arc<Repository>,
        on_trouble: OnTrouble,
    ) -> Result<Arc<Self>, ReadError> {
        let (index, problems) = load_index_or_headers(&repository).await?;
        for problem in problems {
            match problem {
                ReadError::Damaged { object, damage } => {
                    on_trouble.tell(object, format!("{damage}; it was passed over"));
                }
                other => on_trouble.tell(Directory::Data, other.to_string()),
            }
        }
        Ok(Self::with_index(repository, index, on_trouble))
    }

    /// With an index that is loaded already.
    pub fn with_index(
        repository: Arc<Repository>,
        index: Index,
        on_trouble: OnTrouble,
    ) -> Arc<Self> {
        Arc::new(Self {
            repository,
            index,
            segments: Segments::new(),
            codecs: Mutex::default(),
            on_trouble,
            reported: Mutex::default(),
            settled: Mutex::default(),
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

    /// Fetches, opens and verifies one blob, wherever it lies.
    pub async fn blob(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>, ReadError> {
        let blob = self.index.require(kind, id)?;
        let (_, plaintext) = self.blob_from(blob).await?;
        Ok(plaintext)
    }

    /// Fetches, opens and verifies a blob from this place, or else from its next
    /// ones; gives the place that had it, too.
    pub async fn blob_from(&self, blob: BlobRef) -> Result<(BlobRef, Vec<u8>), ReadError> {
        let (mut at, mut first) = (blob, None);
        loop {
            match self.blob_at(at).await {
                Ok(plaintext) => return Ok((at, plaintext)),
                Err(error) => at = self.elsewhere(at, error, &mut first).await?,
            }
        }
    }

    async fn blob_at(&self, place: BlobRef) -> Result<Vec<u8>, ReadError> {
        let sealed = self.fetch_blob(place).await?;
        let mut out = Vec::new();
        self.with_codec(|codec| self.open_blob(codec, place, &sealed, &mut out))?;
        Ok(out)
    }

    /// The place of a blob by which to plan. Where index files disagree on a
    /// blob's length, by which what follows it in a file is placed, it is read
    /// to see who is right.
    pub async fn settle(&self, blob: BlobRef) -> Result<BlobRef, ReadError> {
        if !self.index.is_disputed(blob) {
            return Ok(blob);
        }
        let settled = self.settled.lock().get(&blob).copied();
        if let Some(place) = settled {
            return Ok(place);
        }
        let (place, _) = self.blob_from(blob).await?;
        self.settled.lock().insert(blob, place);
        Ok(place)
    }

    /// Fetches and decodes a tree, wherever it lies.
    pub async fn tree(self: &Arc<Self>, id: &BlobId) -> Result<Tree, ReadError> {
        let mut at = self.index.require(BlobKind::Tree, id)?;
        let mut first = None;
        loop {
            match self.tree_at(at).await {
                Ok(tree) => return Ok(tree),
                Err(error) => at = self.elsewhere(at, error, &mut first).await?,
            }
        }
    }

    async fn tree_at(self: &Arc<Self>, place: BlobRef) -> Result<Tree, ReadError> {
        let sealed = self.fetch_blob(place).await?;
        let this = self.clone();
        // Takes CPU, up to seconds for a directory with a million entries.
        tokio::task::spawn_blocking(move || this.open_tree(place, &sealed)).await?
    }

    fn open_tree(&self, blob: BlobRef, sealed: &[u8]) -> Result<Tree, ReadError> {
        let mut json = Vec::new();
        self.with_codec(|codec| self.open_blob(codec, blob, sealed, &mut json))?;
        Tree::decode(&json).map_err(|error| self.damaged(blob, Damage::Format(error)))
    }

    /// The place to try behind `place`, which failed; the `first` failure when
    /// there is none, or at once one that is not of this place alone.
    async fn elsewhere(
        &self,
        place: BlobRef,
        error: ReadError,
        first: &mut Option<ReadError>,
    ) -> Result<BlobRef, ReadError> {
        if !error.is_of_one_place() {
            return Err(error);
        }
        let next = self.index.next_place(place);
        if next.is_some() || first.is_some() {
            self.report(place, &error).await;
        }
        let error = first.take().unwrap_or(error);
        match next {
            Some(next) => {
                *first = Some(error);
                Ok(next)
            }
            None => Err(error),
        }
    }

    /// Tells of a place that does not have its blob, with the index files that
    /// say so; the first time only for each pack, and of the first few packs.
    pub async fn report(&self, place: BlobRef, error: &ReadError) {
        let pack = self.index.pack_of(place);
        {
            let mut reported = self.reported.lock();
            if reported.len() >= REPORTED || !reported.insert(pack) {
                return;
            }
        }
        let listed_by = match self.listed_by(place).await {
            Ok(files) if files.is_empty() => "its own header".to_owned(),
            Ok(files) => files.join(", "),
            Err(error) => format!("an index file, which one cannot be seen ({error})"),
        };
        let cause = format!(
            "{error}; by {listed_by} the blob is there. It was looked for in its other places"
        );
        self.on_trouble.tell(self.index.pack_name(place), cause);
    }

    /// The index files that say that a blob is at this place.
    async fn listed_by(&self, place: BlobRef) -> Result<Vec<String>, ReadError> {
        let location = self.index.location(place);
        let mut found = Vec::new();
        for listed in self.repository.store().list(Directory::Index).await? {
            let (object, file) = load_file(self.repository.clone(), listed.id).await;
            // Those that are damaged were told of.
            let Ok(file) = file else { continue };
            let mut packs = file.packs.iter().filter(|pack| pack.id == location.pack);
            let says_so = packs.any(|pack| {
                let mut blobs = pack.blobs.iter();
                blobs.any(|it| {
                    it.location(pack.id) == location
                        && it.kind == self.index.kind(place)
                        && self.index.is_id(place, &it.id)
                })
            });
            if says_so {
                found.push(object.to_string());
            }
        }
        Ok(found)
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
                match self.segments.get(pack, end, range.clone(), fetch).await {
                    // Another blob is said to lie where the pack has ended.
                    Err(error) if error.is_of_one_place() => self.fetch(name, range).await,
                    got => got,
                }
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
