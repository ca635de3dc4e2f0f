//! `GET /jobs/{job}/log`

use axum::{Json, extract::State};
use serde_json::Value;

use super::word;
use crate::{
    http::{
        auth::Caller,
        dto::{JobLog, JobLogEntry},
        extract::Segment,
        problem::Problem,
        state::SharedState,
    },
    model::{Actor, AuditOutcome, AuditRow, JobDetail, JobMark},
};

/// What happened to a job, oldest first.
///
/// Who asked for it, its attempts, the stages they came to, how they ended, and the
/// last one's warnings.
#[utoipa::path(get, path = "/jobs/{job}/log", tag = "jobs",
    params(("job" = String, Path, description = "Id, or a unique beginning or ending of one")),
    responses(
        (status = 200, body = JobLog, description = "What happened to the job"),
))]
pub async fn show_job_log(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(job): Segment,
) -> Result<Json<JobLog>, Problem> {
    let id = state.catalog.find_job(&job).await?.id;
    let detail = state.catalog.job_detail(id).await?;
    let events = state.catalog.job_events(id).await?;
    let marks = state.catalog.job_marks(id).await?;
    Ok(Json(JobLog {
        job: id.to_string(),
        state: word(detail.job.state.word()),
        entries: entries(&detail, &events, &marks),
    }))
}

fn entries(detail: &JobDetail, events: &[AuditRow], marks: &[JobMark]) -> Vec<JobLogEntry> {
    let events = events.iter().map(|event| JobLogEntry {
        at: event.at,
        attempt: number(&event.detail["attempt"]).filter(|it| *it > 0),
        kind: "event".into(),
        text: describe(event, &detail.job.agent_name),
    });
    let marks = marks.iter().map(|mark| JobLogEntry {
        at: mark.at,
        attempt: Some(mark.attempt),
        kind: "progress".into(),
        text: mark.stage.clone(),
    });
    let mut all: Vec<_> = events.chain(marks).collect();
    // Of one moment the event goes first; the sort keeps their order.
    all.sort_by_key(|entry| entry.at);
    let last = detail.attempts.last();
    let ended = last.and_then(|attempt| Some((attempt.attempt, attempt.ended_at?)));
    let Some((attempt, at)) = ended else {
        return all;
    };
    let mut warnings: Vec<_> = detail
        .warnings
        .iter()
        .map(|warning| JobLogEntry {
            at,
            attempt: Some(attempt),
            kind: "warning".into(),
            text: format!(
                "{}{}: {} [{}]",
                if warning.accepted { "accepted: " } else { "" },
                String::from_utf8_lossy(&warning.path),
                warning.cause,
                warning.code
            ),
        })
        .collect();
    let untold = detail
        .job
        .warning_count
        .saturating_sub(warnings.len() as u64);
    if untold > 0 {
        warnings.push(JobLogEntry {
            at,
            attempt: Some(attempt),
            kind: "warning".into(),
            text: format!("… and {untold} more"),
        });
    }
    // Before the report that brought them.
    let report = all.partition_point(|entry| entry.at < at);
    all.splice(report..report, warnings);
    all
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// An event in words.
fn describe(event: &AuditRow, agent: &str) -> String {
    let detail = &event.detail;
    let failure = || {
        let failure = &detail["failure"];
        let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", text("code"), text("message"))
    };
    let again = match detail["state"].as_str() {
        Some("pending") => "; it will be tried again",
        _ => "",
    };
    let by = match &event.actor {
        Actor::Operator(name) => format!("operator {name}"),
        Actor::Agent(_) => format!("agent {agent}"),
        Actor::Coordinator => "the coordinator".to_owned(),
    };
    match event.action.as_str() {
        "job.create" => format!("asked for by {by}"),
        "job.dispatch" => format!("offered to {agent}"),
        "job.accept" => format!("{agent} begins"),
        "job.release" => format!("{agent} left before the offer: it waits again"),
        "job.cancel" => {
            let reason = detail["cancel"].as_str().unwrap_or_default();
            format!("cancelled by {by}: {reason}")
        }
        "job.expire" | "job.lose" => format!("lost: {}{again}", failure()),
        "job.abandon" => format!("given up: {}", failure()),
        "job.give-up" => {
            let after = detail["after"].as_str().unwrap_or_default();
            format!("given up: job {after}, which it waited for, has not succeeded")
        }
        "job.alarm" => {
            let alarm = detail["alarm"].as_str().unwrap_or_default();
            format!("unusual: {alarm}")
        }
        "job.report" if event.outcome == AuditOutcome::Refused => {
            let reason = detail["reason"].as_str().unwrap_or_default();
            format!("a report that does not count: {reason}")
        }
        "job.report" if event.outcome == AuditOutcome::Failed => {
            format!("failed: {}{again}", failure())
        }
        "job.report" => match (detail["state"].as_str(), detail["warnings"].as_u64()) {
            (Some("succeeded"), Some(warnings)) if warnings > 0 => {
                format!("succeeded with {warnings} warnings")
            }
            (state, _) => state.unwrap_or("reported").to_owned(),
        },
        action => format!("{action}: {}", event.outcome.as_str()),
    }
}
