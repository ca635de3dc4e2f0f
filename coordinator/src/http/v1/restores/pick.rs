//! Which snapshot a restore takes, and how far it is rolled forward.

use jiff::Timestamp;
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_wire::job::Recovery;

use crate::{
    catalog::{Catalog, SnapshotCursor, SnapshotFilter},
    http::{
        problem::{Code, Problem},
        shape::{ClusterTarget, RestorePoint, RestoreRequest},
    },
    model::{DatasetName, Snapshot, WalArchive},
    recovery::{Cluster, Target, Unreachable, choose, load},
};

/// What a restore takes.
#[derive(Debug)]
pub(super) struct Picked {
    /// Which snapshot.
    pub(super) snapshot: Snapshot,
    /// What is replayed on top of it.
    pub(super) recovery: Option<Recovery>,
}

/// Picks, and makes a cluster's directory of the target of a dataset that is a
/// cluster.
pub(super) async fn pick(
    catalog: &Catalog,
    request: &mut RestoreRequest,
) -> Result<Picked, Problem> {
    let timeline = request.timeline.map(TimelineId);
    let until = request.until.clone();
    let until = until.as_ref();
    let Some(dataset) = &request.dataset else {
        let snapshot = catalog.find_snapshot(&request.snapshot).await?;
        if request.until.is_none() && timeline.is_none() {
            return Ok(Picked {
                snapshot,
                recovery: None,
            });
        }
        let clusters = load(catalog, &snapshot.dataset).await?;
        let cluster = clusters.into_iter().find_map(|mut cluster| {
            cluster.bases.retain(|base| base.snapshot == snapshot.id);
            (!cluster.bases.is_empty()).then_some(cluster)
        });
        let cluster = cluster.ok_or_else(|| no_cluster(&snapshot.id.short()))?;
        return roll(catalog, &cluster, until, timeline, request.dry_run).await;
    };
    let dataset = find(catalog, dataset).await?;
    let clusters = load(catalog, &dataset).await?;
    let rolls = (request.target.is_some() && request.paths.is_empty()) || request.cluster.is_some();
    if clusters.is_empty() || !rolls {
        return newest(catalog, &dataset, until).await;
    }
    let picked = roll_one(catalog, &clusters, until, timeline, request.dry_run).await?;
    if let Some(directory) = request.target.take() {
        request.cluster = Some(ClusterTarget {
            directory,
            tablespaces: Vec::new(),
            start: false,
            keep_settings: false,
        });
    }
    Ok(picked)
}

/// The newest snapshot, or the newest at a moment.
async fn newest(
    catalog: &Catalog,
    dataset: &DatasetName,
    until: Option<&RestorePoint>,
) -> Result<Picked, Problem> {
    let before = match until {
        None => None,
        Some(RestorePoint::Time(at)) => Some(just_behind(*at)),
        Some(_) => return Err(no_cluster(&dataset.to_string())),
    };
    let filter = SnapshotFilter {
        dataset: Some(dataset.clone()),
        before,
        ..SnapshotFilter::default()
    };
    let snapshot = catalog.snapshots(&filter, 1).await?.items.pop();
    let snapshot = snapshot.ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("dataset {dataset} has no snapshot of that time or before"),
        )
        .hint("see `strongroom snapshots list`")
    })?;
    Ok(Picked {
        snapshot,
        recovery: None,
    })
}

fn just_behind(at: Timestamp) -> SnapshotCursor {
    SnapshotCursor {
        time: at
            .saturating_add(jiff::SignedDuration::from_micros(1))
            .unwrap_or(at),
        id: strongroom_layout::ObjectId([0xff; 32]),
    }
}

/// Rolls the cluster forward that has the newest base backup, or else the newest
/// that can be: the connection may have led to another one at that moment, or the
/// log have been another. What is wrong with the newest is said.
async fn roll_one(
    catalog: &Catalog,
    clusters: &[Cluster],
    until: Option<&RestorePoint>,
    timeline: Option<TimelineId>,
    dry_run: bool,
) -> Result<Picked, Problem> {
    let mut first = None;
    for cluster in clusters.iter().rev() {
        match roll(catalog, cluster, until, timeline, dry_run).await {
            // The end of the log is that of the newest.
            Err(problem) if until.is_some() || timeline.is_some() => {
                first.get_or_insert(problem);
            }
            picked => return picked,
        }
    }
    Err(first.unwrap_or_else(|| unreachable(&Unreachable::NoBase)))
}

async fn roll(
    catalog: &Catalog,
    cluster: &Cluster,
    until: Option<&RestorePoint>,
    timeline: Option<TimelineId>,
    dry_run: bool,
) -> Result<Picked, Problem> {
    let target = target(catalog, cluster, until).await?;
    let chosen = choose(cluster, &target, timeline).map_err(|error| unreachable(&error))?;
    let snapshot = catalog
        .find_snapshot(&chosen.base.snapshot.to_string())
        .await?;
    // Nothing was archived behind it: the snapshot is all there is, and whole.
    let alone = target == Target::Latest && chosen.recovery.end <= chosen.base.point.stop;
    let mut recovery = (!alone).then_some(chosen.recovery);
    if let Some(recovery) = recovery.as_mut().filter(|_| !dry_run) {
        let archive = WalArchive {
            repository: cluster.repository.clone(),
            system: cluster.system,
            line: cluster.line,
        };
        let bases = cluster.bases.iter().map(|base| base.point.timeline);
        let known = bases.max().unwrap_or(TimelineId(1));
        recovery.new_timeline = Some(catalog.reserve_timeline(&archive, known).await?);
    }
    Ok(Picked { snapshot, recovery })
}

async fn target(
    catalog: &Catalog,
    cluster: &Cluster,
    until: Option<&RestorePoint>,
) -> Result<Target, Problem> {
    let archive = WalArchive {
        repository: cluster.repository.clone(),
        system: cluster.system,
        line: cluster.line,
    };
    Ok(match until {
        None => Target::Latest,
        Some(RestorePoint::Time(at)) => Target::Time(*at),
        Some(RestorePoint::Lsn(lsn)) => {
            let parsed: Result<Lsn, _> = lsn.parse();
            let wrong = |error| invalid(format!("{error}")).hint("write it like 16/B374D848");
            Target::Lsn(parsed.map_err(wrong)?)
        }
        Some(RestorePoint::Xid(xid)) => {
            let parts = catalog.wal_parts_with_xid(&archive, *xid).await?;
            let parts = parts.iter().map(|it| (it.timeline, it.start, it.end));
            Target::Xid(*xid, parts.collect())
        }
        Some(RestorePoint::Name(name)) => {
            let points = catalog.wal_restore_points(&archive, name).await?;
            let places = points.iter().map(|it| (it.timeline, it.point.lsn));
            Target::RestorePoint(name.clone(), places.collect())
        }
    })
}

/// A dataset by its name, or by its policy's if that has one only.
async fn find(catalog: &Catalog, name: &str) -> Result<DatasetName, Problem> {
    if let Ok(dataset) = name.parse() {
        return Ok(dataset);
    }
    let known = catalog.latest_snapshots().await?;
    let mut found: Vec<&DatasetName> = known.keys().filter(|it| it.policy == name).collect();
    found.sort();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Problem::new(
            Code::NotFound,
            format!("no snapshot of a dataset {name:?} is there"),
        )
        .hint("name a policy, or a dataset as policy@agent; see `strongroom status`")),
        _ => {
            let all: Vec<_> = found.iter().map(ToString::to_string).collect();
            Err(
                invalid(format!("several agents have datasets of policy {name:?}"))
                    .hint(format!("say which: {}", all.join(", "))),
            )
        }
    }
}

fn no_cluster(what: &str) -> Problem {
    invalid(format!("{what} is no physical backup of PostgreSQL"))
        .hint("only such a backup can be rolled forward; of other datasets --at takes a snapshot")
}

fn unreachable(error: &Unreachable) -> Problem {
    invalid(error.to_string()).hint("`strongroom status` shows what can be recovered")
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::Invalid, message)
}
