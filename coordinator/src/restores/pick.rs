//! Which snapshot a restore takes, and how far it is rolled forward.

use jiff::Timestamp;
use strongroom_layout::position::TimelineId;
use strongroom_spec::{
    ClusterTarget, Invalid, Recovery, RecoveryTarget, RestoreRequest, Target as To, TargetKind,
};

use super::RestoreError;
use crate::{
    catalog::{Catalog, SnapshotCursor, SnapshotFilter},
    model::{DatasetName, Snapshot, WalArchive},
    recovery::{Chosen, Cluster, Target, Unreachable, choose, load},
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
) -> Result<Picked, RestoreError> {
    let timeline = request.timeline.map(TimelineId);
    let until = request.until.clone();
    let until = until.as_ref();
    let Some(dataset) = &request.dataset else {
        let snapshot = readable(catalog, &request.snapshot).await?;
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
        let chosen = choose_in(catalog, &cluster, until, timeline).await?;
        let chosen = chosen.map_err(|missed| unreachable(&missed))?;
        return take(catalog, &cluster, chosen, request.dry_run).await;
    };
    let dataset = find(catalog, dataset).await?;
    let clusters = load(catalog, &dataset).await?;
    let rolls = match &request.target {
        To::Directory(target) => target.paths.is_empty(),
        target => target.kind() == TargetKind::Cluster,
    };
    if clusters.is_empty() || !rolls {
        return newest(catalog, &dataset, until).await;
    }
    let picked = roll_one(catalog, &clusters, until, timeline, request.dry_run).await?;
    if let To::Directory(target) = &mut request.target {
        let directory = std::mem::take(&mut target.directory);
        request.target = To::Cluster(ClusterTarget {
            directory,
            ..ClusterTarget::default()
        });
    }
    Ok(picked)
}

/// The newest snapshot, or the newest at a moment.
async fn newest(
    catalog: &Catalog,
    dataset: &DatasetName,
    until: Option<&RecoveryTarget>,
) -> Result<Picked, RestoreError> {
    let before = match until {
        None | Some(RecoveryTarget::Latest) => None,
        Some(RecoveryTarget::Time(at)) => Some(just_behind(*at)),
        Some(_) => return Err(no_cluster(&dataset.to_string())),
    };
    let filter = SnapshotFilter {
        dataset: Some(dataset.clone()),
        there: true,
        before,
        ..SnapshotFilter::default()
    };
    let snapshot = catalog.snapshots(&filter, 1).await?.items.pop();
    let snapshot = snapshot.ok_or_else(|| {
        RestoreError::NotFound(
            Invalid::new(format!(
                "dataset {dataset} has no snapshot of that time or before"
            ))
            .hint("see `strongroom snapshots list`"),
        )
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

/// Rolls the cluster forward that has the newest base backup. A moment that is not
/// in its log may be in that of another: the connection may have led to another
/// cluster then, or the log have been another line. Numbers and names mean nothing
/// in another cluster, and little in another line of the same: one that several
/// lines have is asked about. What is wrong with the newest is said.
async fn roll_one(
    catalog: &Catalog,
    clusters: &[Cluster],
    until: Option<&RecoveryTarget>,
    timeline: Option<TimelineId>,
    dry_run: bool,
) -> Result<Picked, RestoreError> {
    let is_end = matches!(until, None | Some(RecoveryTarget::Latest));
    let mut answers = Vec::new();
    for cluster in clusters.iter().rev() {
        let chosen = choose_in(catalog, cluster, until, timeline).await?;
        let has_it = chosen.is_ok();
        answers.push((cluster, chosen));
        // The end of the log is that of the newest.
        if answers.len() == 1 && (has_it || (is_end && timeline.is_none())) {
            break;
        }
    }
    let is_moment = timeline.is_none() && matches!(until, Some(RecoveryTarget::Time(_)));
    let (cluster, rolled) = decide(answers, is_moment)?;
    take(catalog, cluster, rolled, dry_run).await
}

/// Of what the clusters answer, the newest first.
fn decide<T>(
    answers: Vec<(&Cluster, Result<T, Unreachable>)>,
    is_moment: bool,
) -> Result<(&Cluster, T), RestoreError> {
    let mut answers = answers.into_iter();
    let (newest, problem) = match answers.next() {
        None => return Err(unreachable(&Unreachable::NoBase)),
        Some((cluster, Ok(chosen))) => return Ok((cluster, chosen)),
        Some((_, Err(missed))) if !missed.is_elsewhere() => return Err(unreachable(&missed)),
        Some((cluster, Err(missed))) => (cluster, unreachable(&missed)),
    };
    let mut found = Vec::new();
    for (cluster, chosen) in answers.filter(|(it, _)| is_moment || it.system == newest.system) {
        match chosen {
            Ok(chosen) if is_moment => return Ok((cluster, chosen)),
            Ok(chosen) => found.push((cluster, chosen)),
            Err(missed) if missed.is_elsewhere() => {}
            Err(missed) => return Err(unreachable(&missed)),
        }
    }
    if found.len() > 1 {
        let lines: Vec<_> = found.iter().map(|(it, _)| it.line.to_string()).collect();
        return Err(invalid(
            format!(
                "several lines of this cluster's log have it ({}), and the newest does not",
                lines.join(", ")
            ),
            "name the snapshot of the line that you mean instead of the dataset",
        ));
    }
    found.pop().ok_or(problem)
}

/// What reaches the target in a cluster's log, or why nothing does.
async fn choose_in(
    catalog: &Catalog,
    cluster: &Cluster,
    until: Option<&RecoveryTarget>,
    timeline: Option<TimelineId>,
) -> Result<Result<Rolled, Unreachable>, RestoreError> {
    let target = target(catalog, cluster, until).await?;
    let chosen = choose(cluster, &target, timeline);
    Ok(chosen.map(|chosen| Rolled {
        // Nothing was archived behind it: the snapshot is all there is, and whole.
        alone: target == Target::Latest && chosen.recovery.end <= chosen.base.point.stop,
        chosen,
    }))
}

/// What a restore takes of a cluster.
struct Rolled {
    chosen: Chosen,
    /// The snapshot is enough.
    alone: bool,
}

async fn take(
    catalog: &Catalog,
    cluster: &Cluster,
    Rolled { chosen, alone }: Rolled,
    dry_run: bool,
) -> Result<Picked, RestoreError> {
    let snapshot = catalog
        .find_snapshot(&chosen.base.snapshot.to_string())
        .await?;
    let mut recovery = (!alone).then_some(chosen.recovery);
    if let Some(recovery) = recovery.as_mut().filter(|_| !dry_run) {
        let bases = cluster.bases.iter().map(|base| base.point.timeline);
        let known = bases.max().unwrap_or(TimelineId(1));
        let archive = archive(cluster);
        recovery.new_timeline = Some(catalog.reserve_timeline(&archive, known).await?);
    }
    Ok(Picked { snapshot, recovery })
}

fn archive(cluster: &Cluster) -> WalArchive {
    WalArchive {
        repository: cluster.repository.clone(),
        system: cluster.system,
        line: cluster.line,
    }
}

async fn target(
    catalog: &Catalog,
    cluster: &Cluster,
    until: Option<&RecoveryTarget>,
) -> Result<Target, RestoreError> {
    let archive = archive(cluster);
    Ok(match until {
        None | Some(RecoveryTarget::Latest) => Target::Latest,
        Some(RecoveryTarget::Time(at)) => Target::Time(*at),
        Some(RecoveryTarget::Lsn(lsn)) => Target::Lsn(*lsn),
        Some(RecoveryTarget::Xid(xid)) => {
            let parts = catalog.wal_parts_with_xid(&archive, *xid).await?;
            let parts = parts.iter().map(|it| (it.timeline, it.start, it.end));
            Target::Xid(*xid, parts.collect())
        }
        Some(RecoveryTarget::RestorePoint(name)) => {
            let points = catalog.wal_restore_points(&archive, &cluster.dataset, name);
            let points = points.await?;
            let places = points.iter().map(|it| (it.timeline, it.point.lsn));
            Target::RestorePoint(name.clone(), places.collect())
        }
    })
}

/// A dataset by its name, or by its policy's if that has one only.
async fn find(catalog: &Catalog, name: &str) -> Result<DatasetName, RestoreError> {
    if let Ok(dataset) = name.parse() {
        return Ok(dataset);
    }
    let known = catalog.latest_snapshots().await?;
    let mut found: Vec<&DatasetName> = known.keys().filter(|it| it.policy == name).collect();
    found.sort();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(RestoreError::NotFound(
            Invalid::new(format!("no snapshot of a dataset {name:?} is there"))
                .hint("name a policy, or a dataset as policy@agent; see `strongroom status`"),
        )),
        _ => {
            let all: Vec<_> = found.iter().map(ToString::to_string).collect();
            Err(invalid(
                format!("several agents have datasets of policy {name:?}"),
                format!("say which: {}", all.join(", ")),
            ))
        }
    }
}

/// A snapshot that can be read, by its id or the beginning of it.
pub async fn readable(catalog: &Catalog, id: &str) -> Result<Snapshot, RestoreError> {
    let snapshot = catalog.find_snapshot(id).await?;
    let Some(at) = snapshot.lost_at else {
        return Ok(snapshot);
    };
    let gone = format!(
        "the file of snapshot {} is gone from its store; that was noticed at {at}",
        snapshot.id.short()
    );
    Err(RestoreError::Lost(Invalid::new(gone).hint(format!(
        "choose another: `strongroom snapshots list`. If it was put back, `strongroom \
         repositories losses {} --compare` finds it",
        snapshot.repository
    ))))
}

fn no_cluster(what: &str) -> RestoreError {
    invalid(
        format!("{what} is no physical backup of PostgreSQL"),
        "only such a backup can be rolled forward; of other datasets --at takes a snapshot",
    )
}

fn unreachable(error: &Unreachable) -> RestoreError {
    invalid(
        error.to_string(),
        "`strongroom status` shows what can be recovered",
    )
}

fn invalid(message: String, hint: impl Into<String>) -> RestoreError {
    Invalid::new(message).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use strongroom_layout::SystemId;

    use super::*;

    fn line(system: u64, line: u32) -> Cluster {
        Cluster {
            dataset: DatasetName::new("orders", "db-1"),
            system: SystemId(system),
            repository: "default/web1".into(),
            line,
            broken: None,
            bases: vec![],
            stretches: vec![],
            histories: vec![],
            position: None,
            last_commits: vec![],
        }
    }

    fn missed() -> Unreachable {
        Unreachable::NotFound("it".into())
    }

    fn ambiguous() -> Unreachable {
        Unreachable::Ambiguous {
            name: "it".into(),
            places: "here, there".into(),
        }
    }

    /// The system and line taken, or what is said.
    fn decided(
        answers: &[(u64, u32, Result<(), Unreachable>)],
        is_moment: bool,
    ) -> Result<(u64, u32), String> {
        let clusters: Vec<_> = answers.iter().map(|it| line(it.0, it.1)).collect();
        let answers = clusters.iter().zip(answers.iter().map(|it| it.2.clone()));
        let decided = decide(answers.collect(), is_moment);
        let decided = decided.map(|(cluster, ())| (cluster.system.0, cluster.line));
        decided.map_err(|error| error.to_string())
    }

    #[test]
    fn a_moment_is_sought_in_all_and_a_number_in_the_lines_of_the_newest() {
        for is_moment in [true, false] {
            assert_eq!(
                decided(&[(2, 1, Ok(())), (2, 0, Ok(()))], is_moment),
                Ok((2, 1))
            );
            let older = [(2, 1, Err(missed())), (2, 0, Ok(()))];
            assert_eq!(decided(&older, is_moment), Ok((2, 0)));
            let none = decided(&[(2, 1, Err(missed())), (2, 0, Err(missed()))], is_moment);
            assert!(none.unwrap_err().contains("holds no it"));
        }
        // Another cluster has numbers of its own.
        let other = [(2, 0, Err(missed())), (1, 0, Ok(()))];
        assert_eq!(decided(&other, true), Ok((1, 0)));
        assert!(decided(&other, false).unwrap_err().contains("holds no it"));
        let several = [(2, 2, Err(missed())), (2, 1, Ok(())), (2, 0, Ok(()))];
        assert_eq!(decided(&several, true), Ok((2, 1)));
        assert!(decided(&several, false).unwrap_err().contains("(1, 0)"));
        // A question is not answered by an older line.
        let asked = [(2, 1, Err(ambiguous())), (2, 0, Ok(()))];
        for is_moment in [true, false] {
            assert!(
                decided(&asked, is_moment)
                    .unwrap_err()
                    .contains("here, there")
            );
        }
    }
}
