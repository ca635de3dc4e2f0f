//! All stores of the configuration, by name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use strongroom_layout::ObjectName;
use strongroom_runtime::clock::SharedClock;
use strongroom_wire::grant::{Action, Grant};

use super::{
    NotSigned, Outage, Risk, Standing, StoreClient, StoreConfig, StoreError, check::keeper::Gate,
    watch::Reach,
};
use crate::stores::sign::{self, PutTerms, SignError, Signer};

/// One store: the coordinator's own client, and what signs for agents.
#[derive(Debug)]
pub struct Store {
    /// For the coordinator itself.
    pub client: StoreClient,
    /// For agents; reached through [`Store::signing`] only.
    pub(super) signer: Signer,
    pub(super) gate: Gate,
    pub(super) reach: Reach,
}

/// A store that holds to what is signed, or whose risks were accepted.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    signer: &'a Signer,
    /// What the store knows.
    terms: PutTerms,
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

impl Store {
    /// What signs for this store, once it was checked; waits for the first
    /// check, for some seconds at most.
    pub async fn signing(&self) -> Result<Signing<'_>, NotSigned> {
        self.gate.wait_for_a_first().await;
        let config = self.client.config();
        let judge = |standing: &Standing| {
            let report = standing.trusted(&config.name, &config.accept_risks)?;
            Ok(report.terms)
        };
        let terms = self.gate.judge(judge)?;
        Ok(Signing {
            signer: &self.signer,
            terms,
        })
    }

    /// What is known of it.
    pub fn standing(&self) -> Standing {
        self.gate.standing()
    }

    /// The last time in which it was away; it may be so still.
    pub fn outage(&self) -> Option<Outage> {
        self.reach.last()
    }

    /// Has it checked now, and waits for that; `false`: it took longer than
    /// `patience`.
    pub async fn check(&self, patience: Duration) -> bool {
        self.gate.ask(patience).await
    }

    /// What it lets happen that the configuration does not accept.
    pub fn open_risks(&self) -> Vec<Risk> {
        let accepted = &self.client.config().accept_risks;
        self.gate.judge(|standing| standing.open_risks(accepted))
    }
}

impl Signing<'_> {
    /// Signs for an agent, as [`sign`](Self::sign) does, but so that the store takes
    /// it for a few minutes only.
    pub fn grant(
        &self,
        repository: &str,
        object: &ObjectName,
        action: &Action,
        now: Timestamp,
    ) -> Result<Grant, SignError> {
        let grant = self.sign(repository, object, action, sign::dated(now))?;
        Ok(Grant {
            valid_seconds: sign::GRANT_SECONDS,
            ..grant
        })
    }

    /// Signs `action` on an object of the repository that lies at `repository`,
    /// a path below the store's prefix. What is there already is not replaced,
    /// where the store can tell.
    pub fn sign(
        &self,
        repository: &str,
        object: &ObjectName,
        action: &Action,
        at: Timestamp,
    ) -> Result<Grant, SignError> {
        let key = self.signer.store().object_key(repository, object);
        self.signer.sign(&key, action, self.terms, at)
    }
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
                gate: Gate::default(),
                reach: Reach::default(),
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
