//! What the catalog knows of clusters.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use jiff::Timestamp;
use strongroom_layout::{ObjectId, SystemId, position::Lsn};
use strongroom_wire::wal::StoredHistory;

use crate::{
    catalog::{Catalog, CatalogError, SnapshotFilter, WalLines},
    model::{DatasetName, WalArchive, WalBreak, WalHistory, WalStretch},
};

use super::{Base, Cluster};

/// The clusters of a dataset: usually one, but a connection may come to lead to
/// another server, and a cluster is once more here for each line of its log.
pub type Clusters = Vec<Cluster>;

/// Base backups of a dataset that are looked at, the newest.
const MOST_BASES: u32 = 10_000;

/// Loads what is known of a dataset's clusters; the one with the newest base
/// backup comes last. A dataset that has log but no base backup yet has a
/// cluster without one.
pub async fn load(catalog: &Catalog, dataset: &DatasetName) -> Result<Clusters, CatalogError> {
    let filter = SnapshotFilter {
        dataset: Some(dataset.clone()),
        there: true,
        ..SnapshotFilter::default()
    };
    let snapshots = catalog.snapshots(&filter, MOST_BASES).await?.items;
    let mut bases: BTreeMap<WalArchive, Vec<Base>> = BTreeMap::new();
    let mut lines = Lines::new(catalog, dataset);
    // Oldest first.
    for snapshot in snapshots.into_iter().rev() {
        if let Some(point) = snapshot.result.cluster {
            let archive = WalArchive {
                line: lines
                    .of(&snapshot.repository, point.system, snapshot.id)
                    .await?,
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
                line: progress.line,
            })
            .or_default();
    }
    let mut clusters = Vec::new();
    for (archive, bases) in bases {
        let position = progress.as_ref().filter(|it| {
            it.repository == archive.repository
                && it.position.system == archive.system
                && it.line == archive.line
        });
        let position = position.map(|it| it.position.clone());
        let broken = lines.end_of(&archive).await?;
        let known = cluster(catalog, (dataset, archive), bases, position, broken);
        clusters.push(known.await?);
    }
    clusters.sort_by_key(|it| it.bases.last().map(|base| base.taken));
    Ok(clusters)
}

/// The lines of a dataset's clusters, each of which is asked for once.
struct Lines<'a> {
    catalog: &'a Catalog,
    dataset: &'a DatasetName,
    known: BTreeMap<(String, SystemId), WalLines>,
    /// When each snapshot of a repository was begun.
    begun: BTreeMap<String, BTreeMap<ObjectId, Timestamp>>,
}

impl<'a> Lines<'a> {
    fn new(catalog: &'a Catalog, dataset: &'a DatasetName) -> Self {
        Self {
            catalog,
            dataset,
            known: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// The line that a base backup is of: the one that went on when it was begun.
    async fn of(
        &mut self,
        repository: &str,
        system: SystemId,
        base: ObjectId,
    ) -> Result<u32, CatalogError> {
        if self.all(repository, system).await?.is_one() {
            return Ok(0);
        }
        let begun = if let Some(begun) = self.begun.get(repository) {
            begun.get(&base).copied()
        } else {
            let all = self.catalog.snapshots_begun(repository).await?;
            let begun = all.get(&base).copied();
            self.begun.insert(repository.to_owned(), all);
            begun
        };
        let dataset = self.dataset;
        let lines = self.all(repository, system).await?;
        Ok(lines.at(dataset, begun.unwrap_or(Timestamp::MAX)))
    }

    async fn end_of(&mut self, archive: &WalArchive) -> Result<Option<WalBreak>, CatalogError> {
        let dataset = self.dataset;
        let lines = self.all(&archive.repository, archive.system).await?;
        Ok(lines.end(dataset, archive.line).cloned())
    }

    async fn all(&mut self, repository: &str, system: SystemId) -> Result<&WalLines, CatalogError> {
        let key = (repository.to_owned(), system);
        Ok(match self.known.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let lines = self.catalog.wal_lines(repository, system).await?;
                unknown.insert(lines)
            }
        })
    }
}

async fn cluster(
    catalog: &Catalog,
    (dataset, archive): (&DatasetName, WalArchive),
    bases: Vec<Base>,
    position: Option<strongroom_wire::wal::WalPosition>,
    broken: Option<WalBreak>,
) -> Result<Cluster, CatalogError> {
    let stretches = catalog.wal_stretches(&archive).await?;
    let histories = catalog.wal_histories(&archive).await?;
    let up_to = |stretch| {
        let ends = ends(stretch, &histories).into_iter();
        ends.map(|end| WalStretch { end, ..*stretch })
    };
    let last_commits: Vec<_> = stretches.iter().flat_map(up_to).collect();
    let places: Vec<_> = last_commits
        .iter()
        .map(|it| (it.timeline, it.end))
        .collect();
    let commits = catalog.last_commits_before(&archive, &places).await?;
    let at = |it: WalStretch| Some((it, *commits.get(&(it.timeline, it.end))?));
    let last_commits = last_commits.into_iter().filter_map(at).collect();
    let mut begun = Vec::new();
    for history in histories {
        let by = catalog.timeline_begun(&archive, &history).await?;
        begun.push(WalHistory {
            timeline: history.timeline,
            begun: by.unwrap_or_else(|| catalog.clock().now()),
            legs: history.legs,
        });
    }
    Ok(Cluster {
        dataset: dataset.clone(),
        system: archive.system,
        repository: archive.repository,
        line: archive.line,
        broken,
        bases,
        stretches,
        histories: begun,
        position,
        last_commits,
    })
}

/// Where a stretch ends, and where its timeline was left in it.
fn ends(stretch: &WalStretch, histories: &[StoredHistory]) -> BTreeSet<Lsn> {
    let legs = histories.iter().flat_map(|it| &it.legs);
    let left = legs.filter(|leg| leg.timeline == stretch.timeline);
    let within = |end: &Lsn| stretch.start < *end && *end < stretch.end;
    let left = left.filter_map(|leg| leg.until).filter(within);
    left.chain([stretch.end]).collect()
}
