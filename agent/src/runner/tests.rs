use strongroom_spec::{ListOutcome, WarningCode};

use super::*;
use crate::fake::offer;

/// What the worker of these tests is to do.
#[derive(Clone, Copy)]
enum Script {
    Succeed,
    Fail,
    Panic,
    UntilCancelled,
}

impl Worker for Script {
    fn run(
        &self,
        _: JobOffer,
        monitor: Arc<Monitor>,
    ) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let script = *self;
        Box::pin(async move {
            monitor.enter("testing");
            monitor.warn(WarningCode::Unreadable, "/p", "odd");
            match script {
                Script::Succeed => Ok(Outcome::List(ListOutcome {
                    entries: Vec::new(),
                    truncated: false,
                })),
                Script::Fail => Err(failure()),
                Script::Panic => panic!("as scripted"),
                Script::UntilCancelled => {
                    monitor.cancel.cancelled().await;
                    Err(failure())
                }
            }
        })
    }
}

fn failure() -> Failure {
    Failure {
        code: FailureCode::Source,
        message: "as scripted".into(),
        retryable: false,
    }
}

struct Scene {
    runner: Runner,
    outbox: Outbox,
    _state: tempfile::TempDir,
}

fn scene(script: Script) -> Scene {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    Scene {
        runner: Runner::new(script, outbox.clone(), Shutdown::new()),
        outbox,
        _state: state,
    }
}

impl Scene {
    async fn only_report(&self) -> Report {
        self.runner.idle().await;
        let waiting = self.outbox.waiting();
        assert_eq!(waiting.len(), 1);
        self.outbox.load(waiting[0].0).unwrap()
    }
}

#[tokio::test]
async fn success_is_reported_with_warnings_and_memory() {
    let scene = scene(Script::Succeed);
    scene.runner.begin(offer(1, None));
    assert_eq!(scene.runner.running(), [offer(1, None).attempt]);
    let report = scene.only_report().await;
    assert!(report.outcome.is_ok());
    assert_eq!(report.attempt, offer(1, None).attempt);
    assert_eq!((report.warnings.len(), report.warning_count), (1, 1));
    assert!(report.peak_resident_bytes > 0);
}

#[tokio::test]
async fn failure_is_reported_as_the_worker_put_it() {
    let scene = scene(Script::Fail);
    scene.runner.begin(offer(1, None));
    assert_eq!(scene.only_report().await.outcome, Err(failure()));
}

#[tokio::test]
async fn a_panic_is_a_failure_and_no_more() {
    let scene = scene(Script::Panic);
    scene.runner.begin(offer(1, None));
    let failure = scene.only_report().await.outcome.unwrap_err();
    assert_eq!(failure.code, FailureCode::Internal);
}

#[tokio::test]
async fn an_attempt_is_begun_once() {
    let scene = scene(Script::UntilCancelled);
    scene.runner.begin(offer(1, None));
    scene.runner.begin(offer(1, None));
    assert_eq!(scene.runner.running().len(), 1);
    scene.runner.stop(offer(1, None).attempt, Stop::Fenced);
    scene.only_report().await;
}

#[tokio::test]
async fn the_cause_of_the_stop_is_reported_not_its_effect() {
    let scene = scene(Script::UntilCancelled);
    let (one, two) = (offer(1, None), offer(2, None));
    let (first, second) = (one.attempt, two.attempt);
    scene.runner.begin(one);
    scene.runner.begin(two);
    let reason = "by an operator".to_owned();
    scene.runner.stop(first, Stop::Cancelled { reason });
    scene.runner.until_running(1).await;
    assert_eq!(scene.runner.running(), [second]);
    let (id, _) = scene.outbox.waiting()[0];
    let failure = scene.outbox.load(id).unwrap().outcome.unwrap_err();
    assert_eq!(failure.code, FailureCode::Cancelled);
    assert!(failure.message.contains("by an operator"));
    scene.runner.stop(second, Stop::Fenced);
    scene.runner.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_the_attempt() {
    let scene = scene(Script::UntilCancelled);
    scene.runner.begin(offer(1, Some(90)));
    let failure = scene.only_report().await.outcome.unwrap_err();
    assert_eq!(failure.code, FailureCode::Timeout);
    assert!(failure.message.contains("90 s"), "{}", failure.message);
}

#[tokio::test]
async fn after_stop_all_nothing_begins() {
    let scene = scene(Script::UntilCancelled);
    scene.runner.stop_all(&Stop::Shutdown);
    scene.runner.begin(offer(1, None));
    let failure = scene.only_report().await.outcome.unwrap_err();
    assert_eq!(
        (failure.code, failure.retryable),
        (FailureCode::Fenced, true)
    );
}

#[tokio::test]
async fn progress_shows_stage_and_warnings() {
    let scene = scene(Script::UntilCancelled);
    scene.runner.begin(offer(1, None));
    let progress = loop {
        tokio::task::yield_now().await;
        let progress = scene.runner.progress();
        if progress[0].warnings == 1 {
            break progress;
        }
    };
    assert_eq!(progress[0].stage, "testing");
    assert_eq!(progress[0].total_bytes, None);
    scene.runner.stop_all(&Stop::Shutdown);
    scene.runner.idle().await;
}
