//! The handle to one repository: a store and the key that opens it.

mod error;
mod lock;
mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};
use zeroize::Zeroizing;

pub use error::RepositoryError;
pub use lock::{LockMode, LockOwner, RepositoryLock};

use crate::{
    format::{
        FormatError,
        config::{self, Config},
        crypto::MasterKey,
        key_file::{KeyFile, KeyOwner},
        sha256::sha256,
        unpacked,
    },
    store::{Body, SharedStore},
};

/// An opened repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    store: SharedStore,
    key: Arc<MasterKey>,
    config: Config,
}

impl Repository {
    /// Creates a repository: its key first, its config last, so that one that
    /// has a config is whole. When an earlier attempt wrote the key and then
    /// broke off, goes on with that key if `password` opens it.
    pub async fn create(
        store: SharedStore,
        password: &str,
        owner: KeyOwner,
    ) -> Result<Self, RepositoryError> {
        match store.get(ObjectName::Config, None).await {
            Ok(_) => return Err(RepositoryError::AlreadyExists),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let key = match find_key(&store, password).await {
            Ok(key) => key,
            Err(RepositoryError::NoKeys) => create_key(&store, password, owner).await?,
            Err(error) => return Err(error),
        };
        let in_config = RepositoryError::in_object(ObjectName::Config);
        let (config, sealed) = Config::generate()
            .and_then(|config| Ok((config, key.seal(&config.encode()?)?)))
            .map_err(in_config)?;
        put_config(&store, Bytes::from(sealed)).await?;
        Ok(Self {
            store,
            key: Arc::new(key),
            config,
        })
    }

    /// Opens a repository with the first of its keys that `password` opens.
    pub async fn open(store: SharedStore, password: &str) -> Result<Self, RepositoryError> {
        let sealed = store
            .get(ObjectName::Config, None)
            .await
            .map_err(|error| match error {
                missing if missing.is_not_found() => RepositoryError::NoRepository,
                other => other.into(),
            })?;
        let key = find_key(&store, password).await?;
        let mut json = Vec::new();
        let config = key
            .open_into(&sealed, &mut json)
            .and_then(|()| Config::decode(&json))
            .map_err(RepositoryError::in_object(ObjectName::Config))?;
        Ok(Self {
            store,
            key: Arc::new(key),
            config,
        })
    }

    /// Where its objects lie.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The same repository through another store, such as a decorated one.
    #[must_use]
    pub fn with_store(&self, store: SharedStore) -> Self {
        Self {
            store,
            ..self.clone()
        }
    }

    /// What everything in it is sealed with.
    pub fn key(&self) -> &Arc<MasterKey> {
        &self.key
    }

    /// Its config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Refuses a repository of a version that is only read. Ask before
    /// writing packs.
    pub fn require_writable(&self) -> Result<(), RepositoryError> {
        match self.config.version {
            config::VERSION => Ok(()),
            version => Err(RepositoryError::in_object(ObjectName::Config)(
                FormatError::ReadOnlyVersion { version },
            )),
        }
    }

    /// The stored form of an index, snapshot or lock, and its name; nothing
    /// is written.
    pub fn seal_unpacked(
        &self,
        kind: ObjectKind,
        json: &[u8],
    ) -> Result<(ObjectName, Body), RepositoryError> {
        // Readers lock, too: version 1 knows no compression.
        let plain = kind == ObjectKind::Lock && self.config.version < config::VERSION;
        let plaintext = if plain {
            Ok(json.to_vec())
        } else {
            self.require_writable()?;
            unpacked::encode(kind.as_str(), json)
        };
        let sealed = plaintext
            .and_then(|plaintext| self.key.seal(&plaintext))
            .map_err(|source| RepositoryError::Format {
                object: format!("new {kind}"),
                source,
            })?;
        let body = Body::new(sealed);
        Ok((ObjectName::Hashed(kind, body.sha256), body))
    }

    /// Writes an index, snapshot or lock.
    pub async fn save_unpacked(
        &self,
        kind: ObjectKind,
        json: &[u8],
    ) -> Result<ObjectId, RepositoryError> {
        let (object, body) = self.seal_unpacked(kind, json)?;
        let id = body.sha256;
        self.store.put(object, body).await?;
        Ok(id)
    }

    /// Reads an index, snapshot or lock, verifies that it is the one its name
    /// says, and gives its JSON.
    pub async fn load_unpacked(&self, object: ObjectName) -> Result<Vec<u8>, RepositoryError> {
        let sealed = get_verified(&self.store, object).await?;
        self.open_unpacked(object, &sealed)
    }

    fn open_unpacked(&self, object: ObjectName, sealed: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let mut plaintext = Vec::new();
        self.key
            .open_into(sealed, &mut plaintext)
            .and_then(|()| unpacked::decode(object.kind().as_str(), plaintext))
            .map_err(RepositoryError::in_object(object))
    }
}

/// Reads a whole object whose name is its hash.
async fn get_verified(store: &SharedStore, object: ObjectName) -> Result<Bytes, RepositoryError> {
    let bytes = store.get(object, None).await?;
    let got = sha256(&bytes);
    match object.id() {
        Some(expected) if expected != got => {
            Err(RepositoryError::in_object(object)(FormatError::WrongHash {
                expected,
                got,
            }))
        }
        _ => Ok(bytes),
    }
}

/// Writes the config. Stores may refuse to replace one (coordinators ask them
/// to): when the answer to the first try was lost, the next is refused, though
/// what stands there is ours.
async fn put_config(store: &SharedStore, sealed: Bytes) -> Result<(), RepositoryError> {
    let Err(error) = store
        .put(ObjectName::Config, Body::new(sealed.clone()))
        .await
    else {
        return Ok(());
    };
    match store.get(ObjectName::Config, None).await {
        Ok(found) if found == sealed => Ok(()),
        _ => Err(error.into()),
    }
}

async fn create_key(
    store: &SharedStore,
    password: &str,
    owner: KeyOwner,
) -> Result<MasterKey, RepositoryError> {
    let password = Zeroizing::new(password.to_owned());
    let (key, json) = scrypt_thread("new key".into(), move || {
        let key = MasterKey::generate()?;
        let json = KeyFile::create(&key, &password, owner)?.encode()?;
        Ok((key, json))
    })
    .await?;
    let body = Body::new(json);
    store.put(ObjectName::key(body.sha256), body).await?;
    Ok(key)
}

/// Tries every key. One that is damaged does not keep the others from
/// opening, but is reported before a wrong password is.
async fn find_key(store: &SharedStore, password: &str) -> Result<MasterKey, RepositoryError> {
    let listed = store.list(Directory::Keys).await?;
    let mut damaged = None;
    for key in &listed {
        match try_key(store, ObjectName::key(key.id), password).await {
            Ok(key) => return Ok(key),
            Err(RepositoryError::Format {
                source: FormatError::WrongPassword,
                ..
            }) => {}
            Err(error @ RepositoryError::Format { .. }) => damaged = Some(error),
            // Removed since the directory was listed.
            Err(RepositoryError::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Err(match damaged {
        Some(error) => error,
        None if listed.is_empty() => RepositoryError::NoKeys,
        None => RepositoryError::WrongPassword { keys: listed.len() },
    })
}

async fn try_key(
    store: &SharedStore,
    object: ObjectName,
    password: &str,
) -> Result<MasterKey, RepositoryError> {
    let json = get_verified(store, object).await?;
    let password = Zeroizing::new(password.to_owned());
    scrypt_thread(object.path(), move || {
        KeyFile::decode(&json)?.open(&password)
    })
    .await
}

/// scrypt takes some 90 ms of CPU, too long for an async thread.
async fn scrypt_thread<T: Send + 'static>(
    object: String,
    work: impl FnOnce() -> Result<T, FormatError> + Send + 'static,
) -> Result<T, RepositoryError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| RepositoryError::Interrupted)?
        .map_err(|source| RepositoryError::Format { object, source })
}
