//! What refusals mean, and what they say.

use strongroom_layout::ObjectId;
use strongroom_test_s3::scripted::{Scripted, Step, answer, error};

use super::*;

const OBJECT: ObjectName =
    ObjectName::Hashed(strongroom_layout::ObjectKind::Index, ObjectId([0xab; 32]));

async fn get(step: Step, range: Option<ByteRange>) -> StoreError {
    let server = Scripted::start([step]).await;
    let error = store(&server.location)
        .get(OBJECT, range)
        .await
        .unwrap_err();
    assert!(error.object.ends_with(&OBJECT.path()), "{error}");
    error
}

#[tokio::test]
async fn what_may_pass_is_transient() {
    for (status, code) in [
        ("500 Internal Server Error", "InternalError"),
        ("503 Slow Down", "SlowDown"),
        ("503 Service Unavailable", "ServiceUnavailable"),
        ("429 Too Many Requests", "TooManyRequests"),
        ("400 Bad Request", "RequestTimeout"),
        ("409 Conflict", "OperationAborted"),
        ("502 Bad Gateway", "Unknown"),
    ] {
        let error = get(error(status, code, ""), None).await;
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
    let html = answer("504 Gateway Timeout", "", "<html>busy");
    assert!(get(html, None).await.is_retryable());
}

#[tokio::test]
async fn what_will_not_pass_says_what_to_do() {
    let region = "<Region>eu-central-1</Region>";
    let endpoint = "<Endpoint>b.s3.example.org</Endpoint>";
    let bucket = "<BucketName>backups</BucketName>";
    for (status, code, extra, said) in [
        ("404 Not Found", "NoSuchBucket", "", "no bucket \"bucket\""),
        (
            "404 Not Found",
            "NoSuchBucket",
            bucket,
            "no bucket \"backups\"",
        ),
        ("403 Forbidden", "AccessDenied", "", "bucket's policy"),
        ("403 Forbidden", "InvalidAccessKeyId", "", "access key id"),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "",
            "secret access key",
        ),
        ("400 Bad Request", "InvalidToken", "", "session token"),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            endpoint,
            "b.s3.example.org",
        ),
        (
            "307 Temporary Redirect",
            "TemporaryRedirect",
            "",
            "another region",
        ),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            region,
            "region \"eu-central-1\"",
        ),
        ("403 Forbidden", "InvalidObjectState", "", "archived"),
        (
            "403 Forbidden",
            "SecondLevelDomainForbidden",
            "",
            "--addressing virtual-host",
        ),
        ("418 Teapot", "Strange", "", "Strange: as it happens"),
    ] {
        let error = get(error(status, code, extra), None).await;
        assert!(!error.is_retryable() && !error.is_not_found(), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let bare = get(answer("403 Forbidden", "", ""), None).await;
    assert!(bare.to_string().contains("access denied"), "{bare}");
    let full = get(
        error("507 Insufficient Storage", "XMinioStorageFull", ""),
        None,
    )
    .await;
    assert!(matches!(full.kind, StoreErrorKind::Full));
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_is_refused() {
    for step in [
        error("404 Not Found", "NoSuchKey", ""),
        answer("404 Not Found", "", ""),
    ] {
        assert!(get(step, None).await.is_not_found());
    }
}

#[tokio::test]
async fn a_skewed_clock_is_signed_again_once_and_then_both_clocks_are_told() {
    let skewed = || error("403 Forbidden", "RequestTimeTooSkewed", "");
    let server = Scripted::start([skewed(), answer("200 OK", "", "index")]).await;
    let bytes = store(&server.location).get(OBJECT, None).await.unwrap();
    assert_eq!(bytes, &b"index"[..]);

    let server = Scripted::start([skewed(), skewed()]).await;
    let error = store(&server.location).get(OBJECT, None).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(server.heads.lock().len(), 2);
    assert!(
        message.contains("Sat, 21 Nov 2026 03:00:00 GMT by the store's clock"),
        "{message}"
    );
    assert!(message.contains("clock of this host"), "{message}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_expired_signature_is_renewed_and_the_body_sent_again() {
    let expired = error("403 Forbidden", "RequestExpired", "");
    let server = Scripted::start([expired, answer("200 OK", "", "")]).await;
    let body = Body::new(vec![5; 100_000]);
    let object = ObjectName::data_pack(body.sha256);
    store(&server.location).put(object, body).await.unwrap();
    let heads = server.heads.lock();
    assert_eq!(heads.len(), 2);
    for head in heads.iter() {
        assert_eq!(head.matches("content-length: 100000").count(), 1, "{head}");
        assert_eq!(head.matches("authorization: ").count(), 1, "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
    }
}

#[tokio::test]
async fn a_range_is_exactly_what_was_asked_for() {
    let range = ByteRange::new(10, 5);
    let partial = |said: &str, body: &str| {
        answer(
            "206 Partial Content",
            &format!("content-range: {said}\r\n"),
            body,
        )
    };
    let server = Scripted::start([partial("bytes 10-14/100", "01234")]).await;
    let bytes = store(&server.location).get(OBJECT, range).await.unwrap();
    assert_eq!(bytes, &b"01234"[..]);
    assert!(server.heads.lock()[0].contains("range: bytes=10-14"));

    for wrong in [
        answer("200 OK", "", "0123456789"),
        partial("bytes 0-4/100", "01234"),
        partial("bytes 10-15/100", "012345"),
        answer("206 Partial Content", "", "01234"),
    ] {
        let error = get(wrong, range).await;
        assert!(matches!(error.kind, StoreErrorKind::Denied(_)), "{error}");
    }
    let beyond = answer(
        "416 Range Not Satisfiable",
        "content-range: bytes */12\r\n",
        "",
    );
    let invalid = error(
        "416 Range Not Satisfiable",
        "InvalidRange",
        "<ActualObjectSize>12</ActualObjectSize>",
    );
    for short in [partial("bytes 10-11/12", "01"), beyond, invalid] {
        let error = get(short, range).await;
        assert!(
            matches!(
                error.kind,
                StoreErrorKind::Truncated {
                    got: 2,
                    expected: 5
                }
            ),
            "{error}"
        );
    }
}
