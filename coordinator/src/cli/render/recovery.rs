//! What of clusters can be recovered, for people.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::format;
use crate::http::dto::{Archiving, JobState, Recovery, RecoveryWindow};

/// A log that was last known to be complete longer ago than this is late: what
/// is lost is meant to be seconds.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// Some lines for each cluster, behind an empty one; nothing without clusters.
pub(crate) fn lines(clusters: &[Recovery], now: Timestamp) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let _infallible = write!(text, "\n\n{}", of_cluster(cluster, now));
    }
    text
}

/// Whether the log of a cluster needs somebody: it is not archived, late, ended, or
/// leads to no moment that could be recovered. What lies in the past does not.
pub(crate) fn needs_somebody(cluster: &Recovery, now: Timestamp) -> bool {
    let Some(archiving) = &cluster.archiving else {
        return false;
    };
    cluster.ended.is_some() || !problems(cluster, archiving, now).is_empty()
}

fn of_cluster(cluster: &Recovery, now: Timestamp) -> String {
    let mut lines = vec![cluster.dataset.clone()];
    if cluster.windows.is_empty() {
        lines.push("  not recoverable yet: there is no base backup; run its policy".into());
    }
    for (index, window) in cluster.windows.iter().enumerate() {
        lines.push(format!("  {}", recoverable(window, now)));
        if let (Some(gap), true) = (
            cluster.gaps.iter().find(|gap| gap.from == window.to),
            index + 1 < cluster.windows.len(),
        ) {
            lines.push(format!(
                "  GAP from {} to {}",
                format::moment(gap.from),
                format::moment(gap.to)
            ));
        }
    }
    if let Some(end) = &cluster.ended {
        lines.push(format!(
            "  this log ended at {} of timeline {}, on {}: {}",
            end.lsn,
            end.timeline,
            format::moment(end.at),
            format::printable(&end.cause)
        ));
    }
    match &cluster.archiving {
        Some(archiving) => lines.extend(problems(cluster, archiving, now)),
        None if cluster.ended.is_some() => {}
        None => lines.push("  its log is not archived: only these moments".into()),
    }
    lines.join("\n")
}

fn recoverable(window: &RecoveryWindow, now: Timestamp) -> String {
    let timeline = window.timeline;
    if window.from == window.to {
        return format!(
            "recoverable at {} (timeline {timeline})",
            format::moment(window.from)
        );
    }
    let to = format::moment(window.to);
    let end = if window.open {
        format!("{to}, {}", format::relative(window.to, now))
    } else {
        to
    };
    format!(
        "recoverable from {} to {end} (timeline {timeline})",
        format::moment(window.from)
    )
}

/// What somebody should look at.
fn problems(cluster: &Recovery, archiving: &Archiving, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(problem) = &archiving.problem {
        lines.push(format!("  PROBLEM: {}", format::printable(problem)));
    }
    let running = archiving.job_state == Some(JobState::Running);
    if !running {
        let job = match (&archiving.job, archiving.job_state) {
            (Some(job), Some(state)) => format!(": job {job} is {state}"),
            _ => ": there is no job for it yet".into(),
        };
        let next = archiving.next_attempt.filter(|at| *at > now);
        let next = match next {
            Some(at) => format!(", tried again at {}", format::moment(at)),
            None if archiving.failure_code.as_deref() == Some("not-allowed") => {
                ", tried again when its agent.toml was reloaded and allows it".into()
            }
            None => String::new(),
        };
        lines.push(format!(
            "  its log is not archived at the moment{job}{next}"
        ));
    }
    let late = archiving.as_of.filter(|at| now.duration_since(*at) > LATE);
    if let (Some(at), true) = (late, running) {
        lines.push(format!(
            "  LATE: nothing is known of its log since {}",
            format::relative(at, now)
        ));
    }
    let open = cluster.windows.iter().any(|window| window.open);
    if running && !open && !cluster.windows.is_empty() {
        lines.push(
            "  what is archived now lies behind a gap: run its policy for a new base backup".into(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + second).unwrap()
    }

    fn of(job_state: JobState, code: Option<&str>, next_attempt: Option<Timestamp>) -> String {
        let archiving = Archiving {
            job: Some("j".into()),
            job_state: Some(job_state),
            lsn: None,
            timeline: None,
            as_of: None,
            waiting_bytes: None,
            problem: code.map(|code| format!("because of {code}")),
            failure_code: code.map(Into::into),
            next_attempt,
        };
        of_cluster(
            &Recovery {
                dataset: "p@a".into(),
                system: "7".into(),
                line: 0,
                ended: None,
                windows: vec![],
                gaps: vec![],
                archiving: Some(archiving),
            },
            at(0),
        )
    }

    #[test]
    fn a_pause_is_shown_with_its_cause_and_its_end() {
        let paused = of(JobState::Pending, Some("other-cluster"), Some(at(60)));
        let until = format!("tried again at {}", format::moment(at(60)));
        for words in ["PROBLEM: because of other-cluster", "not archived", &until] {
            assert!(paused.contains(words), "{words}: {paused}");
        }
        let refused = of(JobState::Failed, Some("not-allowed"), None);
        for words in ["job j is failed", "tried again when its agent.toml"] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        // It is about to be tried.
        let due = of(JobState::Pending, None, Some(at(0)));
        assert!(due.contains("not archived") && !due.contains("tried again"));
        let running = of(JobState::Running, None, None);
        assert!(!running.contains("not archived"), "{running}");
    }
}
