//! What the catalog knows of clusters.

use std::collections::BTreeMap;

use crate::{
    catalog::{Catalog, CatalogError, SnapshotFilter},
    model::{DatasetName, WalArchive, WalHistory},
};

use super::{Base, Cluster};

/// The clusters of a dataset: usually one, but a connection may come to lead to
/// another server.
pub type Clusters = Vec<Cluster>;

/// Base backups of a dataset that are looked at, the newest.
const MOST_BASES: u32 = 10_000;

/// Loads what is known of a dataset's clusters; the one with the newest base
/// backup comes last. A dataset that has log but no base backup yet has a
/// cluster without one.
pub async fn load(catalog: &Catalog, dataset: &DatasetName) -> Result<Clusters, CatalogError> {
    let filter = SnapshotFilter {
        dataset: Some(dataset.clone()),
        ..SnapshotFilter::default()
    };
    let snapshots = catalog.snapshots(&filter, MOST_BASES).await?.items;
    let mut bases: BTreeMap<WalArchive, Vec<Base>> = BTreeMap::new();
    // Oldest first.
    for snapshot in snapshots.into_iter().rev() {
        if let Some(point) = snapshot.result.cluster {
            let archive = WalArchive {
                repository: snapshot.repository,
                system: point.system,
            };
            bases.entry(archive).or_default().push(Base {
                snapshot: snapshot.id,
                taken: snapshot.time,
                point,
            });
        }
    }
    let progress = catalog.wal_progress().await?;
    let progress = progress.into_iter().find(|it| it.dataset == *dataset);
    if let Some(progress) = &progress {
        bases
            .entry(WalArchive {
                repository: progress.repository.clone(),
                system: progress.position.system,
            })
            .or_default();
    }
    let mut clusters = Vec::new();
    for (archive, bases) in bases {
        let position = progress.as_ref().filter(|it| {
            it.repository == archive.repository && it.position.system == archive.system
        });
        let position = position.map(|it| it.position.clone());
        clusters.push(cluster(catalog, archive, bases, position).await?);
    }
    clusters.sort_by_key(|it| it.bases.last().map(|base| base.taken));
    Ok(clusters)
}

async fn cluster(
    catalog: &Catalog,
    archive: WalArchive,
    bases: Vec<Base>,
    position: Option<strongroom_wire::wal::WalPosition>,
) -> Result<Cluster, CatalogError> {
    let stretches = catalog.wal_stretches(&archive).await?;
    let histories = catalog.wal_histories(&archive).await?;
    let mut last_commits = Vec::new();
    for stretch in &stretches {
        let last = catalog.last_commit_before(&archive, stretch.timeline, stretch.end);
        if let Some(at) = last.await? {
            last_commits.push((*stretch, at));
        }
    }
    Ok(Cluster {
        system: archive.system,
        repository: archive.repository,
        bases,
        stretches,
        histories: histories
            .into_iter()
            .map(|it| WalHistory {
                timeline: it.timeline,
                legs: it.legs,
            })
            .collect(),
        position,
        last_commits,
    })
}
