//! A whole coordinator in process, with rounds run one by one.

use std::time::Duration;

use strongroom_layout::{AttemptRef, Directory, JobId, ObjectId, ObjectKind, ObjectName};
use strongroom_proto::v1;
use strongroom_spec::{
    BackupOutcome, Failure, FailureCode, JobSpec, ListSpec, UploadFormat, UploadSpec, WalMethod,
    WalSpec,
};
use strongroom_wire::{
    grant::{Action, PublishRequest, PublishResponse, RefusalReason, SignAnswer},
    job::{JobOffer, Report},
    session::{AgentMessage, CoordinatorMessage},
    wal::RecordWalRequest,
};
use uuid::Uuid;

use super::{sweep::Sweeper, *};
use crate::{
    keys::SealedRepository,
    model::{Actor, JobState, StateWord},
    stores::StoreConfig,
    testing::{
        Coordinator, STORE, TestAgent, TestSession, backup, operator, restore, sha256, success,
    },
};

const LEASE: Duration = Duration::from_mins(1);

async fn round(coordinator: &Coordinator) {
    let dispatcher = coordinator.dispatcher();
    dispatcher.round(&mut Told::new()).await.unwrap();
}

/// A session that has its hello behind it.
async fn session(agent: &TestAgent, boot: u128, running: &[AttemptRef]) -> TestSession {
    let mut session = agent.session(boot, running).await;
    let hello = session.next().await;
    assert!(matches!(hello, Some(CoordinatorMessage::Hello(_))));
    session
}

async fn offer(session: &mut TestSession) -> JobOffer {
    match session.next().await {
        Some(CoordinatorMessage::JobOffer(offer)) => *offer,
        other => panic!("{other:?}"),
    }
}

/// An agent at work on a backup.
struct AtWork {
    agent: TestAgent,
    session: TestSession,
    offer: JobOffer,
    attempt: AttemptRef,
}

async fn at_work(coordinator: &Coordinator, name: &str) -> AtWork {
    let agent = coordinator.enrolled(name).await;
    let mut session = session(&agent, 1, &[]).await;
    coordinator.job(&agent, backup()).await;
    round(coordinator).await;
    let offer = offer(&mut session).await;
    let attempt = offer.attempt;
    session.send(AgentMessage::JobAccepted(attempt)).await;
    assert_eq!(session.heartbeat(&[attempt]).await, [attempt]);
    AtWork {
        agent,
        session,
        offer,
        attempt,
    }
}

fn result(snapshot: ObjectId) -> BackupOutcome {
    BackupOutcome {
        snapshot,
        files: 1,
        directories: 1,
        files_unmodified: 0,
        bytes_read: 1,
        bytes_total: 1,
        bytes_new: 1,
        bytes_stored: 1,
        blobs_new: 1,
        packs_new: 1,
        cluster: None,
        partial: false,
    }
}

async fn publish(work: &AtWork, coordinator: &Coordinator, body: &[u8]) -> SignAnswer {
    let request = PublishRequest {
        attempt: work.attempt,
        snapshot: sha256(body),
        length: body.len() as u64,
        result: result(sha256(body)),
        snapshot_time_us: coordinator.now().as_microsecond(),
    };
    let mut client = work.agent.client();
    let response = client.publish(v1::PublishRequest::from(request)).await;
    let response = response.unwrap().into_inner();
    PublishResponse::try_from(response).unwrap().answer
}

/// Publishes a snapshot, writes it, and reports it.
async fn back_up(work: &mut AtWork, coordinator: &Coordinator, body: &[u8]) {
    let SignAnswer::Grant(grant) = publish(work, coordinator, body).await else {
        panic!("not granted");
    };
    assert_eq!(work.agent.send(&grant, body).await, 200);
    let report = success(work.attempt, Some(result(sha256(body))));
    work.session.report(report).await;
}

async fn state(coordinator: &Coordinator, attempt: AttemptRef) -> JobState {
    coordinator.catalog.job(attempt.job).await.unwrap().state
}

fn reason(answer: &SignAnswer) -> RefusalReason {
    match answer {
        SignAnswer::Refusal(refusal) => refusal.reason,
        SignAnswer::Grant(grant) => panic!("granted {}", grant.url),
    }
}

#[tokio::test]
async fn a_backup_from_offer_to_snapshot() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    let (attempt, agent) = (work.attempt, &work.agent);
    assert!(work.offer.repository.create);
    assert_eq!(work.offer.repository.name, "primary/web-1");
    let job = coordinator.catalog.job(attempt.job).await.unwrap();
    assert_eq!(work.offer.traceparent, job.trace.traceparent());
    let progress = coordinator.registry.progress(attempt.job).unwrap();
    assert_eq!(progress.files, 7);

    // The sealed password lies in the bucket before anything else.
    let store = &coordinator.store().client;
    let path = SealedRepository::new("primary/web-1", "web-1", "").path();
    let document: SealedRepository =
        serde_json::from_slice(&store.get(&path).await.unwrap()).unwrap();
    let stored = coordinator
        .catalog
        .repository("primary/web-1")
        .await
        .unwrap();
    assert_eq!(document.sealed_password, stored.sealed_password);

    let lock = ObjectName::lock(sha256(b"lock"));
    assert_eq!(agent.put(attempt, lock, b"lock").await, 200);
    assert_eq!(agent.put(attempt, ObjectName::Config, b"config").await, 200);
    assert_eq!(
        agent.put(attempt, ObjectName::Config, b"other").await,
        412,
        "a config is never replaced"
    );
    let pack = ObjectName::data_pack(sha256(b"pack"));
    assert_eq!(agent.put(attempt, pack, b"pack").await, 200);
    let SignAnswer::Grant(grant) = publish(&work, &coordinator, b"snapshot").await else {
        panic!("not granted");
    };
    assert_eq!(agent.send(&grant, b"another!").await, 400);
    assert_eq!(agent.send(&grant, b"snapshot").await, 200);
    assert_eq!(store.get("web-1/config").await.unwrap(), b"config");

    let release = v1::ReleaseLocksRequest {
        attempt: Some(v1::AttemptRef {
            job_id: attempt.job.to_string(),
            attempt: attempt.attempt,
        }),
        ids: vec![sha256(b"lock").0.to_vec()],
    };
    agent.client().release_locks(release).await.unwrap();
    let locks = store.list("web-1", Directory::Locks).await.unwrap();
    assert_eq!(locks, []);

    let report = success(attempt, Some(result(sha256(b"snapshot"))));
    work.session.report(report.clone()).await;
    let ended = state(&coordinator, attempt).await;
    assert!(matches!(ended, JobState::Succeeded { .. }), "{ended:?}");
    let found = coordinator
        .catalog
        .find_snapshot(&sha256(b"snapshot").to_string())
        .await
        .unwrap();
    assert_eq!(found.attempt, attempt);
    assert_eq!(coordinator.registry.progress(attempt.job), None);
    // The acknowledgement may have been lost: said again, it is acknowledged
    // again.
    work.session.report(report).await;
    let answers = work.agent.sign(attempt, vec![(pack, GET)]).await;
    assert_eq!(reason(&answers[0]), RefusalReason::AttemptEnded);
}

const GET: Action = Action::Get { range: None };

#[tokio::test]
async fn an_agent_that_asks_for_what_it_must_not_is_refused_and_audited() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    let victim = at_work(&coordinator, "web-2").await;
    let own = |object, action| (work.attempt, object, action);
    let pack = sha256(b"pack");
    let put = |sha256| Action::Put { length: 4, sha256 };
    // Recorded as data: it does not become readable by another name.
    assert_eq!(
        work.agent
            .put(work.attempt, ObjectName::data_pack(pack), b"pack")
            .await,
        200
    );
    let cases = [
        (
            (victim.attempt, ObjectName::Config, GET),
            RefusalReason::UnknownAttempt,
        ),
        (
            own(ObjectName::Config, Action::Delete),
            RefusalReason::DeleteForbidden,
        ),
        (
            own(ObjectName::data_pack(pack), GET),
            RefusalReason::ReadForbidden,
        ),
        (
            own(ObjectName::tree_pack(pack), GET),
            RefusalReason::ReadForbidden,
        ),
        (
            own(ObjectName::tree_pack(pack), put(pack)),
            RefusalReason::WriteForbidden,
        ),
        (
            own(ObjectName::index(pack), put(sha256(b"else"))),
            RefusalReason::HashMismatch,
        ),
        (
            own(ObjectName::snapshot(pack), put(pack)),
            RefusalReason::NotPublished,
        ),
    ];
    for ((attempt, object, action), expected) in &cases {
        let answers = work.agent.sign(*attempt, vec![(*object, *action)]).await;
        assert_eq!(reason(&answers[0]), *expected, "{object} {action:?}");
    }
    let audited: Vec<_> = coordinator
        .refusals()
        .await
        .iter()
        .map(|row| {
            assert_eq!(row.actor.to_string(), format!("agent:{}", work.agent.id));
            row.detail["reason"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected: Vec<_> = cases.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(audited, expected);

    let client = || work.agent.client();
    let theirs = v1::AttemptRef {
        job_id: victim.attempt.job.to_string(),
        attempt: 1,
    };
    let list = v1::ListObjectsRequest {
        attempt: Some(theirs.clone()),
        directory: v1::Directory::Snapshots.into(),
        after: Vec::new(),
    };
    let status = client().list_objects(list).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    let release = v1::ReleaseLocksRequest {
        attempt: Some(theirs),
        ids: vec![pack.0.to_vec()],
    };
    let status = client().release_locks(release).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_batch_mixes_grants_and_refusals_in_order() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    let tree = sha256(b"tree");
    let put = Action::Put {
        length: 4,
        sha256: tree,
    };
    let requests = vec![
        (ObjectName::tree_pack(tree), put),
        (ObjectName::Config, Action::Delete),
        (ObjectName::index(tree), put),
    ];
    let answers = work.agent.sign(work.attempt, requests).await;
    assert!(matches!(answers[0], SignAnswer::Grant(_)));
    assert_eq!(reason(&answers[1]), RefusalReason::DeleteForbidden);
    assert!(matches!(answers[2], SignAnswer::Grant(_)));
    // It is in the catalog from its grant on: a later backup may read it.
    let read = vec![(ObjectName::tree_pack(tree), GET)];
    let answers = work.agent.sign(work.attempt, read).await;
    assert!(matches!(answers[0], SignAnswer::Grant(_)));
}

#[tokio::test]
async fn a_silent_attempt_is_fenced_and_tried_again() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    let (first, config) = (work.attempt, (ObjectName::Config, GET));
    coordinator.advance(LEASE);
    let answers = work.agent.sign(first, vec![config]).await;
    assert_eq!(reason(&answers[0]), RefusalReason::LeaseExpired);
    round(&coordinator).await;
    // The agent is live: it gets the next attempt at once.
    let again = offer(&mut work.session).await;
    assert_eq!((again.attempt.job, again.attempt.attempt), (first.job, 2));
    assert_eq!(work.session.heartbeat(&[first]).await, []);
    let answers = work.agent.sign(first, vec![config]).await;
    assert_eq!(reason(&answers[0]), RefusalReason::AttemptEnded);
    assert_eq!(
        reason(&publish(&work, &coordinator, b"snapshot").await),
        RefusalReason::AttemptEnded
    );
    // Its report is acknowledged, so that it is forgotten, but does not count.
    let late = success(first, Some(result(sha256(b"snapshot"))));
    work.session.report(late).await;
    let state = state(&coordinator, first).await;
    assert_eq!(state.word(), StateWord::Dispatched);
}

#[tokio::test]
async fn heartbeats_keep_an_attempt_alive() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    for _ in 0..4 {
        coordinator.advance(LEASE / 2);
        assert_eq!(
            work.session.heartbeat(&[work.attempt]).await,
            [work.attempt]
        );
        round(&coordinator).await;
    }
    let state = state(&coordinator, work.attempt).await;
    assert_eq!(state.word(), StateWord::Running);
}

#[tokio::test]
async fn a_reconnected_agent_goes_on_and_a_restarted_one_starts_over() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    let AtWork { agent, attempt, .. } = work;
    drop(work.session);
    let mut reconnected = session(&agent, 1, &[attempt]).await;
    assert_eq!(reconnected.heartbeat(&[attempt]).await, [attempt]);

    // Another process of the agent knows nothing of the attempt.
    let mut restarted = session(&agent, 2, &[]).await;
    let waiting = state(&coordinator, attempt).await;
    assert!(
        matches!(&waiting, JobState::Pending { failure: Some(failure), .. }
            if failure.code == FailureCode::Fenced),
        "{waiting:?}"
    );
    round(&coordinator).await;
    assert_eq!(offer(&mut restarted).await.attempt.attempt, 2);

    // And one that comes back with the old attempt is told to stop it.
    let mut old = agent.session(1, &[attempt]).await;
    match old.next().await {
        Some(CoordinatorMessage::Hello(hello)) => assert_eq!(hello.fenced, [attempt]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_restarted_coordinator_gives_attempts_time_to_come_back() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    drop(work.session);
    // Nobody renewed while the coordinator was away.
    coordinator.advance(LEASE * 2);
    let dispatcher = coordinator.dispatcher();
    dispatcher.give_grace().await;
    dispatcher.round(&mut Told::new()).await.unwrap();
    let state = state(&coordinator, work.attempt).await;
    assert_eq!(state.word(), StateWord::Running);
    let mut session = session(&work.agent, 1, &[work.attempt]).await;
    assert_eq!(session.heartbeat(&[work.attempt]).await, [work.attempt]);
}

#[tokio::test]
async fn an_offer_that_finds_nobody_is_taken_back() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let _session = session(&agent, 1, &[]).await;
    let job = coordinator.job(&agent, backup()).await;
    let live = coordinator.registry.live();
    let lease = jiff::SignedDuration::from_mins(1);
    let mut dispatched = coordinator
        .catalog
        .dispatch(&live, Concurrency::default(), lease)
        .await
        .unwrap();
    // The agent's process is another one by the time of the offer.
    let _newer = session(&agent, 2, &[]).await;
    let dispatched = dispatched.remove(0);
    coordinator.dispatcher().offer(dispatched).await.unwrap();
    let job = coordinator.catalog.job(job.id).await.unwrap();
    assert_eq!(job.state.word(), StateWord::Pending);
    assert!(job.failed_attempts <= 1);
}

#[tokio::test]
async fn a_job_that_cannot_be_offered_fails_with_the_cause() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let _session = session(&agent, 1, &[]).await;
    let nowhere = coordinator.job_in(&agent, "attic", backup()).await;
    let nothing = coordinator.job(&agent, restore(sha256(b"none"))).await;
    round(&coordinator).await;
    for (job, cause) in [
        (nowhere, "\"attic\" is not configured"),
        (nothing, "primary/web-1"),
    ] {
        match coordinator.catalog.job(job.id).await.unwrap().state {
            JobState::Failed { failure, .. } => {
                assert!(failure.message.contains(cause), "{}", failure.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_delays_the_first_backup() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let _session = session(&agent, 1, &[]).await;
    let job = coordinator.job(&agent, backup()).await;
    let away = |store: &mut StoreConfig| store.endpoint = "http://127.0.0.1:9".parse().unwrap();
    match after_a_round(&coordinator, &job, away).await {
        JobState::Pending {
            not_before,
            failure: Some(failure),
        } => {
            assert!(not_before > coordinator.now());
            assert!(failure.message.contains("no answer"), "{failure:?}");
            assert!(failure.message.contains(STORE));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_fails_the_first_backup_at_once() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let _session = session(&agent, 1, &[]).await;
    let job = coordinator.job(&agent, backup()).await;
    let missing = |store: &mut StoreConfig| store.bucket = "missing".into();
    match after_a_round(&coordinator, &job, missing).await {
        JobState::Failed { failure, .. } => {
            assert!(failure.message.contains("bucket does not exist"));
            assert!(failure.message.contains(STORE));
        }
        other => panic!("{other:?}"),
    }
}

/// The job's state after a round of a dispatcher whose store is another.
async fn after_a_round(
    coordinator: &Coordinator,
    job: &Job,
    change: impl FnOnce(&mut StoreConfig),
) -> JobState {
    let mut store = coordinator.store().client.config().clone();
    change(&mut store);
    let clock = coordinator.catalog.clock().clone();
    let stores = crate::stores::Stores::new([store], &clock).unwrap();
    let dispatcher = coordinator.dispatcher_with(stores);
    dispatcher.round(&mut Told::new()).await.unwrap();
    coordinator.catalog.job(job.id).await.unwrap().state
}

#[tokio::test]
async fn a_cancelled_job_is_told_once_and_ends_with_its_report() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    let catalog = &coordinator.catalog;
    catalog
        .cancel_job(work.attempt.job, &operator(), "not now")
        .await
        .unwrap();
    let dispatcher = coordinator.dispatcher();
    let mut told = Told::new();
    for _ in 0..2 {
        dispatcher.round(&mut told).await.unwrap();
    }
    let attempt = work.attempt;
    let reason = "not now".to_owned();
    let expected = CoordinatorMessage::CancelJob { attempt, reason };
    assert_eq!(work.session.next().await, Some(expected));
    let failure = Failure {
        code: FailureCode::Cancelled,
        message: "cancelled".into(),
        retryable: false,
    };
    // Had it been told twice, the second would come before the answer.
    let report = Report {
        outcome: Err(failure),
        ..success(attempt, None)
    };
    work.session.report(report).await;
    let state = state(&coordinator, attempt).await;
    assert!(matches!(state, JobState::Cancelled { .. }), "{state:?}");
}

#[tokio::test]
async fn a_success_waits_for_its_store_and_keeps_its_lease() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    let SignAnswer::Grant(grant) = publish(&work, &coordinator, b"snapshot").await else {
        panic!("not granted");
    };
    assert_eq!(work.agent.send(&grant, b"snapshot").await, 200);
    let bucket = coordinator.directory.path().join("objects/bucket");
    let aside = coordinator.directory.path().join("aside");
    std::fs::rename(&bucket, &aside).unwrap();
    let report = success(work.attempt, Some(result(sha256(b"snapshot"))));
    let id = report.report_id;
    work.session.send(AgentMessage::Report(report)).await;
    for _ in 0..4 {
        coordinator.advance(LEASE / 2);
        // The agent works on nothing any more.
        assert_eq!(work.session.heartbeat(&[]).await, [work.attempt]);
        round(&coordinator).await;
    }
    let waiting = state(&coordinator, work.attempt).await;
    assert_eq!(waiting.word(), StateWord::Running);
    std::fs::rename(&aside, &bucket).unwrap();
    let acknowledged = work.session.next().await;
    assert_eq!(acknowledged, Some(CoordinatorMessage::ReportAck(id)));
    let ended = state(&coordinator, work.attempt).await;
    assert_eq!(ended.word(), StateWord::Succeeded);
}

#[tokio::test]
async fn a_success_without_its_snapshot_in_the_store_is_a_failure() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    publish(&work, &coordinator, b"snapshot").await;
    let report = success(work.attempt, Some(result(sha256(b"snapshot"))));
    work.session.report(report).await;
    let ended = state(&coordinator, work.attempt).await;
    assert!(
        matches!(&ended, JobState::Pending { failure: Some(failure), .. }
            if failure.message.contains("does not hold it")),
        "{ended:?}"
    );
}

/// Asks for packs of half a gibibyte that are never sent.
async fn sign_packs(work: &AtWork, numbers: std::ops::Range<u8>) -> Vec<SignAnswer> {
    let packs = numbers.map(|number| {
        let sha256 = sha256(&[number]);
        let length = 512 << 20;
        (
            ObjectName::data_pack(sha256),
            Action::Put { length, sha256 },
        )
    });
    work.agent.sign(work.attempt, packs.collect()).await
}

#[tokio::test]
async fn a_job_that_its_history_does_not_explain_raises_an_alarm() {
    let coordinator = Coordinator::start().await;
    let catalog = &coordinator.catalog;
    let mut work = at_work(&coordinator, "web-1").await;
    let alarm = async |work: &AtWork| catalog.job(work.attempt.job).await.unwrap().alarm;
    sign_packs(&work, 0..4).await;
    assert_eq!(alarm(&work).await, None, "there is no history yet");
    back_up(&mut work, &coordinator, b"first").await;

    coordinator.job(&work.agent, backup()).await;
    round(&coordinator).await;
    work.attempt = offer(&mut work.session).await.attempt;
    let attempt = work.attempt;
    work.session.send(AgentMessage::JobAccepted(attempt)).await;
    // Four times two gibibytes, and one more.
    sign_packs(&work, 10..28).await;
    assert_eq!(alarm(&work).await, None);
    for numbers in [28..29, 29..30] {
        let answers = sign_packs(&work, numbers).await;
        assert!(matches!(answers[0], SignAnswer::Grant(_)), "it goes on");
        let alarm = alarm(&work).await.unwrap();
        assert!(alarm.contains("9216 MiB"), "{alarm}");
    }
    let filter = crate::catalog::AuditFilter {
        action: Some("job.alarm".into()),
        ..crate::catalog::AuditFilter::default()
    };
    let audited = catalog.audit_log(&filter, 9).await.unwrap().items;
    assert_eq!(audited.len(), 1);
    back_up(&mut work, &coordinator, b"second").await;
    let done = catalog.job(attempt.job).await.unwrap();
    assert!(done.alarm.is_some(), "it is still to be seen");
}

/// Writes packs of one byte each as the attempt may, and gives where they lie.
async fn write_packs(work: &AtWork, numbers: &[u8]) -> Vec<ObjectName> {
    let mut packs = Vec::new();
    for number in numbers {
        let body = [*number];
        let sha256 = sha256(&body);
        let pack = ObjectName::data_pack(sha256);
        let put = Action::Put { length: 1, sha256 };
        let answers = work.agent.sign(work.attempt, vec![(pack, put)]).await;
        let SignAnswer::Grant(grant) = &answers[0] else {
            panic!("not granted");
        };
        assert_eq!(work.agent.send(grant, &body).await, 200);
        packs.push(pack);
    }
    packs
}

#[tokio::test]
async fn what_a_store_has_lost_is_found_and_found_again() {
    let coordinator = Coordinator::start().await;
    let catalog = &coordinator.catalog;
    let mut work = at_work(&coordinator, "web-1").await;
    let packs = write_packs(&work, &[1, 2, 3]).await;
    back_up(&mut work, &coordinator, b"snapshot").await;

    let repository = catalog.repository("primary/web-1").await.unwrap();
    let compare = async || {
        let client = &coordinator.store().client;
        let found = crate::losses::compare(catalog, client, &repository).await;
        let lost = found.unwrap().lost.into_iter();
        lost.map(|lost| (lost.path, lost.found)).collect::<Vec<_>>()
    };
    assert_eq!(compare().await, []);
    let objects = coordinator.directory.path().join("objects/bucket");
    let keys = coordinator.store().client.config();
    let at = |object: ObjectName| objects.join(keys.object_key(&repository.prefix, &object));
    std::fs::remove_file(at(packs[0])).unwrap();
    std::fs::write(at(packs[2]), [3, 3]).unwrap();
    let snapshot = ObjectName::snapshot(sha256(b"snapshot"));
    let aside = coordinator.directory.path().join("aside");
    std::fs::rename(at(snapshot), &aside).unwrap();
    let mut lost = vec![
        (packs[0].path(), None),
        (packs[2].path(), Some(2)),
        (snapshot.path(), None),
    ];
    lost.sort();
    let mut found = compare().await;
    found.sort();
    assert_eq!(found, lost);
    let latest = async || catalog.latest_snapshots().await.unwrap().len();
    assert_eq!(latest().await, 0);
    std::fs::rename(&aside, at(snapshot)).unwrap();
    assert_eq!(compare().await.len(), 2);
    assert_eq!(latest().await, 1);

    // The task does the same by itself, once a day.
    std::fs::remove_file(at(packs[1])).unwrap();
    let comparer = Comparer::new(catalog.clone(), coordinator.stores.clone());
    comparer.round(&mut HashSet::new()).await.unwrap();
    let noted = async || catalog.lost_objects(&repository.name).await.unwrap().len();
    assert_eq!(noted().await, 2);
    coordinator.advance(Duration::from_hours(25));
    comparer.round(&mut HashSet::new()).await.unwrap();
    assert_eq!(noted().await, 3);
}

#[tokio::test]
async fn a_listing_reads_trees_and_no_data() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    for (object, body) in [
        (ObjectName::tree_pack(sha256(b"tree")), b"tree"),
        (ObjectName::data_pack(sha256(b"data")), b"data"),
    ] {
        assert_eq!(work.agent.put(work.attempt, object, body).await, 200);
    }
    back_up(&mut work, &coordinator, b"snapshot").await;
    let list = ListSpec {
        snapshot: sha256(b"snapshot"),
        path: "/".into(),
        recursive: true,
        after: None,
        limit: 100,
    };
    coordinator.job(&work.agent, JobSpec::List(list)).await;
    round(&coordinator).await;
    let listing = offer(&mut work.session).await.attempt;
    let requests = [
        ObjectName::snapshot(sha256(b"snapshot")),
        ObjectName::tree_pack(sha256(b"tree")),
        ObjectName::tree_pack(sha256(b"data")),
        ObjectName::data_pack(sha256(b"data")),
        ObjectName::tree_pack(sha256(b"unknown")),
    ];
    let requests = requests.map(|object| (object, GET)).to_vec();
    let answers = work.agent.sign(listing, requests).await;
    for answer in &answers[..2] {
        assert!(matches!(answer, SignAnswer::Grant(_)), "{answer:?}");
    }
    for answer in &answers[2..] {
        assert_eq!(reason(answer), RefusalReason::ReadForbidden);
    }
}

#[tokio::test]
async fn restores_read_and_write_only_locks() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    let id = sha256(b"snapshot");
    back_up(&mut work, &coordinator, b"snapshot").await;
    coordinator.job(&work.agent, restore(id)).await;
    round(&coordinator).await;
    let offer = offer(&mut work.session).await;
    assert!(matches!(offer.spec, Ok(JobSpec::Restore(_))));
    assert!(!offer.repository.create);
    assert_eq!(
        offer.repository.password, work.offer.repository.password,
        "the same repository, the same password"
    );
    let (pack, put) = (sha256(b"pack"), |sha256| Action::Put { length: 4, sha256 });
    let requests = vec![
        (ObjectName::snapshot(id), GET),
        (ObjectName::data_pack(pack), GET),
        (ObjectName::lock(pack), put(pack)),
        (ObjectName::data_pack(pack), put(pack)),
    ];
    let answers = work.agent.sign(offer.attempt, requests).await;
    for answer in &answers[..3] {
        assert!(matches!(answer, SignAnswer::Grant(_)), "{answer:?}");
    }
    assert_eq!(reason(&answers[3]), RefusalReason::WriteForbidden);
}

#[tokio::test]
async fn what_ended_attempts_left_open_is_settled() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    let (catalog, store) = (&coordinator.catalog, &coordinator.store().client);
    let lock = ObjectName::lock(sha256(b"lock"));
    assert_eq!(work.agent.put(work.attempt, lock, b"lock").await, 200);
    // One snapshot was written, the other only granted; then the agent died.
    let SignAnswer::Grant(grant) = publish(&work, &coordinator, b"written").await else {
        panic!("not granted");
    };
    assert_eq!(work.agent.send(&grant, b"written").await, 200);
    publish(&work, &coordinator, b"never written").await;

    let mut sweeper = Sweeper::new(catalog.clone(), coordinator.stores.clone());
    sweeper.sweep().await.unwrap();
    let locks = async || store.list("web-1", Directory::Locks).await.unwrap();
    assert_eq!(locks().await.len(), 1, "its attempt is at work");

    drop(work.session);
    coordinator.advance(LEASE);
    round(&coordinator).await;
    sweeper.sweep().await.unwrap();
    assert_eq!(locks().await, []);
    let known = async || {
        let known = catalog.objects_of_attempt(work.attempt, ObjectKind::Lock);
        known.await.unwrap().len()
    };
    assert_eq!(known().await, 1, "its grant still holds");
    let written = sha256(b"written").to_string();
    assert!(catalog.find_snapshot(&written).await.is_ok());
    let unconfirmed = catalog.unconfirmed_snapshots().await.unwrap();
    assert_eq!(unconfirmed.len(), 1, "its grant still holds");
    coordinator.advance(Duration::from_hours(1));
    sweeper.sweep().await.unwrap();
    assert_eq!(catalog.unconfirmed_snapshots().await.unwrap(), []);
    assert!(catalog.find_snapshot(&written).await.is_ok());
    assert_eq!(known().await, 0);
}

#[tokio::test]
async fn pieces_that_nobody_fetches_are_deleted_for_good() {
    let coordinator = Coordinator::start().await;
    let _work = at_work(&coordinator, "web-1").await;
    let (catalog, store) = (&coordinator.catalog, &coordinator.store().client);
    let agent = catalog.find_agent("web-1").await.unwrap();
    let repository = catalog.repositories().await.unwrap().remove(0);
    let by = Actor::Operator("admin".into());
    let upload = async || {
        let work = UploadSpec {
            dataset: "upload-x@web-1".into(),
            transfer: Uuid::nil(),
            manifest: sha256(b"manifest"),
            tags: Vec::new(),
            file_name: "x".into(),
            format: UploadFormat::File,
            database: String::new(),
        };
        let made = catalog.create_upload(&repository.name, agent.id, work, by.clone());
        made.await.unwrap().id
    };
    let piece = async |transfer: Uuid, bytes: &[u8]| {
        let name = ObjectName::transfer(sha256(bytes));
        let attempt = AttemptRef {
            job: JobId(transfer),
            attempt: 1,
        };
        let objects = [(name, bytes.len() as u64)];
        let recorded = catalog.record_objects(&repository.name, attempt, &objects);
        recorded.await.unwrap();
        let path = format!("{}/{}", repository.prefix, name.path());
        store.put(&path, bytes.to_vec()).await.unwrap();
    };
    let there = async || {
        let listed = store.list(&repository.prefix, Directory::Transfers).await;
        listed.unwrap().len()
    };
    let (left, ended) = (upload().await, upload().await);
    piece(left, b"left behind").await;
    piece(ended, b"of an upload that was given up").await;
    let mut sweeper = Sweeper::new(catalog.clone(), coordinator.stores.clone());
    sweeper.sweep().await.unwrap();
    assert_eq!(there().await, 2, "they may still be wanted");

    catalog.end_transfer(ended, &by).await.unwrap();
    sweeper.sweep().await.unwrap();
    assert_eq!(there().await, 1);
    assert_eq!(
        catalog.pieces(ended).await.unwrap().len(),
        1,
        "it may come again"
    );
    piece(ended, b"of an upload that was given up").await;
    coordinator.advance(Duration::from_hours(1));
    sweeper.sweep().await.unwrap();
    assert_eq!(there().await, 1);
    assert_eq!(catalog.pieces(ended).await.unwrap(), []);

    coordinator.advance(Duration::from_hours(24));
    sweeper.sweep().await.unwrap();
    assert_eq!(there().await, 0);
    assert_eq!(catalog.pieces(left).await.unwrap(), []);
}

#[tokio::test]
async fn the_dispatcher_wakes_for_jobs_and_sessions() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let stop = CancellationToken::new();
    let dispatcher = tokio::spawn(coordinator.dispatcher().run(stop.clone()));
    // A job that waits for its agent, then an agent that waits for a job.
    coordinator.job(&agent, backup()).await;
    let mut session = session(&agent, 1, &[]).await;
    let first = offer(&mut session).await;
    let attempt = first.attempt;
    session.send(AgentMessage::JobAccepted(attempt)).await;
    assert_eq!(session.heartbeat(&[attempt]).await, [attempt]);
    let mut work = AtWork {
        agent,
        session,
        offer: first,
        attempt,
    };
    back_up(&mut work, &coordinator, b"snapshot").await;
    coordinator.job(&work.agent, backup()).await;
    let second = offer(&mut work.session).await;
    match second.spec {
        Ok(JobSpec::Backup(work)) => assert_eq!(work.parent, Some(sha256(b"snapshot"))),
        other => panic!("{other:?}"),
    }
    stop.cancel();
    dispatcher.await.unwrap();
}

#[tokio::test]
async fn a_report_that_came_before_its_attempt_was_not_seen() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let job = coordinator.job(&agent, backup()).await;
    let attempt = AttemptRef {
        job: job.id,
        attempt: 1,
    };
    let lie = success(attempt, Some(result(sha256(b"never written"))));
    let looked = coordinator.grants.borne_out(agent.id, lie.clone()).await;
    assert!(!looked.unwrap().seen);

    let mut work = at_work_on(&coordinator, agent, attempt).await;
    publish(&work, &coordinator, b"never written").await;
    // As it would be entered if it had waited for so long.
    let catalog = &coordinator.catalog;
    let backoff = &coordinator.config.backoff;
    let entered = catalog
        .finish_attempt(work.agent.id, &lie, false, backoff)
        .await;
    assert_eq!(entered.unwrap(), crate::catalog::Finished::Unseen);
    // Compared with the store, it is no success.
    work.session.report(lie).await;
    let state = state(&coordinator, attempt).await;
    assert!(!matches!(state, JobState::Succeeded { .. }), "{state:?}");
}

/// The agent's only job, accepted.
async fn at_work_on(coordinator: &Coordinator, agent: TestAgent, attempt: AttemptRef) -> AtWork {
    let mut session = session(&agent, 1, &[]).await;
    round(coordinator).await;
    let offer = offer(&mut session).await;
    assert_eq!(offer.attempt, attempt);
    session.send(AgentMessage::JobAccepted(attempt)).await;
    assert_eq!(session.heartbeat(&[attempt]).await, [attempt]);
    AtWork {
        agent,
        session,
        offer,
        attempt,
    }
}

#[tokio::test]
async fn a_repository_is_ready_once_its_config_is_in_the_store() {
    let coordinator = Coordinator::start().await;
    let agent = coordinator.enrolled("web-1").await;
    let archiving = JobSpec::Wal(WalSpec {
        dataset: format!("files@{}", agent.name),
        connection: "orders".into(),
        method: WalMethod::Push,
        limit: None,
        drop: true,
    });
    let job = coordinator.job(&agent, archiving).await;
    let attempt = AttemptRef {
        job: job.id,
        attempt: 1,
    };
    let work = at_work_on(&coordinator, agent, attempt).await;
    let mut client = work.agent.client();
    let mut record = async || {
        let request = RecordWalRequest {
            attempt,
            stored: vec![],
            histories: vec![],
            position: None,
            behind: None,
        };
        client
            .record_wal(v1::RecordWalRequest::from(request))
            .await
            .map(drop)
    };
    let is_ready = async || {
        let repository = coordinator.catalog.repository("primary/web-1").await;
        let state = repository.unwrap().state;
        matches!(state, crate::model::RepositoryState::Ready { .. })
    };
    let refused = record().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("config"), "{refused}");
    assert!(!is_ready().await);
    let written = work.agent.put(attempt, ObjectName::Config, b"config").await;
    assert_eq!(written, 200);
    record().await.unwrap();
    assert!(is_ready().await);
}

#[tokio::test]
async fn a_grant_holds_for_a_few_minutes_whatever_becomes_of_its_agent() {
    let coordinator = Coordinator::start().await;
    let work = at_work(&coordinator, "web-1").await;
    let grant = async |ago: i64, body: &[u8]| {
        // The store goes by the real time.
        let ago = jiff::SignedDuration::from_secs(ago);
        coordinator.clock.advance(-ago);
        let action = Action::Put {
            length: body.len() as u64,
            sha256: sha256(body),
        };
        let pack = ObjectName::data_pack(sha256(body));
        let answer = work.agent.sign(work.attempt, vec![(pack, action)]).await;
        coordinator.clock.advance(ago);
        match answer.into_iter().next() {
            Some(SignAnswer::Grant(grant)) => grant,
            other => panic!("{other:?}"),
        }
    };
    let young = grant(3 * 60, b"young").await;
    assert!(young.valid_seconds <= 3 * 60);
    let old = grant(5 * 60 + 5, b"old").await;
    let catalog = &coordinator.catalog;
    let revoked = catalog.revoke_agent(work.agent.id, &operator()).await;
    revoked.unwrap();
    assert_eq!(work.agent.send(&young, b"young").await, 200);
    assert_eq!(work.agent.send(&old, b"old").await, 403);
}

#[tokio::test]
async fn who_is_refused_because_his_lease_ran_out_tries_again() {
    let coordinator = Coordinator::start().await;
    let mut work = at_work(&coordinator, "web-1").await;
    // Nobody has noted it: the catalog could not be written for so long.
    coordinator.advance(LEASE + Duration::from_secs(1));
    let config = (ObjectName::Config, Action::Get { range: None });
    let answer = work.agent.sign(work.attempt, vec![config]).await;
    assert_eq!(reason(&answer[0]), RefusalReason::LeaseExpired);
    let refused = |attempt| Report {
        outcome: Err(Failure {
            code: FailureCode::Refused,
            message: "lease-expired".into(),
            retryable: false,
        }),
        ..success(attempt, None)
    };
    work.session.report(refused(work.attempt)).await;
    let after = state(&coordinator, work.attempt).await;
    assert!(matches!(after, JobState::Pending { .. }), "{after:?}");

    // Who is refused for what he is fails.
    let mut other = at_work(&coordinator, "web-2").await;
    other.session.report(refused(other.attempt)).await;
    let after = state(&coordinator, other.attempt).await;
    assert!(matches!(after, JobState::Failed { .. }), "{after:?}");
}
