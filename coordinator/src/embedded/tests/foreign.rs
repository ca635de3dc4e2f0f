//! Bodies as other S3 clients send them: in signed chunks, with trailers, or
//! not covered by the signature.

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};

use super::*;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// CRC-32 of `first second`, base64.
const CRC32: &str = "TMsbsw==";

/// A PUT of the key `k` as a client with the secret key would send it.
struct Client<'a> {
    fixture: &'a Fixture,
    at: Timestamp,
}

impl Client<'_> {
    /// The request's head, with a signature over all of `headers`.
    fn request(&self, content_sha256: &str, headers: &[(&'static str, String)]) -> Grant {
        let url = format!("http://{}/{BUCKET}/k", self.fixture.address);
        let signature = Signer::new(self.fixture.store.clone())
            .unwrap()
            .signature("PUT", &url, headers, content_sha256, self.at)
            .unwrap();
        let headers = headers.iter().cloned().chain(signature);
        Grant {
            method: "PUT".into(),
            url: url.clone(),
            headers: headers.map(|(name, value)| (name.into(), value)).collect(),
            valid_seconds: 1,
        }
    }

    /// A request for chunks that hold `length` bytes, sent as `encoded`.
    fn chunked(&self, form: &str, length: usize, encoded: usize, trailer: Option<&str>) -> Grant {
        let mut headers = vec![
            ("content-length", encoded.to_string()),
            ("x-amz-decoded-content-length", length.to_string()),
        ];
        headers.extend(trailer.map(|name| ("x-amz-trailer", name.to_owned())));
        self.request(form, &headers)
    }

    /// Signs what follows `previous` in the body.
    fn sign(&self, what: &str, previous: &str, hashes: &[&[u8]]) -> String {
        let date = amz_date(self.at);
        let mut text = format!(
            "AWS4-HMAC-SHA256-{what}\n{date}\n{}/us-east-1/s3/aws4_request\n{previous}",
            &date[..8]
        );
        for bytes in hashes {
            write!(text, "\n{}", sha256(bytes)).unwrap();
        }
        let key = generate_signing_key("secret", self.at.into(), "us-east-1", "s3");
        calculate_signature(key, text.as_bytes())
    }

    /// The chunks, each behind its signature, and the last signature.
    fn encode(&self, seed: &Grant, chunks: &[&[u8]]) -> (Vec<u8>, String) {
        let authorization = header(seed, "authorization");
        let mut previous = authorization.rsplit_once('=').unwrap().1.to_owned();
        let mut body = Vec::new();
        for chunk in chunks.iter().copied().chain([&b""[..]]) {
            previous = self.sign("PAYLOAD", &previous, &[b"", chunk]);
            let head = format!("{:x};chunk-signature={previous}\r\n", chunk.len());
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(chunk);
            // The last chunk's own line end comes behind the trailers.
            if !chunk.is_empty() {
                body.extend_from_slice(b"\r\n");
            }
        }
        (body, previous)
    }
}

fn client(fixture: &Fixture) -> Client<'_> {
    Client {
        fixture,
        at: SystemClock.now(),
    }
}

/// Length of what stands before a chunk of less than 16 bytes.
const HEAD: usize = 1 + ";chunk-signature=".len() + 64 + 2;
/// Length of `first second` in two signed chunks, without the last line end.
const ENCODED: usize = 12 + 3 * HEAD + 2 * 2;

impl Fixture {
    fn assert_nothing_published(&self) {
        assert!(!self.file("k").exists());
        self.assert_no_leftovers();
    }
}

#[tokio::test]
async fn signed_chunks_become_one_object() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    let request = client.chunked(SIGNED, 12, ENCODED + 2, None);
    let (mut body, _) = client.encode(&request, &[b"first ", b"second"]);
    body.extend_from_slice(b"\r\n");
    let (status, text) = fixture.send(&request, &body).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(fs::read(fixture.file("k")).unwrap(), b"first second");
}

#[tokio::test]
async fn a_forged_chunk_is_refused_and_nothing_is_published() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    let request = client.chunked(SIGNED, 12, ENCODED + 2, None);
    let (mut body, _) = client.encode(&request, &[b"first ", b"second"]);
    body.extend_from_slice(b"\r\n");

    let mut forged = body.clone();
    forged[2 * HEAD + 6 + 2] = b'S';
    let (status, text) = fixture.send(&request, &forged).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("SignatureDoesNotMatch"), "{text}");
    fixture.assert_nothing_published();

    let (first, rest) = body.split_at(HEAD + 6 + 2);
    let (second, end) = rest.split_at(HEAD + 6 + 2);
    let reordered = [second, first, end].concat();
    let bare = b"c\r\nfirst second\r\n0\r\n\r\n";
    let shorter = client.chunked(SIGNED, 12, bare.len(), None);
    for (request, forged, expected) in [(&request, &reordered[..], 403), (&shorter, bare, 400)] {
        let (status, text) = fixture.send(request, forged).await;
        assert_eq!(status, expected, "{text}");
        fixture.assert_nothing_published();
    }
}

#[tokio::test]
async fn chunks_that_end_early_are_refused() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    // Well signed as far as they go.
    let second = HEAD + 6 + 2;
    for (what, length) in [("after a chunk", second), ("in a head", second + 20)] {
        let request = client.chunked(SIGNED, 12, length, None);
        let (body, _) = client.encode(&request, &[b"first ", b"second"]);
        let (status, text) = fixture.send(&request, &body[..length]).await;
        assert_eq!(status, 400, "{what}: {text}");
        assert!(text.contains("IncompleteBody"), "{what}: {text}");
        fixture.assert_nothing_published();
    }
}

#[tokio::test]
async fn a_signed_trailer_is_verified_with_its_checksum() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    let trailer = |checksum: &str, previous: &str| {
        let line = format!("x-amz-checksum-crc32:{checksum}\n");
        let signature = client.sign("TRAILER", previous, &[line.as_bytes()]);
        format!("x-amz-checksum-crc32:{checksum}\r\nx-amz-trailer-signature:{signature}\r\n\r\n")
    };
    let length = ENCODED + trailer(CRC32, "").len();
    let request = client.chunked(SIGNED_TRAILER, 12, length, Some("x-amz-checksum-crc32"));
    let (body, last) = client.encode(&request, &[b"first ", b"second"]);
    let forged = trailer(CRC32, &last).replace(CRC32, "AAAAAA==");
    for (trailer, expected) in [
        (forged, 403),
        (trailer("AAAAAA==", &last), 400),
        (trailer(CRC32, &last), 200),
    ] {
        let (status, text) = fixture
            .send(&request, &[&body, trailer.as_bytes()].concat())
            .await;
        assert_eq!(status, expected, "{trailer}: {text}");
        if expected != 200 {
            fixture.assert_nothing_published();
        }
    }
    assert_eq!(fs::read(fixture.file("k")).unwrap(), b"first second");
}

#[tokio::test]
async fn unsigned_chunks_match_the_checksum_behind_them() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    for (body, trailer, expected) in [
        ("first sekond", "x-amz-checksum-crc32", 400),
        ("first second", "x-amz-checksum-sha1", 400),
        ("first second", "x-amz-checksum-rot13", 501),
        ("first second", "x-amz-checksum-crc32", 200),
    ] {
        let body = format!("c\r\n{body}\r\n0\r\nx-amz-checksum-crc32:{CRC32}\r\n\r\n");
        let request = client.chunked(UNSIGNED_TRAILER, 12, body.len(), Some(trailer));
        let (status, text) = fixture.send(&request, body.as_bytes()).await;
        assert_eq!(status, expected, "{body} {trailer}: {text}");
        if expected != 200 {
            fixture.assert_nothing_published();
        }
    }
}

#[tokio::test]
async fn an_unsigned_body_is_taken_whole_and_held_to_its_md5() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    let md5 = "IFlkDALFoWp5VkrAuca6vQ==";
    for (md5, expected) in [("AAAAAAAAAAAAAAAAAAAAAA==", 400), (md5, 200)] {
        let headers = [
            ("content-length", "12".to_owned()),
            ("content-md5", md5.to_owned()),
        ];
        let request = client.request(UNSIGNED, &headers);
        let (status, text) = fixture.send(&request, b"first second").await;
        assert_eq!(status, expected, "{text}");
        if expected != 200 {
            fixture.assert_nothing_published();
        }
    }
    let request = client.request(UNSIGNED, &[("content-length", "20".to_owned())]);
    let (status, _) = fixture.send(&request, b"too short").await;
    assert!(matches!(status, 400 | HUNG_UP), "{status}");
    assert_eq!(fs::read(fixture.file("k")).unwrap(), b"first second");
}

/// The header that says how the body is protected is itself signed.
#[tokio::test]
async fn a_grant_does_not_become_one_for_any_body() {
    let fixture = Fixture::start().await;
    for form in [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, UNSIGNED] {
        let mut grant = fixture.put_grant("k", b"granted body");
        set_header(&mut grant, "x-amz-content-sha256", form);
        let (status, _) = fixture.send(&grant, b"another body").await;
        assert!(matches!(status, 403 | 411), "{form}: {status}");
        let decoded = ("x-amz-decoded-content-length".into(), "12".into());
        grant.headers.push(decoded);
        let (status, text) = fixture.send(&grant, b"another body").await;
        assert_eq!(status, 403, "{form}: {text}");
        fixture.assert_nothing_published();
    }
}

#[tokio::test]
async fn other_forms_and_unsaid_lengths_are_refused() {
    let fixture = Fixture::start().await;
    let client = client(&fixture);
    let length = ("content-length", "1".to_owned());
    for (form, expected) in [
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", 403),
        ("", 403),
        ("unsigned-payload", 403),
        (SIGNED, 411),
    ] {
        let request = client.request(form, std::slice::from_ref(&length));
        let (status, text) = fixture.send(&request, b"x").await;
        assert_eq!(status, expected, "{form}: {text}");
    }
    let request = client.chunked(SIGNED, (1 << 30) + 1, 1, None);
    let (status, text) = fixture.send(&request, b"x").await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("EntityTooLarge"), "{text}");
    let mut anonymous = client.request(UNSIGNED, &[length]);
    drop_header(&mut anonymous, "authorization");
    let (status, _) = fixture.send(&anonymous, b"x").await;
    assert_eq!(status, 403);
    fixture.assert_nothing_published();
}

/// As opendal, and so rustic, prepares a repository.
#[tokio::test]
async fn an_empty_object_with_a_slash_is_a_directory() {
    let fixture = Fixture::start().await;
    for _ in 0..2 {
        let (status, text) = fixture
            .send(&fixture.put_grant("web-1/data/00/", b""), b"")
            .await;
        assert_eq!(status, 200, "{text}");
    }
    assert!(fixture.file("web-1/data/00").is_dir());
    for (key, body) in [("web-1/full/", &b"x"[..]), ("/", b""), ("a/../b/", b"")] {
        let (status, text) = fixture.send(&fixture.put_grant(key, body), body).await;
        assert_eq!(status, 400, "{key}: {text}");
    }
    fixture.send(&fixture.put_grant("object", b"x"), b"x").await;
    let (status, _) = fixture.send(&fixture.put_grant("object/", b""), b"").await;
    assert_eq!(status, 400);
    fixture.assert_no_leftovers();
}
