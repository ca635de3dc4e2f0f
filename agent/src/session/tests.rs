use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use strongroom_layout::AttemptRef;
use strongroom_runtime::{
    clock::{Clock, SystemClock},
    pki::Validity,
    shutdown::Shutdown,
};
use strongroom_spec::{Failure, FailureCode, ListOutcome, Outcome};
use strongroom_transfer::PublicKey;
use strongroom_wire::{
    identity::RenewResponse,
    job::{JobOffer, Report},
    session::{AgentMessage, CoordinatorMessage},
};
use tokio::task::JoinHandle;
use tonic::Status;

use super::*;
use crate::{
    fake::{Call, Fake, FakeSession, days, offer},
    monitor::Monitor,
    runner::Worker,
};

/// Works until told to finish, or cancelled.
struct Held(CancellationToken);

impl Worker for Held {
    fn run(
        &self,
        _: JobOffer,
        monitor: Arc<Monitor>,
    ) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let finish = self.0.clone();
        Box::pin(async move {
            monitor.enter("holding");
            tokio::select! {
                () = finish.cancelled() => Ok(Outcome::List(ListOutcome {
                    entries: Vec::new(),
                    truncated: false,
                })),
                () = monitor.cancel.cancelled() => Err(Failure {
                    code: FailureCode::Internal,
                    message: "cut off".into(),
                    retryable: false,
                }),
            }
        })
    }
}

/// An agent without a process of its own.
struct Scene {
    fake: Fake,
    state: tempfile::TempDir,
    outbox: Outbox,
    runner: Runner,
    finish: CancellationToken,
    stop: CancellationToken,
    allow: tokio::sync::watch::Sender<Consent>,
    task: JoinHandle<Result<(), SessionError>>,
}

async fn scene() -> Scene {
    scene_with(days(7)).await
}

async fn scene_with(valid: Validity) -> Scene {
    let fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    let finish = CancellationToken::new();
    let runner = Runner::new(Held(finish.clone()), outbox.clone(), Shutdown::new());
    let (owner, _) = crate::link::link();
    let allowed = tokio::sync::watch::channel(Consent {
        sources: vec!["files".into()],
        ..Consent::default()
    });
    let session = Session {
        coordinator: fake.address.clone(),
        state_dir: state.path().into(),
        identity: fake.identity(state.path(), valid),
        transfer_key: PublicKey([7; 32]),
        consent: allowed.1,
        hostname: "web-1".into(),
        boot_id: Uuid::from_u128(9),
        runner: runner.clone(),
        outbox: outbox.clone(),
        found: tokio::sync::watch::channel(None).1,
        link: owner,
        clock: SystemClock::shared(),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(session.run(stop.clone()));
    Scene {
        fake,
        state,
        outbox,
        runner,
        finish,
        stop,
        allow: allowed.0,
        task,
    }
}

fn attempt(n: u128) -> AttemptRef {
    offer(n, None).attempt
}

/// Offers job `n` and hears that it was accepted.
async fn begin(session: &mut FakeSession, n: u128) {
    let offer = CoordinatorMessage::JobOffer(Box::new(offer(n, None)));
    session.say(offer).await;
    let news = session.hear_news().await;
    assert_eq!(news, Some(AgentMessage::JobAccepted(attempt(n))));
}

async fn report(session: &mut FakeSession) -> Report {
    match session.hear_news().await {
        Some(AgentMessage::Report(report)) => report,
        other => panic!("no report but {other:?}"),
    }
}

async fn acknowledge(scene: &Scene, session: &FakeSession, report: &Report) {
    let mut changes = scene.outbox.changes();
    session
        .say(CoordinatorMessage::ReportAck(report.report_id))
        .await;
    while !scene.outbox.is_empty() {
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_allowed_anew_is_said_in_a_new_session() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    assert_eq!(session.greet(&[]).await.consent.sources, ["files"]);
    begin(&mut session, 1).await;
    scene
        .allow
        .send_modify(|consent| consent.sources.push("command".into()));
    let mut again = scene.fake.session().await;
    let hello = again.greet(&[]).await;
    assert_eq!(hello.consent.sources, ["files", "command"]);
    assert_eq!(hello.running, [attempt(1)], "what runs goes on");
    scene.finish.cancel();
    let report = report(&mut again).await;
    assert!(report.outcome.is_ok(), "{report:?}");
}

#[tokio::test]
async fn a_job_from_offer_to_acknowledged_report() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    let hello = session.greet_for_heartbeats(&[], 1).await;
    assert_eq!(hello.boot_id, Uuid::from_u128(9));
    assert_eq!(hello.consent.sources, ["files"]);
    assert_eq!((hello.running.len(), hello.reported.len()), (0, 0));

    begin(&mut session, 1).await;
    let progress = loop {
        if let Some(AgentMessage::Heartbeat(heartbeat)) = session.hear().await
            && let Some(progress) = heartbeat.running.first()
            // It may come while the job is being started.
            && progress.stage == "holding"
        {
            assert!(heartbeat.resident_bytes > 0);
            break progress.clone();
        }
    };
    assert_eq!(progress.attempt, attempt(1));

    scene.finish.cancel();
    let report = report(&mut session).await;
    assert!(report.outcome.is_ok());
    acknowledge(&scene, &session, &report).await;
}

#[tokio::test]
async fn a_lost_stream_kills_no_job_and_loses_no_report() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    begin(&mut session, 2).await;

    scene.fake.restart().await;
    let mut session = scene.fake.session().await;
    let hello = session.greet(&[]).await;
    assert_eq!(hello.running, [attempt(1), attempt(2)]);

    // Both end while nobody listens.
    scene.fake.stop();
    scene.finish.cancel();
    scene.runner.idle().await;
    scene.fake.restart().await;
    let mut session = scene.fake.session().await;
    let hello = session.greet(&[]).await;
    assert_eq!((hello.running.len(), hello.reported.len()), (0, 2));
    let first = report(&mut session).await;
    let second = report(&mut session).await;
    assert_ne!(first.attempt, second.attempt);

    // The first was acknowledged, the second was not when the stream broke.
    session
        .say(CoordinatorMessage::ReportAck(first.report_id))
        .await;
    let mut changes = scene.outbox.changes();
    while scene.outbox.waiting().len() > 1 {
        changes.changed().await.unwrap();
    }
    scene.fake.restart().await;
    let mut session = scene.fake.session().await;
    assert_eq!(session.greet(&[]).await.reported, [second.attempt]);
    assert_eq!(report(&mut session).await, second);
    acknowledge(&scene, &session, &second).await;
}

#[tokio::test]
async fn an_offer_that_crossed_its_report_is_answered_by_the_report() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    scene.finish.cancel();
    let first = report(&mut session).await;
    session
        .say(CoordinatorMessage::JobOffer(Box::new(offer(1, None))))
        .await;
    assert_eq!(report(&mut session).await, first);
}

#[tokio::test]
async fn attempts_fenced_while_away_are_stopped() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    scene.fake.restart().await;
    let mut session = scene.fake.session().await;
    session.greet(&[attempt(1)]).await;
    let failure = report(&mut session).await.outcome.unwrap_err();
    assert_eq!(
        (failure.code, failure.retryable),
        (FailureCode::Fenced, true)
    );
}

#[tokio::test]
async fn an_attempt_whose_lease_is_renewed_no_more_is_stopped() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    begin(&mut session, 2).await;
    // An acknowledgement from before the offer stops nothing.
    session.say(CoordinatorMessage::HeartbeatAck(vec![])).await;
    session
        .say(CoordinatorMessage::HeartbeatAck(vec![
            attempt(1),
            attempt(2),
        ]))
        .await;
    session
        .say(CoordinatorMessage::HeartbeatAck(vec![attempt(2)]))
        .await;
    let report = report(&mut session).await;
    assert_eq!(report.attempt, attempt(1));
    assert_eq!(report.outcome.unwrap_err().code, FailureCode::Fenced);
    // It runs until its report is safe.
    scene.runner.until_running(1).await;
    assert_eq!(scene.runner.running(), [attempt(2)]);
}

#[tokio::test]
async fn a_cancelled_job_says_so() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    let cancel = CoordinatorMessage::CancelJob {
        attempt: attempt(1),
        reason: "by admin".into(),
    };
    session.say(cancel).await;
    let failure = report(&mut session).await.outcome.unwrap_err();
    assert_eq!(failure.code, FailureCode::Cancelled);
    assert!(failure.message.contains("by admin"));
}

#[tokio::test]
async fn a_certificate_past_its_middle_is_renewed_and_used() {
    let now = SystemClock.now();
    let mut scene = scene_with(Validity {
        not_before: now - SignedDuration::from_hours(3),
        not_after: now + SignedDuration::from_hours(1),
    })
    .await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    let Call::Renew(request, answer) = scene.fake.call().await else {
        panic!("no renewal");
    };
    let old = Identity::load(scene.state.path()).unwrap();
    let issued = scene
        .fake
        .ca
        .issue_client(&request.csr_pem, &old.agent_id.to_uri(), days(7))
        .unwrap();
    let certificate_pem = issued.chain_pem;
    answer.send(Ok(RenewResponse { certificate_pem })).unwrap();

    let mut renewed = scene.fake.session().await;
    assert_ne!(renewed.certificate, session.certificate);
    assert_eq!(renewed.greet(&[]).await.running, [attempt(1)]);
    let new = Identity::load(scene.state.path()).unwrap();
    assert_ne!(new.key_pem, old.key_pem);
    assert_eq!(new.agent_id, old.agent_id);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let now = SystemClock.now();
    let mut scene = scene_with(Validity {
        not_before: now - SignedDuration::from_hours(3),
        not_after: now + SignedDuration::from_hours(1),
    })
    .await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    let Call::Renew(request, answer) = scene.fake.call().await else {
        panic!("no renewal");
    };
    let old = Identity::load(scene.state.path()).unwrap();
    let stranger = strongroom_layout::AgentId(Uuid::nil()).to_uri();
    let issued = scene
        .fake
        .ca
        .issue_client(&request.csr_pem, &stranger, days(7))
        .unwrap();
    let certificate_pem = issued.chain_pem;
    answer.send(Ok(RenewResponse { certificate_pem })).unwrap();
    // The session goes on, and nothing was written.
    begin(&mut session, 1).await;
    let kept = Identity::load(scene.state.path()).unwrap();
    assert_eq!(kept.certificate_pem, old.certificate_pem);
}

#[tokio::test]
async fn a_dismissed_agent_stops_its_jobs_and_ends() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    session
        .say(CoordinatorMessage::Goodbye {
            reason: "revoked by admin".into(),
            reconnect: false,
        })
        .await;
    let error = scene.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("revoked by admin"), "{error}");
    assert!(error.contains("enroll --force"), "{error}");
    assert!(scene.runner.running().is_empty());
}

#[tokio::test]
async fn an_agent_that_is_refused_ends() {
    let mut scene = scene().await;
    let session = scene.fake.session().await;
    session
        .fail(Status::permission_denied("agent web-1 was revoked"))
        .await;
    let error = scene.task.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Dismissed { .. }), "{error}");
}

#[tokio::test]
async fn a_goodbye_for_now_is_followed_by_a_new_session() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    session
        .say(CoordinatorMessage::Goodbye {
            reason: "restarting".into(),
            reconnect: true,
        })
        .await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
}

#[tokio::test]
async fn an_expired_certificate_says_what_to_do() {
    let now = SystemClock.now();
    let scene = scene_with(Validity {
        not_before: now - SignedDuration::from_hours(3),
        not_after: now - SignedDuration::from_hours(1),
    })
    .await;
    let error = scene.task.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Expired { .. }), "{error}");
    assert!(error.to_string().contains("check the clock"), "{error}");
}

#[tokio::test]
async fn at_shutdown_jobs_end_and_are_reported_before_the_agent_goes() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    scene.stop.cancel();
    // First that it leaves: whoever hears that something ended would offer it again.
    let mut leaving = false;
    let report = loop {
        match session.hear().await {
            Some(AgentMessage::Heartbeat(heartbeat)) => leaving |= heartbeat.leaving,
            Some(AgentMessage::Report(report)) => break report,
            other => panic!("no report but {other:?}"),
        }
    };
    assert!(leaving);
    session
        .say(CoordinatorMessage::ReportAck(report.report_id))
        .await;
    let failure = report.outcome.unwrap_err();
    assert_eq!(
        (failure.code, failure.retryable),
        (FailureCode::Fenced, true)
    );
    assert_eq!(session.hear_news().await, None);
    drop(session);
    scene.task.await.unwrap().unwrap();
    assert!(scene.outbox.is_empty());
}

#[tokio::test]
async fn at_shutdown_without_a_session_reports_wait_on_disk() {
    let mut scene = scene().await;
    let mut session = scene.fake.session().await;
    session.greet(&[]).await;
    begin(&mut session, 1).await;
    scene.fake.stop();
    scene.stop.cancel();
    scene.task.await.unwrap().unwrap();
    assert_eq!(Outbox::open(scene.state.path()).unwrap().waiting().len(), 1);
}
