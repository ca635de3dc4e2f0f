//! What of clusters can be recovered, as the API says it.

use strongroom_wire::job::Work;

use super::jobs;
use crate::{
    catalog::{Catalog, CatalogError},
    http::shape::{Archiving, Recovery, RecoveryGap, RecoveryWindow},
    model::{DatasetName, Job, JobState},
    recovery::{Cluster, load, windows},
};

/// What can be recovered of each of these datasets that is a cluster.
pub(super) async fn of_datasets(
    catalog: &Catalog,
    datasets: impl IntoIterator<Item = DatasetName>,
) -> Result<Vec<Recovery>, CatalogError> {
    let archiving = catalog.latest_wal_jobs().await?;
    let mut all = Vec::new();
    for dataset in datasets {
        let job = archiving
            .iter()
            .find(|job| job.dataset.as_ref() == Some(&dataset));
        for cluster in load(catalog, &dataset).await? {
            all.push(shape(&dataset, &cluster, job));
        }
    }
    Ok(all)
}

fn shape(dataset: &DatasetName, cluster: &Cluster, job: Option<&Job>) -> Recovery {
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
        windows,
        gaps,
        archiving: archiving(cluster, job),
    }
}

fn archiving(cluster: &Cluster, job: Option<&Job>) -> Option<Archiving> {
    let position = cluster.position.as_ref();
    if position.is_none() && job.is_none() {
        return None;
    }
    let endless = job.filter(|job| matches!(&job.work, Work::Wal(_)) && job.work.is_endless());
    let failure = endless.and_then(|job| match &job.state {
        JobState::Pending { failure, .. } => failure.as_ref().map(|it| it.message.clone()),
        JobState::Failed { failure, .. } => Some(failure.message.clone()),
        _ => None,
    });
    Some(Archiving {
        job: job.map(|job| job.id.to_string()),
        job_state: job.map(|job| jobs::word(job.state.word())),
        lsn: position.map(|it| it.lsn.to_string()),
        timeline: position.map(|it| it.timeline.0),
        as_of: position.and_then(|it| it.as_of),
        waiting_bytes: position.map(|it| it.waiting),
        problem: failure.or_else(|| position.and_then(|it| it.problem.clone())),
    })
}
