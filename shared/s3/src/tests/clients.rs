//! The client by itself.

use bytes::Bytes;
use http::{HeaderMap, Method};
use strongroom_runtime::{
    clock::{Clock, SystemClock},
    pki::{CertificateAuthority, tls},
};
use strongroom_test_s3::{
    scripted::{Scripted, Step, answer, head},
    service::{BUCKET, Service},
};

use super::*;
use crate::{FailureKind, Payload, Request, SignedRequest};

fn signed(method: Method, server: &Scripted, key: &str) -> SignedRequest {
    SignedRequest {
        method,
        url: format!("{}/{key}", server.location.replace("s3:", "")),
        headers: HeaderMap::new(),
    }
}

#[tokio::test]
async fn what_is_longer_than_it_can_be_is_refused() {
    let stated = Step::Answer(head("200 OK", "", 11));
    let unstated =
        Step::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello world".to_owned());
    let server = Scripted::start([stated, unstated, answer("200 OK", "", "hello worl")]).await;
    let client = HttpClient::new(options()).unwrap();
    let signed = signed(Method::GET, &server, "x");
    let request = Request {
        most: 10,
        ..Request::new(&signed, "this host")
    };
    for _ in 0..2 {
        let failure = client.send(request).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::TooLong { most: 10 }));
    }
    let answer = client.send_to_vec(request).await.unwrap();
    assert_eq!(answer.body, b"hello worl");
}

/// A body on which something moves all the time may take longer than the client
/// waits for one that stands still, whichever way it goes.
#[tokio::test]
async fn both_clients_notice_a_stall() {
    let client = HttpClient::new(HttpOptions {
        stall_timeout: Duration::from_millis(500),
        ..options()
    })
    .unwrap();
    let parts = [Bytes::from(vec![7; 32 << 20])];
    for key in ["x", "../x"] {
        let half = Step::StallAfter(head("200 OK", "", 100) + "half");
        let server = Scripted::start([Step::Stall, half]).await;
        let put = signed(Method::PUT, &server, key);
        let put = Request {
            body: Some(Payload::new(&parts)),
            ..Request::new(&put, "this host")
        };
        let get = signed(Method::GET, &server, key);
        for (request, doing) in [
            (put, "sending"),
            (Request::new(&get, "this host"), "receiving"),
        ] {
            let failure = client.send(request).await.unwrap_err();
            assert!(failure.kind.is_retryable());
            assert!(failure.to_string().contains(doing), "{failure}");
        }
    }
}

#[tokio::test]
async fn bytes_come_as_they_are_sent() {
    let server = Scripted::start([answer("200 OK", "x-a: b\r\n", "hello")]).await;
    let client = HttpClient::new(options()).unwrap();
    let signed = signed(Method::GET, &server, "x");
    let mut incoming = client.open(Request::new(&signed, "us")).await.unwrap();
    assert_eq!(incoming.length(), Some(5));
    assert_eq!(incoming.headers["x-a"], "b");
    let mut bytes = Vec::new();
    while let Some(chunk) = incoming.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes, b"hello");
}

#[tokio::test]
async fn both_clients_trust_whom_they_are_told_to() {
    let (authority, _) = CertificateAuthority::create(SystemClock.now()).unwrap();
    let service = Service::start_tls(&authority).await;
    let location = format!("s3:{}/{BUCKET}", service.endpoint);
    let trusting = tls::client_config(authority.certificate_pem(), &[b"http/1.1"]).unwrap();
    let trusting = HttpClient::new(HttpOptions::new(trusting)).unwrap();
    for key in [&b"a"[..], b"../a"] {
        let error = bucket(&location)
            .get(&crate::bucket::object::Get::latest(key))
            .await;
        let error = error.unwrap_err();
        assert!(!error.is_retryable());
        let text = error.to_string();
        assert!(text.contains("certificate is not trusted"), "{text}");
        let bucket = Bucket::new(trusting.clone(), location.parse().unwrap(), signer());
        let error = bucket.get(&crate::bucket::object::Get::latest(key)).await;
        assert!(error.unwrap_err().is_not_found());
    }
}
