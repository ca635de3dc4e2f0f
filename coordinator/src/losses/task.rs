//! The task that compares all repositories with their stores, day by day.

use std::{collections::HashSet, time::Duration};

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::compare::{CompareError, compare};
use crate::{
    catalog::{Catalog, CatalogError},
    model::Repository,
    stores::Stores,
};

/// Each repository is compared once in this time.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Repositories that are due are looked for when the catalog changes, and so often.
const ROUND: Duration = Duration::from_mins(1);

/// Compares, one repository after the other.
#[derive(Debug)]
pub struct Comparer {
    catalog: Catalog,
    stores: Stores,
}

impl Comparer {
    /// Of what `catalog` knows in `stores`.
    pub fn new(catalog: Catalog, stores: Stores) -> Self {
        Self { catalog, stores }
    }

    /// Works until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut failed = HashSet::new();
        let work = async {
            loop {
                // Repositories of stores that failed wait for the next round by the
                // clock: changes of the catalog come many a second.
                let woken = tokio::time::timeout(ROUND, changes.changed()).await;
                if woken.is_err() {
                    failed.clear();
                }
                if let Err(error) = self.round(&mut failed).await {
                    tracing::warn!(%error, "cannot compare stores with the catalog");
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = cancel.cancelled() => {}
        }
    }

    /// Compares what is due, but for what lies in stores that have `failed`: one that
    /// fails keeps no other from being compared.
    pub async fn round(&self, failed: &mut HashSet<String>) -> Result<(), CatalogError> {
        let before = self.catalog.clock().now() - EVERY;
        for repository in self.catalog.repositories_to_compare(before).await? {
            let Some(store) = self.stores.get(&repository.store) else {
                continue;
            };
            if failed.contains(&repository.store) {
                continue;
            }
            match compare(&self.catalog, &store.client, &repository).await {
                Ok(found) if found.lost_count > 0 => tell(&repository, found.lost_count),
                Ok(_) => {}
                Err(CompareError::Catalog(error)) => return Err(error),
                Err(CompareError::Store(error)) => {
                    failed.insert(repository.store.clone());
                    let repository = &repository.name;
                    tracing::warn!(%error, repository, "cannot compare a repository with its store");
                }
            }
        }
        Ok(())
    }
}

fn tell(repository: &Repository, lost: u64) {
    tracing::error!(
        repository = repository.name,
        lost,
        "the store has lost objects; see `strongroom repositories losses`"
    );
}
