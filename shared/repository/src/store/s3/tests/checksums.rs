//! Buckets that take nothing without a checksum, and services that take nothing
//! with one.

use strongroom_layout::ObjectId;
use strongroom_test_s3::scripted::{Scripted, Step, error, head};

use super::*;

#[tokio::test]
async fn a_put_has_its_checksum_until_a_service_does_not_know_it() {
    let ok = || Step::Answer(head("200 OK", "", 0));
    let unknown = error("501 Not Implemented", "NotImplemented", "");
    let server = Scripted::start([ok(), unknown, ok(), ok()]).await;
    let store = store(&server.location);
    let body = || Body::hashed(vec![Bytes::from_static(b"pack")], ObjectId([7; 32]));
    for _ in 0..3 {
        let object = ObjectName::data_pack(ObjectId([7; 32]));
        store.put(object, body()).await.unwrap();
    }
    let heads = server.heads.lock();
    let sum = "x-amz-checksum-sha256: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let with_it: Vec<_> = heads.iter().map(|head| head.contains(sum)).collect();
    assert_eq!(with_it, [true, true, false, false]);
    assert!(heads[0].contains(";x-amz-checksum-sha256;"), "{}", heads[0]);
}

#[tokio::test]
async fn a_service_may_call_it_a_bad_request() {
    let ok = || Step::Answer(head("200 OK", "", 0));
    let bad = |code| error("400 Bad Request", code, "");
    // What is about the body says nothing of the checksum.
    let steps = [bad("BadDigest"), ok(), bad("InvalidRequest"), ok(), ok()];
    let server = Scripted::start(steps).await;
    let store = store(&server.location);
    let body = || Body::hashed(vec![Bytes::from_static(b"pack")], ObjectId([7; 32]));
    let object = ObjectName::data_pack(ObjectId([7; 32]));
    assert!(store.put(object, body()).await.is_err());
    for _ in 0..3 {
        store.put(object, body()).await.unwrap();
    }
    let heads = server.heads.lock();
    let with_it = heads
        .iter()
        .map(|head| head.contains("x-amz-checksum-sha256:"));
    assert_eq!(
        with_it.collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
}

#[tokio::test]
async fn what_else_is_unknown_is_an_error() {
    let unknown = || error("501 Not Implemented", "NotImplemented", "");
    let server = Scripted::start([unknown(), unknown()]).await;
    let body = Body::hashed(vec![Bytes::from_static(b"pack")], ObjectId([7; 32]));
    let object = ObjectName::data_pack(ObjectId([7; 32]));
    let refused = store(&server.location).put(object, body).await;
    assert!(refused.unwrap_err().to_string().contains("501"));
}
