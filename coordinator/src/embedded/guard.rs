//! Which requests are looked at at all. Pure.
//!
//! s3s also takes presigned URLs, form posts and Signature Version 2, and it
//! does not ask which headers are signed. Nothing of ours needs any of that, so
//! all of it is refused here.
//!
//! What protects a body stands in `x-amz-content-sha256`, which is signed. A
//! grant always has a SHA-256 there, so an agent can send no other body. Only
//! who holds the secret key can sign for a body in chunks or for any body, as
//! restic and other S3 clients do; he could sign for every body anyway.

use http::{HeaderMap, HeaderName, Method, request::Parts};
use s3s::{S3Error, s3_error};

use super::integrity::DECODED_LENGTH;

/// SHA-256 of no bytes.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// The largest object of a single PUT in S3.
const MAX_LENGTH: u64 = 5 << 30;
/// The largest object that may come in chunks: s3s has a chunk in memory until
/// its signature is verified, and one chunk can be the whole body.
const MAX_CHUNKED: u64 = 1 << 30;
/// Any body at all.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// A body in chunks, each of which follows its signature or, in the last form,
/// a checksum behind them all.
const CHUNKED: [&str; 3] = [
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
];

/// Refuses what is not signed as it should be. `length` is the body's, `None`
/// if it is not declared. Whether the signature is right, s3s checks next.
pub(super) fn check(request: &Parts, length: Option<u64>) -> Result<(), S3Error> {
    let methods = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
    if !methods.contains(&request.method) {
        return Err(s3_error!(MethodNotAllowed));
    }
    if request.uri.query().is_some_and(is_signed_query) {
        return Err(s3_error!(
            AccessDenied,
            "presigned URLs are not accepted: sign the request in its Authorization header"
        ));
    }
    check_signed_headers(&request.headers)?;
    if request.method == Method::PUT {
        check_body(&request.headers, length)?;
    }
    Ok(())
}

fn is_signed_query(query: &str) -> bool {
    query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .any(|name| {
            ["x-amz-signature", "signature", "awsaccesskeyid"]
                .iter()
                .any(|signed| name.eq_ignore_ascii_case(signed))
        })
}

fn check_signed_headers(headers: &HeaderMap) -> Result<(), S3Error> {
    let authorization = one(headers, "authorization")?
        .and_then(|value| value.strip_prefix("AWS4-HMAC-SHA256 "))
        .ok_or_else(|| {
            s3_error!(
                AccessDenied,
                "the request is not signed with Signature Version 4 in its Authorization header"
            )
        })?;
    let field = |name: &str| {
        authorization
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    if !field("Credential").is_some_and(|scope| scope.ends_with("/s3/aws4_request")) {
        return Err(s3_error!(
            AccessDenied,
            "the signature is not for the service s3"
        ));
    }
    let signed: Vec<&str> = field("SignedHeaders")
        .unwrap_or_default()
        .split(';')
        .collect();
    for name in ["host", "x-amz-date", CONTENT_SHA256] {
        if !signed.contains(&name) {
            return Err(not_signed(name));
        }
    }
    for name in &signed {
        if one(headers, name)?.is_none() {
            return Err(s3_error!(
                AccessDenied,
                "the header {name} is signed but not sent"
            ));
        }
    }
    // It would make a granted range the whole object.
    let decides = |name: &str| name.starts_with("x-amz-") || name == "if-range";
    let unsigned = |name: &&HeaderName| decides(name.as_str()) && !signed.contains(&name.as_str());
    headers
        .keys()
        .find(unsigned)
        .map_or(Ok(()), |name| Err(not_signed(name.as_str())))
}

fn not_signed(name: &str) -> S3Error {
    s3_error!(AccessDenied, "the header {name} must be signed")
}

/// The header's one value; `None` if it is not there.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(s3_error!(InvalidRequest, "the header {name} is sent twice"));
    }
    value
        .map(http::HeaderValue::to_str)
        .transpose()
        .map_err(|_| s3_error!(InvalidRequest, "the header {name} is not text"))
}

fn check_body(headers: &HeaderMap, length: Option<u64>) -> Result<(), S3Error> {
    let hash = one(headers, CONTENT_SHA256)?.unwrap_or_default();
    let chunked = CHUNKED.contains(&hash);
    if !(chunked || hash == UNSIGNED || is_sha256(hash)) {
        return Err(s3_error!(
            AccessDenied,
            "{CONTENT_SHA256} must be the SHA-256 of the body, \
             {UNSIGNED}, or a form of STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        ));
    }
    if chunked {
        check_decoded_length(headers)?;
    }
    match length {
        None => Err(s3_error!(MissingContentLength)),
        Some(length) if length > MAX_LENGTH => Err(s3_error!(EntityTooLarge)),
        // s3s does not look at the hash of a body that is not there.
        Some(0) if hash != EMPTY_SHA256 && hash != UNSIGNED => {
            Err(s3_error!(IncompleteBody, "the body is empty"))
        }
        Some(_) => Ok(()),
    }
}

fn check_decoded_length(headers: &HeaderMap) -> Result<(), S3Error> {
    let length = one(headers, DECODED_LENGTH)?
        .and_then(|length| length.parse::<u64>().ok())
        .ok_or_else(|| {
            s3_error!(
                MissingContentLength,
                "a body in chunks needs {DECODED_LENGTH}"
            )
        })?;
    if length > MAX_CHUNKED {
        return Err(s3_error!(
            EntityTooLarge,
            "a body in chunks has 1 GiB at most"
        ));
    }
    Ok(())
}

fn is_sha256(hash: &str) -> bool {
    hash.len() == 64
        && hash
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
