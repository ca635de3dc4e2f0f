//! A bucket's requests.

use bytes::Bytes;
use http::{HeaderName, header};
use strongroom_test_s3::{
    scripted::{Scripted, answer, error},
    service::{BUCKET, Service},
};

use super::*;
use crate::{
    ByteRange, FailureKind, Payload, VersionMarker,
    bucket::{
        BucketError, ObjectRef,
        list::{Listing, PageStart},
        multipart::sha256,
        object::{Content, Get, Stored, checksum},
    },
};

/// Keys that a file's path cannot be, or that URLs and XML make others of.
const ODD: [&str; 12] = [
    "..",
    "a/../b",
    "a/./b/.",
    "a//b/",
    "../../etc/passwd",
    "a b+c%2F%",
    "?x=1&y#z",
    "ä/ö\u{301}/🔐",
    "a\u{1}\u{7f}\n\t",
    "<&>\"'",
    " a ",
    "\\..\\",
];

async fn put(bucket: &Bucket, key: &[u8], text: &'static str) -> Result<Stored, BucketError> {
    put_with(bucket, key, text, &[]).await
}

async fn put_with(
    bucket: &Bucket,
    key: &[u8],
    text: &'static str,
    headers: &[(HeaderName, String)],
) -> Result<Stored, BucketError> {
    let parts = [Bytes::from_static(text.as_bytes())];
    let content = Content {
        body: Payload::new(&parts),
        sha256: sha256(text.as_bytes()),
        headers,
    };
    bucket.put(key, &content).await
}

async fn keys(bucket: &Bucket, listing: Listing<'_>) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let from = next.as_deref().map_or(PageStart::First, PageStart::Token);
        let page = bucket.list_objects_v2(&listing, from).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        next = page.next;
        if next.is_none() {
            return keys;
        }
    }
}

/// The first lines of the requests that came.
fn lines(server: &Scripted) -> Vec<String> {
    let heads = server.heads.lock();
    let lines = heads
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned());
    lines.collect()
}

#[tokio::test]
async fn every_key_comes_back_byte_for_byte() {
    let service = Service::start().await;
    let bucket = bucket(&format!("s3:{}/{BUCKET}", service.endpoint));
    for key in ODD {
        put(&bucket, key.as_bytes(), "text").await.unwrap();
    }
    let mut expected: Vec<_> = ODD.iter().map(|key| key.as_bytes().to_vec()).collect();
    expected.sort();
    assert_eq!(keys(&bucket, Listing::default()).await, expected);
    for key in &expected {
        let answer = bucket.get(&Get::latest(key)).await.unwrap();
        assert_eq!(&answer.body[..], b"text");
        let prefix = Listing {
            prefix: key,
            ..Listing::default()
        };
        assert_eq!(keys(&bucket, prefix).await[0], *key);
        let page = bucket
            .list_objects_v2(&Listing::default(), PageStart::After(key))
            .await;
        let first = page.unwrap().objects.into_iter().next();
        let behind = expected.iter().find(|it| *it > key);
        assert_eq!(first.map(|it| it.key).as_ref(), behind);
        bucket.delete(ObjectRef::latest(key)).await.unwrap();
    }
    assert_eq!(service.objects.by_key.lock().len(), 0);
}

#[tokio::test]
async fn slashes_and_dots_stand_in_the_request_as_they_do_in_the_key() {
    let keys = ["/a", "//", "a/", "a/../", ".", "/../x"];
    let server = Scripted::start(keys.map(|_| answer("200 OK", "", ""))).await;
    let bucket = bucket(&server.location);
    for key in keys {
        bucket.get(&Get::latest(key.as_bytes())).await.unwrap();
    }
    let expected = keys.map(|key| format!("GET /bucket/{key} HTTP/1.1"));
    assert_eq!(lines(&server), expected);
    let heads = server.heads.lock();
    let address = server.location.split('/').nth(2).unwrap();
    for head in heads.iter() {
        let host = format!("host: {address}");
        assert!(head.lines().any(|line| line == host), "{head}");
        assert_eq!(head.matches("authorization: ").count(), 1, "{head}");
        assert!(head.contains("user-agent: strongroom/"), "{head}");
    }
}

#[tokio::test]
async fn what_is_written_is_what_is_read() {
    let service = Service::start().await;
    let bucket = bucket(&format!("s3:{}/{BUCKET}", service.endpoint));
    let headers = [
        (HeaderName::from_static("x-amz-meta-owner"), "a b".into()),
        (header::CONTENT_TYPE, "text/plain".into()),
        checksum(sha256(b"0123456789")),
    ];
    for key in [&b"a"[..], b"../a"] {
        put_with(&bucket, key, "0123456789", &headers)
            .await
            .unwrap();
        let head = bucket.head(ObjectRef::latest(key)).await.unwrap();
        assert_eq!(head.length, 10);
        assert_eq!(
            head.metadata().collect::<Vec<_>>(),
            [("owner", &b"a b"[..])]
        );
        let get = Get {
            range: ByteRange::new(3, 4),
            ..Get::latest(key)
        };
        assert_eq!(&bucket.get(&get).await.unwrap().body[..], b"3456");
        let (head, mut incoming) = bucket.read(&get).await.unwrap();
        assert_eq!((head.length, incoming.length()), (10, Some(4)));
        assert_eq!(&incoming.chunk().await.unwrap().unwrap()[..], b"3456");
        let beyond = Get {
            range: ByteRange::new(8, 4),
            ..Get::latest(key)
        };
        let error = bucket.read(&beyond).await.unwrap_err();
        let truncated = FailureKind::Truncated {
            got: 2,
            expected: 4,
        };
        assert_eq!(error.failure.kind.to_string(), truncated.to_string());
    }
    let missing = bucket.head(ObjectRef::latest(b"b")).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    assert!(missing.to_string().contains("/bucket/b: not found"));
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_not_stored() {
    let service = Service::start().await;
    let bucket = bucket(&format!("s3:{}/{BUCKET}", service.endpoint));
    let parts = [Bytes::from_static(b"other")];
    let wrong = Content {
        body: Payload::new(&parts),
        sha256: [7; 32],
        headers: &[],
    };
    bucket.put(b"a", &wrong).await.unwrap_err();
    assert!(service.objects.by_key.lock().is_empty());
}

/// What the service has no answer to, it has at least found signed rightly.
#[tokio::test]
async fn every_query_is_signed() {
    let service = Service::start().await;
    let bucket = bucket(&format!("s3:{}/{BUCKET}", service.endpoint));
    let odd = ObjectRef {
        key: b"a/../b c+",
        version: Some("v +/=&"),
    };
    let marker = VersionMarker {
        key: "ä +".into(),
        version: Some("1/2".into()),
    };
    let listing = Listing {
        prefix: b"a b",
        delimiter: Some("/"),
        most: Some(7),
    };
    let tags = [("a b".to_owned(), "c".to_owned())];
    let outcomes = [
        bucket.get_object_tagging(odd).await.map(drop),
        bucket.put_object_tagging(odd, &tags).await,
        bucket
            .list_object_versions(&listing, Some(&marker))
            .await
            .map(drop),
        bucket.create_upload(odd.key, &[]).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.failure.code, "NotImplemented", "{error}");
    }
}

#[tokio::test]
async fn conditions_and_versions_are_asked_for() {
    let condition = error("412 Precondition Failed", "PreconditionFailed", "");
    let server = Scripted::start([condition, answer("204 No Content", "", "")]).await;
    let bucket = bucket(&server.location);
    let get = Get {
        object: ObjectRef {
            key: b"k",
            version: Some("v/1"),
        },
        if_match: Some("\"e\""),
        ..Get::latest(b"")
    };
    let error = bucket.get(&get).await.unwrap_err();
    assert!(matches!(error.failure.kind, FailureKind::Precondition));
    assert!(error.to_string().contains("k (version v/1)"), "{error}");
    bucket.delete(get.object).await.unwrap();
    let expected = [
        "GET /bucket/k?versionId=v%2F1 HTTP/1.1",
        "DELETE /bucket/k?versionId=v%2F1 HTTP/1.1",
    ];
    assert_eq!(lines(&server), expected);
    assert!(server.heads.lock()[0].contains("if-match: \"e\""));
}

#[tokio::test]
async fn tags_are_none_where_the_service_knows_none() {
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let server = Scripted::start([
        error("404 Not Found", "NoSuchTagSet", ""),
        answer("200 OK", "", tags),
        answer("200 OK", "", ""),
    ])
    .await;
    let bucket = bucket(&server.location);
    let object = ObjectRef::latest(b"k");
    assert_eq!(bucket.get_object_tagging(object).await.unwrap(), []);
    let tags = bucket.get_object_tagging(object).await.unwrap();
    assert_eq!(tags, [("k".to_owned(), "v".to_owned())]);
    bucket.put_object_tagging(object, &tags).await.unwrap();
    assert!(server.heads.lock()[2].contains("x-amz-checksum-sha256: "));
}

#[tokio::test]
async fn an_old_signature_is_made_anew_once() {
    let expired = || error("403 Forbidden", "RequestExpired", "");
    let server = Scripted::start([
        expired(),
        answer("200 OK", "", "text"),
        expired(),
        expired(),
    ]);
    let server = server.await;
    let bucket = bucket(&server.location);
    bucket.get(&Get::latest(b"k")).await.unwrap();
    bucket.get(&Get::latest(b"k")).await.unwrap_err();
    assert_eq!(server.heads.lock().len(), 4);
}

#[test]
fn values_that_no_header_can_hold_are_refused() {
    let sign = |value: &str| {
        let header = (HeaderName::from_static("x-amz-meta-a"), value.to_owned());
        signer().sign(crate::Unsigned {
            method: http::Method::PUT,
            url: "https://host/b/k".into(),
            headers: &[header],
            body: crate::BodyHash::Unsigned,
        })
    };
    sign("a\nb").unwrap_err();
    let headers = sign("ä").unwrap().headers;
    assert_eq!(headers["x-amz-meta-a"].as_bytes(), "ä".as_bytes());
    assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
}
