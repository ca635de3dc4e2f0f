//! Against a service that verifies what S3 verifies.

use std::{num::NonZeroU64, sync::atomic::Ordering, time::Instant};

use strongroom_layout::ObjectId;
use strongroom_test_s3::service::{BUCKET, Service};

use super::*;
use crate::store::conformance;

#[tokio::test]
async fn conforms() {
    let service = Service::start().await;
    for prefix in ["", "/p", "/a/b c/ä(+)"] {
        let location = format!("s3:{}/{BUCKET}{prefix}", service.endpoint);
        conformance::run(Arc::new(store(&location))).await;
        service.objects.by_key.lock().clear();
    }
    assert!(service.objects.pages.load(Ordering::SeqCst) > 6);
}

#[tokio::test]
async fn objects_lie_below_the_prefix_where_restic_looks_for_them() {
    let service = Service::start().await;
    let store = store(&format!("s3:{}/{BUCKET}/web-1/", service.endpoint));
    let body = Body::new(&b"pack"[..]);
    let hex = body.sha256.to_string();
    store
        .put(ObjectName::data_pack(body.sha256), body)
        .await
        .unwrap();
    let keys: Vec<_> = service.objects.by_key.lock().keys().cloned().collect();
    assert_eq!(keys, [format!("web-1/data/{}/{hex}", &hex[..2])]);
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_not_stored() {
    let service = Service::start().await;
    let store = store(&format!("s3:{}/{BUCKET}", service.endpoint));
    let body = Body::hashed(vec![Bytes::from_static(b"other")], ObjectId([7; 32]));
    let object = ObjectName::index(body.sha256);
    let error = store.put(object, body).await.unwrap_err();
    assert!(error.object.ends_with(&object.path()), "{error}");
    assert!(service.objects.by_key.lock().is_empty());
}

#[tokio::test]
async fn wrong_credentials_and_buckets_are_named() {
    let service = Service::start().await;
    let refusal = async |location: String, credentials: Credentials| {
        let client = client(Duration::from_secs(5));
        let authority = authority(&location, credentials, &client, SystemClock::shared());
        let store = S3Store::new(client, authority);
        let error = store.get(ObjectName::Config, None).await.unwrap_err();
        assert!(!error.is_retryable() && !error.is_not_found(), "{error}");
        let listing = store.list(Directory::Index).await.unwrap_err();
        assert!(
            !listing.is_retryable() && !listing.is_not_found(),
            "{listing}"
        );
        error.to_string()
    };
    let here = format!("s3:{}/{BUCKET}", service.endpoint);
    let wrong_secret = Credentials {
        secret_access_key: Zeroizing::new("wrong".into()),
        ..credentials()
    };
    let message = refusal(here.clone(), wrong_secret).await;
    assert!(message.contains("check the secret access key"), "{message}");
    let wrong_id = Credentials {
        access_key_id: "WRONG".into(),
        ..credentials()
    };
    let message = refusal(here, wrong_id).await;
    assert!(message.contains("access key id"), "{message}");
    let elsewhere = format!("s3:{}/other", service.endpoint);
    let message = refusal(elsewhere, credentials()).await;
    assert!(message.contains("no bucket \"other\""), "{message}");
}

#[tokio::test]
async fn both_directions_are_paced_as_they_stream() {
    let service = Service::start().await;
    let limiter = || Some(RateLimiter::new(NonZeroU64::new(2 << 20).unwrap()));
    let store = store(&format!("s3:{}/{BUCKET}", service.endpoint));
    let store = store.throttled(limiter(), limiter());
    let body = Body::new(vec![7; 1 << 20]);
    let object = ObjectName::data_pack(body.sha256);
    // Half a second, less what the limiter lets pass in a burst.
    let least = Duration::from_millis(375);
    let started = Instant::now();
    store.put(object, body).await.unwrap();
    let took = started.elapsed();
    assert!(took > least, "{took:?}");
    let started = Instant::now();
    store.get(object, None).await.unwrap();
    let took = started.elapsed();
    assert!(took > least, "{took:?}");
}

#[tokio::test]
async fn debug_does_not_tell_the_secret() {
    let credentials = Credentials {
        session_token: Some(Zeroizing::new("session-token".into())),
        ..credentials()
    };
    let client = client(Duration::from_secs(5));
    let authority = authority(
        "s3:https://host/b",
        credentials,
        &client,
        SystemClock::shared(),
    );
    let request = S3Request::Get {
        object: ObjectName::Config,
        range: None,
    };
    let signed = authority.sign(request).await.unwrap();
    for shown in [format!("{authority:?}"), format!("{signed:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(!shown.contains("session-token"), "{shown}");
    }
}
