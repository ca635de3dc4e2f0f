//! A job's root span: recorded when the job ends, with the ids that the
//! catalog kept, so that it survives a restart of the coordinator.

use strongroom_runtime::telemetry::trace::{RootIds, RootSpan};

use crate::model::{Job, JobState};

/// Records the root span of a job that has ended; does nothing for others.
pub fn record_root_span(job: &Job) {
    let ids = RootIds::from_hex(&job.trace.trace_id, &job.trace.root_span_id);
    let (Some(ids), Some(end)) = (ids, job.finished_at()) else {
        return;
    };
    let mut attributes = vec![
        ("strongroom.job", job.id.to_string()),
        ("strongroom.state", job.shown_state().to_owned()),
        ("strongroom.agent", job.agent_name.clone()),
        ("strongroom.repository", job.repository.clone()),
        ("strongroom.attempts", job.attempt.to_string()),
    ];
    if let Some(dataset) = &job.dataset {
        attributes.push(("strongroom.dataset", dataset.to_string()));
    }
    let error = match &job.state {
        JobState::Failed { failure, .. } => Some(failure.message.clone()),
        JobState::Cancelled { reason, .. } => Some(format!("cancelled: {reason}")),
        _ => None,
    };
    RootSpan {
        name: format!("job {}", job.kind),
        ids,
        start: job.created_at,
        end,
        attributes,
        error,
    }
    .record();
}
