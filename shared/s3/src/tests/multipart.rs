//! Uploads in parts.

use bytes::Bytes;
use strongroom_test_s3::scripted::{Scripted, answer, error};

use super::*;
use crate::{
    Payload,
    bucket::{
        multipart::{Part, Upload, sha256},
        object::Content,
    },
};

const BEGUN: &str = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><Bucket>bucket</Bucket>\
                     <Key>k</Key><UploadId>u/1</UploadId></InitiateMultipartUploadResult>";

fn upload() -> Upload {
    Upload {
        key: b"k".to_vec(),
        id: "u/1".into(),
    }
}

fn part() -> Part {
    Part {
        number: 1,
        etag: "\"p1\"".into(),
    }
}

#[tokio::test]
async fn an_upload_goes_from_its_beginning_to_its_object() {
    // Long completions keep the connection busy with white space.
    let completed = "\n \n<?xml version=\"1.0\"?><CompleteMultipartUploadResult>\
                     <ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>";
    let server = Scripted::start([
        answer("200 OK", "", BEGUN),
        answer("200 OK", "etag: \"p1\"\r\n", ""),
        answer("200 OK", "x-amz-version-id: v1\r\n", completed),
    ])
    .await;
    let bucket = bucket(&server.location);
    let begun = bucket.create_upload(b"k", &[]).await.unwrap();
    assert_eq!(begun, upload());
    let parts = [Bytes::from_static(b"text")];
    let content = Content {
        body: Payload::new(&parts),
        sha256: sha256(b"text"),
        headers: &[],
    };
    let put = bucket.put_part(&begun, 1, &content).await.unwrap();
    assert_eq!(put, part());
    let stored = bucket.complete_upload(&begun, &[put]).await.unwrap();
    assert_eq!(stored.etag.as_deref(), Some("\"e-1\""));
    assert_eq!(stored.version.as_deref(), Some("v1"));
    let heads = server.heads.lock();
    for (head, line) in heads.iter().zip([
        "POST /bucket/k?uploads= HTTP/1.1",
        "PUT /bucket/k?uploadId=u%2F1&partNumber=1 HTTP/1.1",
        "POST /bucket/k?uploadId=u%2F1 HTTP/1.1",
    ]) {
        assert!(head.starts_with(line), "{head}");
    }
}

#[tokio::test]
async fn a_completion_that_fails_after_its_head_has_failed() {
    let error = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code>\
                 <Message>try again</Message></Error>";
    let server = Scripted::start([answer("200 OK", "", error)]).await;
    let bucket = bucket(&server.location);
    let completed = bucket.complete_upload(&upload(), &[part()]).await;
    let error = completed.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("InternalError: try again"));
}

#[tokio::test]
async fn an_upload_that_is_gone_is_given_up() {
    let server = Scripted::start([
        error("404 Not Found", "NoSuchUpload", ""),
        answer("204 No Content", "", ""),
        error("403 Forbidden", "AccessDenied", ""),
    ])
    .await;
    let bucket = bucket(&server.location);
    bucket.abort_upload(&upload()).await.unwrap();
    bucket.abort_upload(&upload()).await.unwrap();
    bucket.abort_upload(&upload()).await.unwrap_err();
}

#[tokio::test]
async fn a_part_without_an_etag_cannot_be_used() {
    let server = Scripted::start([answer("200 OK", "", "")]).await;
    let content = Content {
        body: Payload::new(&[]),
        sha256: sha256(b""),
        headers: &[],
    };
    let error = bucket(&server.location)
        .put_part(&upload(), 1, &content)
        .await;
    assert!(error.unwrap_err().to_string().contains("ETag"));
}
