//! The progress of jobs: bars on a terminal, plain lines elsewhere.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use strongroom_runtime::printable;

use super::format;
use crate::http::dto::{Job, JobState, Progress};

/// How often a plain line is written while nothing but figures change.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows jobs that are at work, on standard error.
#[derive(Debug)]
pub(crate) enum ProgressView {
    /// Nothing at all: a program reads the result.
    Silent,
    /// A line per change of stage.
    Plain,
    /// A bar per job.
    Bars(MultiProgress),
}

/// One job in a [`ProgressView`].
#[derive(Debug)]
pub(crate) struct JobLine {
    label: String,
    kind: LineKind,
}

#[derive(Debug)]
enum LineKind {
    Silent,
    Plain {
        last: String,
        written: Option<Instant>,
    },
    Bar(ProgressBar),
}

impl ProgressView {
    /// Bars on a terminal, plain lines elsewhere, nothing when `silent`.
    pub(crate) fn new(silent: bool) -> Self {
        if silent {
            Self::Silent
        } else if super::is_watched() {
            Self::Bars(MultiProgress::new())
        } else {
            Self::Plain
        }
    }

    /// A line for a job.
    pub(crate) fn line(&self, label: String) -> JobLine {
        let kind = match self {
            Self::Silent => LineKind::Silent,
            Self::Plain => LineKind::Plain {
                last: String::new(),
                written: None,
            },
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(spinner());
                bar.set_prefix(format::printable(&label).into_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                LineKind::Bar(bar)
            }
        };
        JobLine { label, kind }
    }
}

impl JobLine {
    /// Shows where the job stands.
    pub(crate) fn update(&mut self, job: &Job) {
        let stage = stage(job);
        match &mut self.kind {
            LineKind::Silent => {}
            LineKind::Plain { last, written } => {
                let due = written.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL);
                if *last != stage || due {
                    printable::err(&format!(
                        "{}: {}",
                        format::printable(&self.label),
                        format::printable(&describe(job))
                    ));
                    *last = stage;
                    *written = Some(Instant::now());
                }
            }
            LineKind::Bar(bar) => update_bar(bar, job),
        }
    }

    /// The job needs no line any more.
    pub(crate) fn finish(self) {
        if let LineKind::Bar(bar) = self.kind {
            bar.finish_and_clear();
        }
    }
}

fn update_bar(bar: &ProgressBar, job: &Job) {
    let Some(progress) = job.progress.as_ref().filter(|_| job.store_outage.is_none()) else {
        bar.set_message(format::printable(&describe(job)).into_owned());
        return;
    };
    match progress.total_bytes.filter(|total| *total > 0) {
        Some(total) => {
            bar.set_style(with_length());
            bar.set_length(total.max(progress.bytes));
        }
        None => bar.set_style(spinner()),
    }
    bar.set_position(progress.bytes);
    bar.set_message(format::printable(&figures(progress)).into_owned());
}

fn spinner() -> ProgressStyle {
    style("{spinner} {prefix}  {wide_msg}")
}

fn with_length() -> ProgressStyle {
    style("{spinner} {prefix}  {bar:24} {percent:>3}%  {binary_bytes_per_sec}  {wide_msg}")
        .progress_chars("━╸─")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The stage alone: a change of it is worth a plain line.
fn stage(job: &Job) -> String {
    if job.store_outage.is_some() {
        return "its store is away".into();
    }
    match (&job.progress, job.state) {
        (Some(progress), JobState::Running | JobState::Dispatched) => progress.stage.clone(),
        _ => job.state.to_string(),
    }
}

/// One line for people.
pub(crate) fn describe(job: &Job) -> String {
    if let Some(outage) = &job.store_outage {
        return format!("its store is away: {}", outage.problem);
    }
    match (&job.progress, job.state) {
        (Some(progress), JobState::Running | JobState::Dispatched) => figures(progress),
        (_, JobState::Pending) => match (&job.waits_for, &job.failure) {
            (Some(waits), None) => format!("waiting for {}", waits.message),
            (_, Some(failure)) => format!("waiting to try again: {}", failure.message),
            (None, None) => format!("waiting for {}", job.agent.name),
        },
        _ => job.state.to_string(),
    }
}

fn figures(progress: &Progress) -> String {
    let mut text = format!(
        "{}, {}, {}",
        progress.stage,
        format::plural(progress.files, "file"),
        format::bytes(progress.bytes)
    );
    if progress.bytes_stored > 0 {
        let _ = write!(text, ", {} stored", format::bytes(progress.bytes_stored));
    }
    if progress.warnings > 0 {
        let _ = write!(text, ", {}", format::plural(progress.warnings, "warning"));
    }
    text
}
