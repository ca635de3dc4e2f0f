//! All stores of the configuration, by name.

use std::{collections::BTreeMap, sync::Arc};

use strongroom_runtime::clock::SharedClock;

use super::{StoreClient, StoreConfig, StoreError};
use crate::grants::sign::{SignError, Signer};

/// One store: the coordinator's own client, and what signs for agents.
#[derive(Debug)]
pub struct Store {
    /// For the coordinator itself.
    pub client: StoreClient,
    /// For agents.
    pub signer: Signer,
}

/// Every configured store; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stores(Arc<BTreeMap<String, Store>>);

/// A store whose configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NewStoreError {
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] StoreError),
    /// Nothing can be signed.
    #[error(transparent)]
    Signer(#[from] SignError),
}

impl Stores {
    /// Makes clients and signers; talks to no store yet. Of two stores with
    /// one name the last counts.
    pub fn new(
        configs: impl IntoIterator<Item = StoreConfig>,
        clock: &SharedClock,
    ) -> Result<Self, NewStoreError> {
        let mut stores = BTreeMap::new();
        for config in configs {
            let store = Store {
                signer: Signer::new(config.clone())?,
                client: StoreClient::new(config.clone(), Arc::clone(clock))?,
            };
            stores.insert(config.name, store);
        }
        Ok(Self(Arc::new(stores)))
    }

    /// The store of that name.
    pub fn get(&self, name: &str) -> Option<&Store> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Store)> {
        self.0.iter().map(|(name, store)| (name.as_str(), store))
    }
}
