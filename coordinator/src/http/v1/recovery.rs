//! What of clusters can be recovered, as the API says it.

use strongroom_spec::JobSpec;
use strongroom_wire::wal::WalPosition;

use super::jobs;
use crate::{
    catalog::{Catalog, CatalogError},
    http::dto::{Archiving, LineEnd, Recovery, RecoveryGap, RecoveryWindow},
    model::{DatasetName, Job, JobState},
    recovery::{Cluster, load, windows},
};

/// What can be recovered of each of these datasets that is a cluster.
pub(super) async fn of_datasets(
    catalog: &Catalog,
    datasets: impl IntoIterator<Item = DatasetName>,
) -> Result<Vec<Recovery>, CatalogError> {
    let archivers = catalog.latest_wal_jobs().await?;
    let mut all = Vec::new();
    for dataset in datasets {
        let job = archivers
            .iter()
            .find(|job| job.dataset.as_ref() == Some(&dataset));
        let clusters = load(catalog, &dataset).await?;
        if let (true, Some(archiving)) = (clusters.is_empty(), fails(job)) {
            all.push(unknown(&dataset, archiving));
        }
        let current = clusters.len().saturating_sub(1);
        for (number, cluster) in clusters.iter().enumerate() {
            let position = cluster.position.as_ref();
            let archiving = (number == current).then(|| archiving(position, job));
            all.push(shape(&dataset, cluster, archiving.flatten()));
        }
    }
    Ok(all)
}

/// A job that cannot archive what nothing is known of yet.
fn fails(job: Option<&Job>) -> Option<Archiving> {
    archiving(None, job).filter(|it| it.problem.is_some())
}

/// A cluster that nobody has reached.
fn unknown(dataset: &DatasetName, archiving: Archiving) -> Recovery {
    Recovery {
        dataset: dataset.to_string(),
        system: String::new(),
        line: 0,
        ended: None,
        windows: Vec::new(),
        gaps: Vec::new(),
        archiving: Some(archiving),
    }
}

/// `archiving` is `None` when it is another's log that is archived.
fn shape(dataset: &DatasetName, cluster: &Cluster, archiving: Option<Archiving>) -> Recovery {
    let windows: Vec<_> = windows(cluster)
        .into_iter()
        .map(|it| RecoveryWindow {
            from: it.from,
            to: it.to,
            open: it.open,
            timeline: it.timeline.0,
            end_lsn: it.end.to_string(),
            snapshots: it.bases.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let gaps = windows
        .windows(2)
        .filter_map(|pair| match pair {
            [before, behind] if before.to < behind.from => Some(RecoveryGap {
                from: before.to,
                to: behind.from,
            }),
            _ => None,
        })
        .collect();
    Recovery {
        dataset: dataset.to_string(),
        system: cluster.system.to_string(),
        line: cluster.line,
        ended: cluster.broken.as_ref().map(|end| LineEnd {
            at: end.at,
            timeline: end.timeline.0,
            lsn: end.lsn.to_string(),
            cause: end.cause.clone(),
        }),
        windows,
        gaps,
        archiving,
    }
}

fn archiving(position: Option<&WalPosition>, job: Option<&Job>) -> Option<Archiving> {
    if position.is_none() && job.is_none() {
        return None;
    }
    let endless =
        job.filter(|job| matches!(&job.spec, JobSpec::Wal(_)) && job.spec.facts().endless);
    let failure = endless.and_then(|job| match &job.state {
        JobState::Pending { failure, .. } => failure.as_ref(),
        JobState::Failed { failure, .. } => Some(failure),
        _ => None,
    });
    let next_attempt = endless.and_then(|job| match &job.state {
        JobState::Pending { not_before, .. } => Some(*not_before),
        _ => None,
    });
    Some(Archiving {
        job: job.map(|job| job.id.to_string()),
        job_state: job.map(|job| jobs::word(job.state.word())),
        lsn: position.map(|it| it.lsn.to_string()),
        timeline: position.map(|it| it.timeline.0),
        as_of: position.and_then(|it| it.as_of),
        waiting_bytes: position.map(|it| it.waiting),
        problem: failure
            .map(|it| it.message.clone())
            .or_else(|| position.and_then(|it| it.problem.clone())),
        failure_code: failure.map(|it| it.code.as_str().to_owned()),
        next_attempt,
    })
}
