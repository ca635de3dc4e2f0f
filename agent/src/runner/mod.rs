//! Runs attempts from offer to report.
//!
//! [`Runner`] knows what runs, and ends attempts that are cancelled, fenced or
//! too slow; a [`Worker`] does the work. Whatever comes of an attempt becomes
//! a report in the outbox; the session only carries it. So an attempt needs no
//! session while it runs.

mod engine;
mod memory;
mod stop;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use strongroom_layout::AttemptRef;
use strongroom_runtime::{shutdown::Shutdown, telemetry::trace};
use strongroom_spec::{Failure, FailureCode, Outcome};
use strongroom_wire::{
    MAX_MESSAGE_BYTES,
    job::{JobOffer, Report},
    session::Progress,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field::Empty, info, info_span, warn};
use uuid::Uuid;

use crate::{monitor::Monitor, outbox::Outbox};

pub use engine::Engine;
pub use memory::resident_bytes;
pub use stop::Stop;

/// What an outcome may take of a report, bytes of JSON: paths of odd names take several
/// times their length. The rest is for warnings.
const MOST_OF_A_REPORT: usize = MAX_MESSAGE_BYTES / 2;

/// Does the work of one attempt. Ends soon after the monitor's token is
/// cancelled; what it returns then does not matter.
pub trait Worker: Send + Sync + 'static {
    /// Does the work.
    fn run(
        &self,
        offer: JobOffer,
        monitor: Arc<Monitor>,
    ) -> BoxFuture<'static, Result<Outcome, Failure>>;
}

/// Knows what runs. Cheap to share.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

struct Inner {
    worker: Box<dyn Worker>,
    outbox: Outbox,
    shutdown: Shutdown,
    stopping: AtomicBool,
    running: Mutex<BTreeMap<AttemptRef, Running>>,
    count: watch::Sender<usize>,
}

#[derive(Clone)]
struct Running {
    monitor: Arc<Monitor>,
    /// Why it has to end; the first cause counts.
    stop: Arc<OnceLock<Stop>>,
}

impl Running {
    fn stop(&self, stop: Stop) {
        // Said before it is felt, so that whoever ends can say why.
        let _ = self.stop.set(stop);
        self.monitor.cancel.cancel();
    }
}

impl Runner {
    /// Nothing runs yet. Attempts are tasks of `shutdown`.
    pub fn new(worker: impl Worker, outbox: Outbox, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            worker: Box::new(worker),
            outbox,
            shutdown,
            stopping: AtomicBool::new(false),
            running: Mutex::default(),
            count: watch::Sender::new(0),
        }))
    }

    /// Begins an attempt, unless it runs already.
    pub fn begin(&self, offer: JobOffer) {
        let running = Running {
            monitor: Arc::new(Monitor::new(CancellationToken::new()).accepting(&offer.accept)),
            stop: Arc::default(),
        };
        {
            let mut attempts = self.0.running.lock();
            if attempts.contains_key(&offer.attempt) {
                return;
            }
            if attempts.is_empty() {
                memory::forget_peak();
            }
            attempts.insert(offer.attempt, running.clone());
            self.0.count.send_replace(attempts.len());
        }
        if self.0.stopping.load(Relaxed) {
            running.stop(Stop::Shutdown);
        }
        let span = attempt_span(&offer);
        let this = self.clone();
        self.0
            .shutdown
            .spawn(async move { this.attempt(offer, running).await }.instrument(span));
    }

    async fn attempt(&self, offer: JobOffer, running: Running) {
        let attempt = offer.attempt;
        let start = Instant::now();
        info!("attempt begins");
        let outcome = self.work(offer, &running).await;
        match &outcome {
            Ok(_) => info!("attempt succeeded"),
            Err(failure) => {
                warn!(code = %failure.code, message = %failure.message, "attempt failed");
            }
        }
        let outcome = outcome.map(|mut outcome| {
            outcome.fit(MOST_OF_A_REPORT);
            outcome
        });
        let (warnings, warning_count) = running.monitor.warnings();
        let report = Report {
            report_id: Uuid::new_v4(),
            attempt,
            outcome,
            warnings,
            warning_count,
            peak_resident_bytes: memory::peak_resident_bytes(),
            duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let outbox = self.0.outbox.clone();
        if tokio::task::spawn_blocking(move || outbox.put(&report))
            .await
            .is_err()
        {
            tracing::error!("a report was lost on its way to the outbox");
        }
        // Only now: at every moment an attempt runs or is reported.
        let mut attempts = self.0.running.lock();
        attempts.remove(&attempt);
        self.0.count.send_replace(attempts.len());
    }

    async fn work(&self, offer: JobOffer, running: &Running) -> Result<Outcome, Failure> {
        let timeout = offer.timeout_seconds;
        let work = self.0.worker.run(offer, running.monitor.clone());
        let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
        let timer = async {
            match timeout {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            () = timer => {
                running.stop(Stop::Timeout { seconds: timeout.unwrap_or(0) });
                work.await
            }
        };
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure {
                code: FailureCode::Internal,
                message: "the agent failed in a way that is a defect of Strongroom; its log \
                          says where: please report it"
                    .into(),
                retryable: true,
            })
        });
        // What was cut off has failed by the cut, whatever it says itself.
        match (outcome, running.stop.get()) {
            (Err(_), Some(stop)) => Err(stop.failure()),
            (outcome, _) => outcome,
        }
    }

    /// Ends one attempt; nothing happens if it does not run.
    pub fn stop(&self, attempt: AttemptRef, stop: Stop) {
        if let Some(running) = self.0.running.lock().get(&attempt) {
            warn!(%attempt, why = ?stop, "ending an attempt");
            running.stop(stop);
        }
    }

    /// Ends all attempts; whatever is offered from now on fails at once.
    pub fn stop_all(&self, stop: &Stop) {
        self.0.stopping.store(true, Relaxed);
        for running in self.0.running.lock().values() {
            running.stop(stop.clone());
        }
    }

    /// What runs.
    pub fn running(&self) -> Vec<AttemptRef> {
        self.0.running.lock().keys().copied().collect()
    }

    /// How far everything that runs is.
    pub fn progress(&self) -> Vec<Progress> {
        let attempts = self.0.running.lock();
        attempts
            .iter()
            .map(|(attempt, running)| progress(*attempt, &running.monitor))
            .collect()
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        self.until_running(0).await;
    }

    /// Waits until so many attempts run. One that has ended counts until its
    /// report is in the outbox.
    pub async fn until_running(&self, wanted: usize) {
        let mut count = self.0.count.subscribe();
        // Its sender is ours.
        let _ = count.wait_for(|count| *count == wanted).await;
    }
}

fn progress(attempt: AttemptRef, monitor: &Monitor) -> Progress {
    let known = |total: u64| (total > 0).then_some(total);
    Progress {
        attempt,
        stage: monitor.stage(),
        files: monitor.files.load(Relaxed),
        bytes: monitor.bytes.load(Relaxed),
        total_files: known(monitor.total_files.load(Relaxed)),
        total_bytes: known(monitor.total_bytes.load(Relaxed)),
        bytes_stored: monitor.bytes_stored.load(Relaxed),
        warnings: monitor.warning_count(),
    }
}

/// The attempt's span: a child of the job's.
fn attempt_span(offer: &JobOffer) -> tracing::Span {
    let kind = offer
        .spec
        .as_ref()
        .map_or("unknown", |spec| spec.kind().as_str());
    let span = info_span!(
        "attempt",
        job = %offer.attempt.job,
        attempt = offer.attempt.attempt,
        kind,
        repository = %offer.repository.name,
        // See `JobLimits::show`.
        limits.upload = Empty,
        limits.download = Empty,
        limits.read = Empty,
        limits.threads = Empty,
        limits.memory = Empty,
    );
    trace::set_parent(&span, &offer.traceparent);
    span
}

#[cfg(test)]
mod tests;
