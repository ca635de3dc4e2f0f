//! The task that compares all repositories with their stores, day by day.

use std::time::Duration;

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
/// Repositories that are due are looked for so often.
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
        let work = async {
            loop {
                if let Err(error) = self.round().await {
                    tracing::warn!(%error, "cannot compare stores with the catalog");
                }
                tokio::time::sleep(ROUND).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = cancel.cancelled() => {}
        }
    }

    /// Compares what is due. A store that fails is asked again in the next round,
    /// and keeps no other from being compared.
    pub async fn round(&self) -> Result<(), CatalogError> {
        let before = self.catalog.clock().now() - EVERY;
        for repository in self.catalog.repositories_to_compare(before).await? {
            let Some(store) = self.stores.get(&repository.store) else {
                continue;
            };
            match compare(&self.catalog, &store.client, &repository).await {
                Ok(found) if found.lost_count > 0 => tell(&repository, found.lost_count),
                Ok(_) => {}
                Err(CompareError::Catalog(error)) => return Err(error),
                Err(CompareError::Store(error)) => {
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
