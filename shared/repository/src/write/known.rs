//! What a repository holds when a run begins.

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};

use super::{
    journal::{JournalDirectory, inherit::Inheritance},
    membership::{Membership, Prefixes},
};
use crate::{
    Repository, RepositoryError,
    format::{
        blob::{BlobId, BlobKind, BlobLocation},
        index::IndexFile,
    },
};

/// Index files that are fetched at once; each takes some 10 MiB while it is
/// taken apart.
const AT_ONCE: usize = 3;

/// The blobs of a repository: of chunks only that they are there, of trees
/// also where.
#[derive(Debug, Default)]
pub struct Known {
    /// Which blobs need no storing.
    pub membership: Membership,
    /// Where trees lie.
    pub trees: TreePlaces,
}

/// Where trees lie: 32 bytes per tree.
#[derive(Debug, Default)]
pub struct TreePlaces {
    /// Sorted by id.
    places: Vec<Place>,
    packs: Vec<Pack>,
}

#[derive(Debug)]
struct Pack {
    id: ObjectId,
    /// Where its last tree ends.
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first half of its id.
    id: [u8; 16],
    pack: u32,
    offset: u32,
    length: u32,
    /// 0: not compressed.
    uncompressed_length: u32,
}

impl TreePlaces {
    /// Where a tree lies, and where the last tree of that pack ends.
    pub fn find(&self, id: &BlobId) -> Option<(BlobLocation, u32)> {
        let wanted = short(id);
        let index = self
            .places
            .binary_search_by_key(&wanted, |place| place.id)
            .ok()?;
        let place = self.places.get(index)?;
        let pack = self.packs.get(place.pack as usize)?;
        let location = BlobLocation {
            pack: pack.id,
            offset: place.offset,
            length: place.length,
            uncompressed_length: Some(place.uncompressed_length).filter(|length| *length > 0),
        };
        Some((location, pack.end))
    }
}

impl Known {
    /// Loads all indexes. One that is damaged is passed over, with a warning
    /// in the log: its blobs are stored again, which heals the repository.
    pub async fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        Ok(load_all(repository, &mut Inheritance::default())
            .await?
            .finish())
    }

    /// As [`Known::load`], and lists in an index of their own the packs that
    /// interrupted runs stored and noted in `journals`, as far as the
    /// repository has them. Call it with the repository locked, and only to
    /// write.
    pub async fn resume(
        repository: &Repository,
        journals: &JournalDirectory,
    ) -> Result<Self, RepositoryError> {
        let (directory, key) = (journals.clone(), repository.key().clone());
        let take_over = move || Inheritance::take_over(&directory, &key);
        let mut inherited = blocking(take_over).await?;
        let mut loader = load_all(repository, &mut inherited).await?;
        if let Err(error) = inherited.drop_missing(repository.store()).await {
            tracing::warn!(%error, "cannot see which packs of an interrupted run are there; \
                some are uploaded again");
            return Ok(loader.finish());
        }
        for index in inherited.take_indexes() {
            repository
                .save_unpacked(ObjectKind::Index, &encode(&index)?)
                .await?;
            tracing::info!(
                packs = index.packs.len(),
                "what an interrupted run stored was found again"
            );
            loader.add(index);
        }
        blocking(move || inherited.settle()).await?;
        Ok(loader.finish())
    }
}

async fn load_all(
    repository: &Repository,
    inherited: &mut Inheritance,
) -> Result<Loader, RepositoryError> {
    let files = repository.store().list(Directory::Index).await?;
    let mut loader = Loader::default();
    let mut indexes = stream::iter(files)
        .map(|file| load(repository, file.id))
        .buffer_unordered(AT_ONCE);
    while let Some(index) = indexes.try_next().await? {
        let index = index.unwrap_or_default();
        inherited.drop_listed(&index);
        loader.add(index);
    }
    drop(indexes);
    Ok(loader)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RepositoryError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| RepositoryError::Interrupted)
}

fn encode(index: &IndexFile) -> Result<Vec<u8>, RepositoryError> {
    index.encode().map_err(|source| RepositoryError::Format {
        object: "new index".into(),
        source,
    })
}

async fn load(repository: &Repository, id: ObjectId) -> Result<Option<IndexFile>, RepositoryError> {
    let object = ObjectName::Hashed(ObjectKind::Index, id);
    let loaded = repository
        .load_unpacked(object)
        .await
        .and_then(|json| IndexFile::decode(&json).map_err(RepositoryError::in_object(object)));
    match loaded {
        Ok(index) => Ok(Some(index)),
        Err(error @ RepositoryError::Format { .. }) => {
            tracing::warn!(%error, "a damaged index is passed over; run a check");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Loader {
    data: Prefixes,
    trees: Prefixes,
    places: TreePlaces,
}

impl Loader {
    fn add(&mut self, index: IndexFile) {
        for pack in index.packs {
            let number = self.places.packs.len() as u32;
            let mut end = 0;
            for blob in pack.blobs {
                match blob.kind {
                    BlobKind::Data => self.data.push(blob.id),
                    BlobKind::Tree => {
                        end = end.max(blob.offset.saturating_add(blob.length));
                        self.trees.push(blob.id);
                        self.places.places.push(Place {
                            id: short(&blob.id),
                            pack: number,
                            offset: blob.offset,
                            length: blob.length,
                            uncompressed_length: blob.uncompressed_length.unwrap_or(0),
                        });
                    }
                }
            }
            if end > 0 {
                self.places.packs.push(Pack { id: pack.id, end });
            }
        }
    }

    fn finish(mut self) -> Known {
        self.places.places.sort_unstable_by_key(|place| place.id);
        self.places.places.shrink_to_fit();
        Known {
            membership: Membership::from_prefixes(self.data, self.trees),
            trees: self.places,
        }
    }
}

fn short(id: &BlobId) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}
