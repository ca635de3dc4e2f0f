//! What a repository holds when a run begins.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};

use super::{
    claims::{
        self, Doubt,
        proven::{self, Proven},
    },
    journal::{JournalDirectory, inherit::Inheritance},
    losses::{Comparison, LostPack, Sizes},
    membership::{Membership, Prefixes},
};
use crate::{
    Repository, RepositoryError,
    format::{
        blob::{BlobId, BlobKind, BlobLocation},
        index::{IndexFile, IndexPack},
    },
    read::{ReadError, Trouble},
    store::Body,
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
    /// Index files that are damaged, or not to be believed: what they alone list
    /// is stored again.
    pub trouble: Vec<Trouble>,
    /// Packs that the store has lost, with those of their blobs that lie nowhere
    /// else. They are known no more.
    pub lost: Vec<LostPack>,
    /// Packs of trees that the store had lost and that were put back from the cache.
    pub put_back: u64,
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
    /// Where a tree lies, each time with where the last tree of that pack ends.
    pub fn find(&self, id: &BlobId) -> impl Iterator<Item = (BlobLocation, u32)> + use<'_> {
        let wanted = short(id);
        let first = self.places.partition_point(|place| place.id < wanted);
        let places = self.places[first..].iter();
        places
            .take_while(move |place| place.id == wanted)
            .filter_map(|place| {
                let pack = self.packs.get(place.pack as usize)?;
                let location = BlobLocation {
                    pack: pack.id,
                    offset: place.offset,
                    length: place.length,
                    uncompressed_length: Some(place.uncompressed_length)
                        .filter(|length| *length > 0),
                };
                Some((location, pack.end))
            })
    }
}

impl Known {
    /// Loads all indexes, as far as they are true. What is listed only by one
    /// that is damaged, or that lies, is stored again, which heals the
    /// repository. Looks at every pack: [`Known::resume`] remembers them.
    pub async fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        let mut inherited = Inheritance::default();
        let compare = Comparison::always();
        let loader = Loader::load(repository, Proven::default(), compare, &mut inherited).await?;
        Ok(loader.finish())
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
        let remembered = move || {
            let inherited = Inheritance::take_over(&directory, &key);
            // Whoever compares meanwhile notes what is lost, and then that it did.
            let compare = Comparison::of(&directory);
            (inherited, compare, Proven::load(&directory, &key))
        };
        let (mut inherited, compare, proven) = blocking(remembered).await?;
        let mut loader = Loader::load(repository, proven, compare, &mut inherited).await?;
        if !inherited.is_empty() && !loader.inherit(&mut inherited, journals).await? {
            return Ok(loader.finish());
        }
        blocking(move || inherited.settle()).await?;
        Ok(loader.finish())
    }
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

/// An index file, or what is wrong with it. Fails when the store does.
async fn load(
    repository: &Repository,
    id: ObjectId,
) -> Result<Result<IndexFile, Trouble>, RepositoryError> {
    let object = ObjectName::Hashed(ObjectKind::Index, id);
    let loaded = repository
        .load_unpacked(object)
        .await
        .and_then(|json| IndexFile::decode(&json).map_err(RepositoryError::in_object(object)));
    let error = match loaded {
        Ok(index) => return Ok(Ok(index)),
        Err(error) => error,
    };
    match ReadError::from_repository(object, error) {
        ReadError::Damaged { damage, .. } => Ok(Err(Trouble {
            object: object.to_string(),
            cause: format!("{damage}; it was passed over, what only it lists is stored again"),
        })),
        ReadError::Store(error) => Err(error.into()),
        ReadError::Repository(error) => Err(error),
        // Of these a load makes none.
        _ => Err(RepositoryError::Interrupted),
    }
}

/// Writes a pack again that the store has lost, if the cache has it. Whether it is
/// there again.
async fn put_back(repository: &Repository, pack: ObjectName) -> bool {
    let Some(bytes) = repository.store().cached(pack).await else {
        return false;
    };
    match repository.store().put(pack, Body::new(bytes)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%pack, %error, "cannot put back what the store has lost");
            false
        }
    }
}

fn log(index: ObjectId, doubts: &[Doubt]) {
    /// Somebody may have listed a million.
    const MOST: usize = 20;
    for Doubt { pack, cause, .. } in doubts.iter().take(MOST) {
        tracing::warn!(%index, %pack, cause, "an index is not believed about a pack");
    }
}

/// The packs of an index file that the store has lost.
struct Lost {
    packs: Vec<IndexPack>,
    /// Those that were lost when they were last looked for.
    before: HashSet<ObjectId>,
    /// They were lost, and are there again.
    returned: HashSet<ObjectId>,
}

struct Loader<'a> {
    repository: &'a Repository,
    proven: Proven,
    data: Prefixes,
    trees: Prefixes,
    places: TreePlaces,
    trouble: Vec<Trouble>,
    /// `None`: the packs of the store are not compared this time.
    sizes: Option<Sizes>,
    lost: Vec<LostPack>,
    /// Several index files may name one.
    seen_lost: HashSet<ObjectId>,
    /// Index files, and what was found lost of them for the first time.
    news: Vec<(ObjectId, ObjectId)>,
    put_back: u64,
}

impl<'a> Loader<'a> {
    async fn load(
        repository: &'a Repository,
        proven: Proven,
        compare: Comparison,
        inherited: &mut Inheritance,
    ) -> Result<Self, RepositoryError> {
        let files = repository.store().list(Directory::Index).await?;
        // Behind the index files: their packs were there before them.
        let sizes = if compare.is_due && !files.is_empty() {
            Some(Sizes::list(repository.store()).await?)
        } else {
            None
        };
        let packs = sizes.as_ref().map(Sizes::count);
        let mut loader = Self {
            repository,
            proven,
            data: Prefixes::default(),
            trees: Prefixes::default(),
            places: TreePlaces::default(),
            trouble: Vec::new(),
            sizes,
            lost: Vec::new(),
            seen_lost: HashSet::new(),
            news: Vec::new(),
            put_back: 0,
        };
        let listed: HashSet<ObjectId> = files.iter().map(|file| file.id).collect();
        let mut indexes = stream::iter(files)
            .map(|file| async move { (file.id, load(repository, file.id).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((id, index)) = indexes.next().await {
            match index? {
                Ok(index) => {
                    inherited.drop_listed(&id, &index);
                    loader.believe(id, index).await?;
                }
                Err(trouble) => loader.trouble.push(trouble),
            }
        }
        drop(indexes);
        loader.proven.keep(repository.key(), &listed);
        if let Some(packs) = packs
            && loader.proven.is_kept()
        {
            compare.note(packs);
        }
        Ok(loader)
    }

    /// Adds what an index file says truly.
    async fn believe(&mut self, id: ObjectId, mut index: IndexFile) -> Result<(), RepositoryError> {
        let mut lost = self.take_lost(id, &mut index);
        self.put_back(&mut lost, &mut index).await;
        let known_bad: Option<HashSet<ObjectId>> = self
            .proven
            .verdict(&id)
            .map(|bad| bad.iter().copied().collect());
        let to_look_at: Vec<&IndexPack> = match &known_bad {
            // What was lost when the others were looked at, and is back.
            Some(_) => {
                let back = |pack: &&IndexPack| lost.returned.contains(&pack.id);
                index.packs.iter().filter(back).collect()
            }
            None => index.packs.iter().collect(),
        };
        let is_news = known_bad.is_none() || !to_look_at.is_empty();
        let doubts = claims::doubts(self.repository, to_look_at).await?;
        log(id, &doubts);
        // A pack that is gone proves nothing about what said that it is there.
        let (gone, doubts): (Vec<Doubt>, Vec<Doubt>) =
            doubts.into_iter().partition(|doubt| doubt.is_gone);
        let gone: HashSet<ObjectId> = gone.iter().map(|doubt| doubt.pack).collect();
        let gone = index.packs.extract_if(.., |pack| gone.contains(&pack.id));
        lost.packs.extend(gone);
        let is_final = doubts.iter().all(|doubt| doubt.is_final);
        let mut bad = known_bad.unwrap_or_default();
        bad.retain(|pack| !lost.returned.contains(pack));
        bad.extend(doubts.iter().map(|doubt| doubt.pack));
        if is_final && is_news {
            let bad = bad.iter().copied().collect();
            self.proven.add(self.repository.key(), id, bad);
        }
        let mut still: HashSet<ObjectId> = lost.packs.iter().map(|pack| pack.id).collect();
        if !is_final {
            // They are to be looked at again.
            still.extend(lost.returned);
        }
        if still != lost.before {
            let still = still.into_iter().collect();
            self.proven.note_lost(self.repository.key(), id, still);
        }
        for pack in lost.packs {
            if !lost.before.contains(&pack.id) {
                self.news.push((id, pack.id));
            }
            if self.seen_lost.insert(pack.id) {
                self.lost.push(LostPack::from(pack));
            }
        }
        if let Some(one) = bad.iter().next() {
            self.trouble.push(Trouble {
                object: ObjectName::index(id).to_string(),
                cause: format!(
                    "it says of {} packs, {one} among them, what these do not hold; what only \
                     it lists of them is stored again",
                    bad.len(),
                ),
            });
            index.packs.retain(|pack| !bad.contains(&pack.id));
        }
        self.add(index);
        Ok(())
    }

    /// Takes the packs out of an index file that the store has lost.
    fn take_lost(&mut self, id: ObjectId, index: &mut IndexFile) -> Lost {
        let before: HashSet<ObjectId> = self.proven.lost(&id).iter().copied().collect();
        let is_lost = |pack: &mut IndexPack| match &self.sizes {
            // Who lists no blobs claims nothing.
            Some(sizes) => !pack.blobs.is_empty() && !sizes.has(pack),
            None => before.contains(&pack.id),
        };
        let packs: Vec<IndexPack> = index.packs.extract_if(.., is_lost).collect();
        let gone: HashSet<ObjectId> = packs.iter().map(|pack| pack.id).collect();
        Lost {
            returned: before.difference(&gone).copied().collect(),
            before,
            packs,
        }
    }

    /// Packs of trees are in the cache, as a rule. What is back is looked at like all
    /// that comes back; the rest is lost.
    async fn put_back(&mut self, lost: &mut Lost, index: &mut IndexFile) {
        for pack in std::mem::take(&mut lost.packs) {
            let name = pack.name();
            if name.kind() == ObjectKind::TreePack && put_back(self.repository, name).await {
                self.put_back += 1;
                lost.returned.insert(pack.id);
                index.packs.push(pack);
            } else {
                lost.packs.push(pack);
            }
        }
    }

    /// Lists what interrupted runs stored in index files of this run; gives
    /// whether all is listed, or of no use.
    async fn inherit(
        &mut self,
        inherited: &mut Inheritance,
        journals: &JournalDirectory,
    ) -> Result<bool, RepositoryError> {
        let listed = match self.sizes.take() {
            Some(sizes) => Ok(sizes),
            None => Sizes::list(self.repository.store()).await,
        };
        let sizes = match listed {
            Ok(sizes) => sizes,
            Err(error) => {
                tracing::warn!(%error, "cannot see which packs of an interrupted run are there; \
                    some are uploaded again");
                return Ok(false);
            }
        };
        let mut written = Vec::new();
        for id in inherited.take_unlisted() {
            // Gone or damaged: of no use.
            if let Ok(index) = load(self.repository, id).await? {
                let is_proven = self.proven.verdict(&id).is_some_and(<[_]>::is_empty);
                written.extend(self.list_anew(index, &sizes, is_proven).await?);
            }
        }
        for index in inherited.take_indexes() {
            written.extend(self.list_anew(index, &sizes, false).await?);
        }
        let (directory, key) = (journals.clone(), self.repository.key().clone());
        let noted = blocking(move || {
            for index in &written {
                proven::note_own(&directory, &key, *index);
            }
            directory.note_indexes(&key, &written)
        });
        if let Err(error) = noted.await? {
            tracing::warn!(%error, "cannot note what was found of an interrupted run");
            return Ok(false);
        }
        Ok(true)
    }

    /// Lists in an index of this run what one of an interrupted run, or its
    /// notes, list truly; gives its id unless that is nothing.
    async fn list_anew(
        &mut self,
        mut index: IndexFile,
        sizes: &Sizes,
        is_proven: bool,
    ) -> Result<Option<ObjectId>, RepositoryError> {
        index.packs.retain(|pack| {
            let is_there = sizes.has(pack);
            if !is_there {
                tracing::debug!(pack = %pack.id.short(),
                    "a pack of an interrupted run is not there, or not whole");
            }
            is_there
        });
        if !is_proven {
            let doubts = claims::doubts(self.repository, &index.packs).await?;
            let bad: HashSet<_> = doubts.iter().map(|doubt| doubt.pack).collect();
            index.packs.retain(|pack| !bad.contains(&pack.id));
        }
        if index.packs.is_empty() {
            return Ok(None);
        }
        let json = encode(&index)?;
        let id = self
            .repository
            .save_unpacked(ObjectKind::Index, &json)
            .await?;
        tracing::info!(
            packs = index.packs.len(),
            "what an interrupted run stored was found again"
        );
        self.add(index);
        Ok(Some(id))
    }

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

    /// What an index file says of packs that are not there is told once, though all of
    /// it lies elsewhere: it was lost and stored again, or never was.
    fn told(news: &[(ObjectId, ObjectId)], elsewhere: &[LostPack]) -> Vec<Trouble> {
        let packs: HashSet<_> = elsewhere.iter().filter_map(|it| it.pack.id()).collect();
        let mut named: BTreeMap<ObjectId, (ObjectId, usize)> = BTreeMap::new();
        for (index, pack) in news.iter().filter(|(_, pack)| packs.contains(pack)) {
            named.entry(*index).or_insert((*pack, 0)).1 += 1;
        }
        let told = named.into_iter().map(|(index, (pack, count))| Trouble {
            object: ObjectName::index(index).to_string(),
            cause: format!(
                "it says of {count} packs, {pack} among them, what is not in the store; all that \
                 they are to hold lies elsewhere"
            ),
        });
        told.collect()
    }

    fn finish(mut self) -> Known {
        self.places.places.sort_unstable_by_key(|place| place.id);
        self.places.places.shrink_to_fit();
        let membership = Membership::from_prefixes(self.data, self.trees);
        for pack in &mut self.lost {
            pack.blobs
                .retain(|blob| !membership.contains(blob.kind, blob.id));
        }
        let (lost, elsewhere): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lost)
            .into_iter()
            .partition(|pack| !pack.blobs.is_empty());
        self.lost = lost;
        self.trouble.extend(Self::told(&self.news, &elsewhere));
        Known {
            membership,
            trees: self.places,
            trouble: self.trouble,
            lost: self.lost,
            put_back: self.put_back,
        }
    }
}

fn short(id: &BlobId) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}
