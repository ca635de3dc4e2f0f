use std::sync::Arc;

use futures::future::join_all;
use strongroom_layout::ObjectId;
use strongroom_repository::store::ByteRange;
use strongroom_wire::grant::{ListedObject, Refusal, RefusalReason, SignResponse};
use tokio::task::JoinHandle;
use tonic::Status;

use super::*;
use crate::{
    enrol::Identity,
    fake::{Call, Fake, days, offer},
    link::{LinkOwner, link},
    transport,
};

struct Scene {
    fake: Fake,
    identity: Identity,
    owner: LinkOwner,
    authority: Arc<GrantAuthority>,
    cancel: CancellationToken,
    signing: JoinHandle<()>,
    _state: tempfile::TempDir,
}

async fn scene() -> Scene {
    let fake = Fake::start().await;
    let state = tempfile::tempdir().unwrap();
    let identity = fake.identity(state.path(), days(7));
    let (owner, link) = link();
    let cancel = CancellationToken::new();
    let (authority, signing) = GrantAuthority::new(offer(1, None).attempt, link, cancel.clone());
    let scene = Scene {
        fake,
        identity,
        owner,
        authority: Arc::new(authority),
        cancel,
        signing: tokio::spawn(signing.run()),
        _state: state,
    };
    scene.connect().await;
    scene
}

impl Scene {
    async fn connect(&self) {
        let tls = self.identity.tls().unwrap();
        let channel = transport::connect(&self.fake.address, tls).await.unwrap();
        self.owner.set(Some(channel));
    }
}

fn id(n: usize) -> ObjectId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    ObjectId(id)
}

fn get(n: usize) -> S3Request {
    S3Request::Get {
        object: ObjectName::data_pack(id(n)),
        range: Some(ByteRange { first: 1, last: 5 }),
    }
}

fn grant(object: ObjectName) -> SignAnswer {
    SignAnswer::Grant(Grant {
        method: "GET".into(),
        url: format!("https://s3.example.org/{object}"),
        headers: vec![("x-amz-date".into(), "20261121T000000Z".into())],
        valid_seconds: 300,
    })
}

/// Grants every request of a batch.
fn grant_all(requests: &[RequestToSign]) -> SignResponse {
    SignResponse {
        answers: requests.iter().map(|r| grant(r.object)).collect(),
    }
}

#[tokio::test]
async fn a_grant_becomes_a_request_to_send() {
    let mut scene = scene().await;
    let signed = scene.authority.sign(get(7));
    let answer = async {
        let Call::Sign(request, answer) = scene.fake.call().await else {
            panic!("no signing");
        };
        assert_eq!(request.attempt, offer(1, None).attempt);
        assert_eq!(
            request.requests,
            [RequestToSign {
                object: ObjectName::data_pack(id(7)),
                action: Action::Get {
                    range: Some((1, 5))
                },
            }]
        );
        answer.send(Ok(grant_all(&request.requests))).unwrap();
    };
    let (signed, ()) = tokio::join!(signed, answer);
    let signed = signed.unwrap();
    assert_eq!(signed.method, http::Method::GET);
    assert!(signed.url.ends_with(&id(7).to_string()));
    assert_eq!(signed.headers["x-amz-date"], "20261121T000000Z");
}

#[tokio::test]
async fn many_requests_share_few_calls_and_each_gets_its_own_answer() {
    const REQUESTS: usize = 300;
    let mut scene = scene().await;
    let authority = scene.authority.clone();
    let all =
        tokio::spawn(async move { join_all((0..REQUESTS).map(|n| authority.sign(get(n)))).await });
    let (mut calls, mut answered) = (0, 0);
    while answered < REQUESTS {
        let Call::Sign(request, answer) = scene.fake.call().await else {
            panic!("no signing");
        };
        assert!(request.requests.len() <= batch::MAX_BATCH);
        (calls, answered) = (calls + 1, answered + request.requests.len());
        answer.send(Ok(grant_all(&request.requests))).unwrap();
    }
    for (n, signed) in all.await.unwrap().into_iter().enumerate() {
        let url = signed.unwrap().url;
        assert!(url.ends_with(&id(n).to_string()), "{n}: {url}");
    }
    assert!(calls <= 10, "{calls} calls");
}

/// An upload waits for one answer, and for nobody else's: no timer gathers a
/// batch, and batches under way do not hold the next one up.
#[tokio::test]
async fn a_pack_s_grant_waits_for_no_other() {
    let mut scene = scene().await;
    let authority = scene.authority.clone();
    let mut slow = Box::pin(authority.sign(get(1)));
    let call = tokio::select! {
        call = scene.fake.call() => call,
        _ = &mut slow => panic!("answered by nobody"),
    };
    let Call::Sign(first, _unanswered) = call else {
        panic!("no signing");
    };
    assert_eq!(first.requests.len(), 1);

    let pack = S3Request::Put {
        object: ObjectName::data_pack(id(2)),
        length: 64 << 20,
        sha256: id(2),
    };
    let answer_second = async {
        let Call::Sign(second, answer) = scene.fake.call().await else {
            panic!("no signing");
        };
        assert_eq!(second.requests.len(), 1);
        answer.send(Ok(grant_all(&second.requests))).unwrap();
    };
    let (signed, ()) = tokio::join!(authority.sign(pack), answer_second);
    assert!(signed.unwrap().url.ends_with(&id(2).to_string()));
}

#[tokio::test]
async fn a_refusal_concerns_one_request_only_and_keeps_its_reason() {
    let mut scene = scene().await;
    let authority = scene.authority.clone();
    let both =
        tokio::spawn(async move { tokio::join!(authority.sign(get(0)), authority.sign(get(1))) });
    let mut answered = 0;
    while answered < 2 {
        let Call::Sign(request, answer) = scene.fake.call().await else {
            panic!("no signing");
        };
        answered += request.requests.len();
        let answers = request.requests.iter().map(|request| {
            if request.object.id() == Some(id(0)) {
                SignAnswer::Refusal(Refusal {
                    reason: RefusalReason::ReadForbidden,
                    message: "a backup reads no data packs".into(),
                })
            } else {
                grant(request.object)
            }
        });
        let answers = answers.collect();
        answer.send(Ok(SignResponse { answers })).unwrap();
    }
    let (refused, granted) = both.await.unwrap();
    assert!(granted.is_ok());
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("data/"), "{error}");
    match error.kind {
        StoreErrorKind::Refused { reason, message } => {
            assert_eq!(reason, "read-forbidden");
            assert_eq!(message, "a backup reads no data packs");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_store_that_was_not_checked_yet_is_asked_for_again() {
    let mut scene = scene().await;
    for (reason, again) in [
        (RefusalReason::StoreUnchecked, true),
        (RefusalReason::StoreUnsafe, false),
    ] {
        let signed = scene.authority.sign(get(1));
        let refuse = async {
            let Call::Sign(_, answer) = scene.fake.call().await else {
                panic!("no signing");
            };
            let message = "the store could not be checked".into();
            let answers = vec![SignAnswer::Refusal(Refusal { reason, message })];
            answer.send(Ok(SignResponse { answers })).unwrap();
        };
        let (signed, ()) = tokio::join!(signed, refuse);
        let error = signed.unwrap_err();
        assert_eq!(error.is_retryable(), again, "{error}");
        assert!(
            error.to_string().contains("could not be checked"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_restarted_coordinator_is_waited_for() {
    let mut scene = scene().await;
    let authority = scene.authority.clone();
    let signed = tokio::spawn(async move { authority.sign(get(1)).await });
    let Call::Sign(..) = scene.fake.call().await else {
        panic!("no signing");
    };
    // It went down with the question in its hands.
    scene.fake.restart().await;
    let Call::Sign(request, answer) = scene.fake.call().await else {
        panic!("no signing");
    };
    answer.send(Err(Status::unavailable("starting"))).unwrap();
    drop(request);
    scene.owner.set(None);
    scene.connect().await;
    let Call::Sign(request, answer) = scene.fake.call().await else {
        panic!("no signing");
    };
    answer.send(Ok(grant_all(&request.requests))).unwrap();
    assert!(signed.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_cancelled_job_waits_for_nobody() {
    let mut scene = scene().await;
    scene.fake.stop();
    scene.owner.set(None);
    let authority = scene.authority.clone();
    let signed = tokio::spawn(async move { authority.sign(get(1)).await });
    scene.cancel.cancel();
    let error = signed.await.unwrap().unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Cancelled), "{error}");
}

#[tokio::test]
async fn a_question_that_will_not_be_answered_fails() {
    let mut scene = scene().await;
    let listed = scene.authority.list(Directory::Data);
    let answer = async {
        let Call::List(_, answer) = scene.fake.call().await else {
            panic!("no listing");
        };
        answer
            .send(Err(Status::permission_denied("attempt ended")))
            .unwrap();
    };
    let (listed, ()) = tokio::join!(listed, answer);
    let AskError::Failed { message } = listed.unwrap_err() else {
        panic!("not failed");
    };
    assert!(message.contains("attempt ended"), "{message}");
}

#[tokio::test]
async fn a_refused_call_keeps_its_reason() {
    let mut scene = scene().await;
    let listed = Authority::list(&*scene.authority, Directory::Data);
    let answer = async {
        let Call::List(_, answer) = scene.fake.call().await else {
            panic!("no listing");
        };
        let status = Status::permission_denied("lease-expired: the lease ran out");
        answer.send(Err(status)).unwrap();
    };
    let (listed, ()) = tokio::join!(listed, answer);
    match listed.unwrap_err().kind {
        StoreErrorKind::Refused { reason, message } => {
            assert_eq!(reason, "lease-expired");
            assert_eq!(message, "the lease ran out");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn listings_come_from_the_coordinator_page_by_page() {
    let mut scene = scene().await;
    let listed = scene.authority.list(Directory::Index);
    let answers = async {
        for (after, found, more) in [(None, id(3), true), (Some(id(3)), id(5), false)] {
            let Call::List(request, answer) = scene.fake.call().await else {
                panic!("no listing");
            };
            assert_eq!(request.directory, Directory::Index);
            assert_eq!(request.after, after);
            let objects = vec![ListedObject { id: found, size: 9 }];
            answer
                .send(Ok(ListObjectsResponse { objects, more }))
                .unwrap();
        }
    };
    let (listed, ()) = tokio::join!(listed, answers);
    let expected = [id(3), id(5)].map(|id| Listed {
        id,
        size: 9,
        written: Written::Lately,
    });
    assert_eq!(listed.unwrap(), expected);
}

#[tokio::test]
async fn a_listing_that_goes_in_circles_is_given_up() {
    for objects in [vec![], vec![ListedObject { id: id(3), size: 9 }]] {
        let mut scene = scene().await;
        let listed = scene.authority.list(Directory::Index);
        let answers = async {
            for _ in 0..=objects.len() {
                let Call::List(_, answer) = scene.fake.call().await else {
                    panic!("no listing");
                };
                let (objects, more) = (objects.clone(), true);
                answer
                    .send(Ok(ListObjectsResponse { objects, more }))
                    .unwrap();
            }
        };
        let (listed, ()) = tokio::join!(listed, answers);
        assert!(matches!(listed, Err(AskError::Failed { .. })));
    }
}

#[tokio::test]
async fn locks_are_released_even_by_a_cancelled_job_and_nothing_else_is() {
    let mut scene = scene().await;
    scene.cancel.cancel();
    let removed = Authority::remove(&*scene.authority, ObjectName::lock(id(4)));
    let answer = async {
        let Call::Release(request, answer) = scene.fake.call().await else {
            panic!("no release");
        };
        assert_eq!(request.ids, [id(4)]);
        answer.send(Ok(())).unwrap();
    };
    let (removed, ()) = tokio::join!(removed, answer);
    removed.unwrap();
    let error = Authority::remove(&*scene.authority, ObjectName::data_pack(id(4)))
        .await
        .unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Denied(_)), "{error}");
}

#[tokio::test]
async fn a_snapshot_is_signed_by_publishing_it() {
    let mut scene = scene().await;
    let snapshot = id(9);
    let put = S3Request::Put {
        object: ObjectName::snapshot(snapshot),
        length: 321,
        sha256: snapshot,
    };
    let error = scene.authority.sign(put).await.unwrap_err();
    assert!(error.to_string().contains("finished backup"), "{error}");

    let result = BackupOutcome {
        snapshot,
        files: 1,
        directories: 2,
        files_unmodified: 3,
        bytes_read: 4,
        bytes_total: 5,
        bytes_new: 6,
        bytes_stored: 7,
        blobs_new: 8,
        packs_new: 9,
        cluster: None,
        partial: false,
    };
    scene.authority.announce(Publication {
        result: result.clone(),
        time: Timestamp::from_microsecond(1_234_567).unwrap(),
    });
    let signed = scene.authority.sign(put);
    let answer = async {
        let Call::Publish(request, answer) = scene.fake.call().await else {
            panic!("no publication");
        };
        assert_eq!((request.snapshot, request.length), (snapshot, 321));
        assert_eq!(request.result, result);
        assert_eq!(request.snapshot_time_us, 1_234_567);
        let response = PublishResponse {
            answer: grant(ObjectName::snapshot(snapshot)),
        };
        answer.send(Ok(response)).unwrap();
    };
    let (signed, ()) = tokio::join!(signed, answer);
    signed.unwrap();
}

#[tokio::test]
async fn signing_ends_with_its_authority() {
    let scene = scene().await;
    drop(scene.authority);
    scene.signing.await.unwrap();
}
