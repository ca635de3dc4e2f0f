//! Keeps what every run reads again: index files and packs of trees.
//!
//! They are kept as they are stored: encrypted with the repository's key, and
//! named by their SHA-256, which is verified before anything is taken from
//! here. Which objects there are is always the repository's word: an index
//! that it no longer lists is removed here, and what it holds is known from
//! its indexes alone. So the worst that a cache can do is to be of no use, and
//! whoever deletes it loses nothing.
//!
//! Tree packs are kept as they are written, which is when they are whole; one
//! that is only read in parts is not fetched whole for the cache's sake.
//!
//! Nothing that goes wrong here fails an operation. It is said once per opened
//! repository, for which then nothing more is written.

mod files;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};

use self::files::Files;
use crate::format::sha256::sha256;

use super::{Body, ByteRange, Listed, SharedStore, Store, StoreError};

/// Bytes that a cache takes unless told otherwise.
pub const DEFAULT_CACHE_SIZE: u64 = 1 << 30;

/// The objects of some repositories, on the local disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Files>);

impl Cache {
    /// Below `directory`, which is made when something is written, of at most
    /// `size` bytes: what was not used for the longest time goes first. One of
    /// 0 bytes keeps nothing.
    pub fn new(directory: &Path, size: u64) -> Self {
        Self(Arc::new(Files::new(directory.join("objects"), size)))
    }

    /// `store`, with the objects of its repository cached. `repository` is the
    /// id in the repository's config.
    pub fn before(&self, store: SharedStore, repository: ObjectId) -> SharedStore {
        if self.0.size == 0 {
            return store;
        }
        Arc::new(CacheStore(Arc::new(Inner {
            store,
            files: Arc::clone(&self.0),
            repository: PathBuf::from(repository.to_string()),
            verified: Mutex::default(),
            complained: AtomicBool::new(false),
        })))
    }
}

/// A store with a cache before it, see [`Cache::before`].
#[derive(Debug)]
struct CacheStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: SharedStore,
    files: Arc<Files>,
    /// Below the cache's directory.
    repository: PathBuf,
    /// Packs whose hash was right when they were first read.
    verified: Mutex<HashSet<ObjectId>>,
    complained: AtomicBool,
}

/// An object that may be cached.
#[derive(Clone, Copy)]
struct Entry {
    kind: ObjectKind,
    id: ObjectId,
}

impl Entry {
    fn of(object: ObjectName) -> Option<Self> {
        match object {
            ObjectName::Hashed(kind @ (ObjectKind::Index | ObjectKind::TreePack), id) => {
                Some(Self { kind, id })
            }
            _ => None,
        }
    }
}

impl Inner {
    /// What the cache has of an object, if it is right. Blocks.
    fn read(&self, entry: Entry, range: Option<ByteRange>) -> Option<Bytes> {
        let path = self.path(entry);
        let file = match files::open(&path) {
            Ok(file) => file?,
            Err(error) => {
                self.complain("read", &path, &error);
                return None;
            }
        };
        let trusted = self.verified.lock().contains(&entry.id);
        let read = match range {
            // Whoever reads all of it can as well be sure.
            None => files::read_whole(&file, entry.id),
            Some(range) if trusted => files::read_range(&file, range),
            Some(range) => match files::verify(&file, entry.id) {
                Ok(true) => files::read_range(&file, range),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(Some(bytes)) => {
                if self.verified.lock().insert(entry.id) {
                    files::touch(&file);
                }
                Some(bytes)
            }
            // Damaged, or asked for more than there is: the store knows.
            Ok(None) => {
                tracing::debug!(path = %path.display(), "a cached object is damaged");
                self.forget(entry);
                None
            }
            Err(error) => {
                self.complain("read", &path, &error);
                self.forget(entry);
                None
            }
        }
    }

    /// Keeps an object that the store has. Blocks.
    fn write(&self, entry: Entry, parts: &[Bytes]) {
        if self.complained.load(Relaxed) {
            return;
        }
        let path = self.path(entry);
        if let Err(error) = self.files.write(&path, parts) {
            self.complain("write", &path, &error);
        }
    }

    /// Blocks.
    fn forget(&self, entry: Entry) {
        self.verified.lock().remove(&entry.id);
        self.files.remove(&self.path(entry));
    }

    /// Removes indexes that the repository no longer has, or not whole: nobody else
    /// could read what they list. Blocks.
    fn keep_listed(&self, listed: &[Listed]) {
        let sizes: HashMap<_, _> = listed.iter().map(|it| (it.id, it.size)).collect();
        let directory = self.directory(ObjectKind::Index);
        self.files
            .retain(&directory, |id, size| sizes.get(&id) == Some(&size));
    }

    fn path(&self, entry: Entry) -> PathBuf {
        self.directory(entry.kind).join(entry.id.to_string())
    }

    fn directory(&self, kind: ObjectKind) -> PathBuf {
        let repository = self.files.root.join(&self.repository);
        repository.join(kind.as_str())
    }

    fn complain(&self, action: &str, path: &Path, error: &std::io::Error) {
        if !self.complained.swap(true, Relaxed) {
            tracing::warn!(
                path = %path.display(), %error,
                "cannot {action} the cache; going on without. Check its space, owner and mode, \
                 or delete it"
            );
        }
    }
}

impl CacheStore {
    /// Blocking work on the cache. That a runtime shuts down is no matter.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Option<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await.ok()
    }

    async fn put(&self, object: ObjectName, body: Body) -> Result<(), StoreError> {
        let entry = Entry::of(object).filter(|entry| entry.id == body.sha256);
        let parts = entry.map(|_| body.parts.clone());
        self.0.store.put(object, body).await?;
        // Waited for: the writer wants its buffer back.
        if let (Some(entry), Some(parts)) = (entry, parts) {
            self.blocking(move |inner| inner.write(entry, &parts)).await;
        }
        Ok(())
    }

    async fn get(&self, object: ObjectName, range: Option<ByteRange>) -> Result<Bytes, StoreError> {
        let Some(entry) = Entry::of(object) else {
            return self.0.store.get(object, range).await;
        };
        let cached = self.blocking(move |inner| inner.read(entry, range)).await;
        if let Some(bytes) = cached.flatten() {
            return Ok(bytes);
        }
        let bytes = self.0.store.get(object, range).await?;
        if range.is_none() {
            let whole = bytes.clone();
            let keep = move |inner: &Inner| {
                // What the store damaged is its caller's to refuse.
                if sha256(&whole) == entry.id {
                    inner.write(entry, &[whole]);
                }
            };
            self.blocking(keep).await;
        }
        Ok(bytes)
    }

    async fn list(&self, directory: Directory) -> Result<Vec<Listed>, StoreError> {
        let listed = self.0.store.list(directory).await?;
        if directory != Directory::Index {
            return Ok(listed);
        }
        let keep = listed.clone();
        self.blocking(move |inner| inner.keep_listed(&keep)).await;
        Ok(listed)
    }

    async fn cached(&self, object: ObjectName) -> Option<Bytes> {
        let entry = Entry::of(object)?;
        self.blocking(move |inner| inner.read(entry, None))
            .await
            .flatten()
    }

    async fn remove(&self, object: ObjectName) -> Result<(), StoreError> {
        if let Some(entry) = Entry::of(object) {
            self.blocking(move |inner| inner.forget(entry)).await;
        }
        self.0.store.remove(object).await
    }
}

impl Store for CacheStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.put(object, body))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(self.get(object, range))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(self.list(directory))
    }

    fn cached(&self, object: ObjectName) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(self.cached(object))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.remove(object))
    }
}
