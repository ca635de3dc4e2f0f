//! A PUT that finds its object there, because an earlier answer was lost.

use strongroom_layout::{ObjectId, ObjectKind};
use strongroom_test_s3::scripted::{Scripted, Step, error, head};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::retry::{RetryPolicy, RetryStore};

fn there() -> Step {
    error("412 Precondition Failed", "PreconditionFailed", "")
}

fn long(length: usize) -> Step {
    Step::Answer(head("200 OK", "", length))
}

/// Writes 4 bytes as an object of this name.
async fn put(object: ObjectName, script: Vec<Step>) -> (Result<(), StoreError>, Vec<String>) {
    let server = Scripted::start(script).await;
    let body = Body::hashed(vec![Bytes::from_static(b"pack")], ObjectId([7; 32]));
    let outcome = store(&server.location).put(object, body).await;
    let heads = server.heads.lock();
    let lines = heads
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned());
    (outcome, lines.collect())
}

#[tokio::test]
async fn what_is_there_under_its_hash_and_as_long_is_the_object() {
    for kind in [ObjectKind::DataPack, ObjectKind::Lock, ObjectKind::Snapshot] {
        let object = ObjectName::Hashed(kind, ObjectId([7; 32]));
        let (outcome, requests) = put(object, vec![there(), long(4)]).await;
        outcome.unwrap();
        assert!(requests[0].starts_with("PUT "), "{requests:?}");
        assert!(requests[1].starts_with("HEAD "), "{requests:?}");
    }
}

#[tokio::test]
async fn what_was_cut_is_not_taken_for_the_object() {
    let object = ObjectName::data_pack(ObjectId([7; 32]));
    let (outcome, _) = put(object, vec![there(), long(3)]).await;
    let error = outcome.unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("3 of 4 bytes"), "{error}");
}

#[tokio::test]
async fn what_has_gone_meanwhile_is_written_again() {
    let object = ObjectName::data_pack(ObjectId([7; 32]));
    let gone = Step::Answer(head("404 Not Found", "", 0));
    let server = Scripted::start([there(), gone, head_of_success()]).await;
    let policy = RetryPolicy {
        initial: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let inner = Arc::new(store(&server.location));
    let store = RetryStore::new(inner, policy, CancellationToken::new());
    let body = Body::hashed(vec![Bytes::from_static(b"pack")], ObjectId([7; 32]));
    store.put(object, body).await.unwrap();
    assert_eq!(server.heads.lock().len(), 3);
}

fn head_of_success() -> Step {
    Step::Answer(head("200 OK", "", 0))
}

#[tokio::test]
async fn a_config_is_never_taken_for_another() {
    let (outcome, requests) = put(ObjectName::Config, vec![there()]).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Exists), "{error}");
    assert_eq!(requests.len(), 1);
}
