//! A network that breaks, stalls and lies.

use strongroom_runtime::pki::{CertificateAuthority, tls};
use strongroom_test_s3::{
    scripted::{Scripted, Step, answer, error, head},
    service::{BUCKET, Service},
};

use super::*;
use crate::store::{
    conformance,
    retry::{RetryPolicy, RetryStore},
};

/// Short, since these tests wait for it; long enough for a busy machine to
/// move a byte.
const STALL: Duration = Duration::from_secs(2);

fn impatient(location: &str) -> S3Store {
    let client = client(STALL);
    let authority = authority(location, credentials(), &client, SystemClock::shared());
    S3Store::new(client, authority)
}

#[tokio::test]
async fn broken_connections_are_transient() {
    let cut = Step::Answer(head("200 OK", "", 100) + "only this");
    for step in [Step::Reset, cut, Step::Answer(String::new())] {
        let server = Scripted::start([step.clone()]).await;
        let error = store(&server.location)
            .get(ObjectName::Config, None)
            .await
            .unwrap_err();
        assert!(error.is_retryable(), "{step:?}: {error}");
    }
    // Nobody listens on port 1.
    let error = store("s3:http://127.0.0.1:1/bucket")
        .get(ObjectName::Config, None)
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn stalls_are_noticed_in_both_directions() {
    let large = || Body::new(vec![3; 32 << 20]);
    let server = Scripted::start([Step::Stall, Step::Stall]).await;
    let store = impatient(&server.location);
    for error in [
        store.put(ObjectName::Config, large()).await.unwrap_err(),
        store.get(ObjectName::Config, None).await.unwrap_err(),
    ] {
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("nothing moved"), "{error}");
    }
    let half = Step::StallAfter(head("200 OK", "", 100) + "half");
    let server = Scripted::start([half]).await;
    let error = impatient(&server.location)
        .get(ObjectName::Config, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("while receiving"), "{error}");
}

#[tokio::test]
async fn holding_back_for_the_limiter_is_no_stall() {
    let server = Scripted::start([answer("200 OK", "", "")]).await;
    // Pieces of 4 KiB at 20 KiB/s, all but the first behind another stream that
    // takes the line for three seconds: nothing moves for longer than `STALL`.
    let limiter = RateLimiter::new(std::num::NonZeroU64::new(20 << 10).unwrap());
    let store = impatient(&server.location).throttled(Some(limiter.clone()), None);
    let body = Body::new(vec![1; 20 << 10]);
    let hog = limiter.take(60 << 10);
    let (put, ()) = tokio::join!(store.put(ObjectName::Config, body), hog);
    put.unwrap();
}

#[tokio::test]
async fn with_retries_a_bad_day_ends_well() {
    let server = Scripted::start([
        error("503 Slow Down", "SlowDown", ""),
        Step::Reset,
        Step::Stall,
        Step::Answer(head("200 OK", "", 6) + "con"),
        answer("200 OK", "", "config"),
    ])
    .await;
    let policy = RetryPolicy {
        initial: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let store = RetryStore::new(
        Arc::new(impatient(&server.location)),
        policy,
        tokio_util::sync::CancellationToken::new(),
    );
    let bytes = store.get(ObjectName::Config, None).await.unwrap();
    assert_eq!(bytes, &b"config"[..]);
    assert_eq!(server.heads.lock().len(), 5);
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_body_was_read_is_heard() {
    let refusal = head("403 Forbidden", "", 0);
    let server = Scripted::start([Step::AnswerAtOnce(refusal)]).await;
    let error = store(&server.location)
        .put(ObjectName::Config, Body::new(vec![3; 32 << 20]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("access denied"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_tried_again() {
    let clock = SystemClock::shared();
    let (authority, _) = CertificateAuthority::create(clock.now()).unwrap();
    let service = Service::start_tls(&authority).await;
    let location = format!("s3:{}/{BUCKET}", service.endpoint);
    let error = store(&location)
        .get(ObjectName::Config, None)
        .await
        .unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("certificate is not trusted"),
        "{error}"
    );

    let trusting = tls::client_config(authority.certificate_pem(), &[]).unwrap();
    let client = HttpClient::new(HttpOptions::new(trusting)).unwrap();
    let authority = super::authority(&location, credentials(), &client, clock);
    conformance::run(Arc::new(S3Store::new(client, authority))).await;
}
