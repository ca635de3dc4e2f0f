//! Fuzz targets: callers of the embedded store name and send what they like.

use http::{HeaderName, HeaderValue, Request};

use super::{guard, key::Key, service};

/// The head of a request: method and path, then headers, a line each. Of one
/// that is looked at, all is signed that decides anything, and sent once.
pub fn store_request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let (method, uri) = first.split_once(' ').unwrap_or(("GET", &first));
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let (parts, ()) = request.into_parts();
    for length in [None, Some(0), Some(12), Some(u64::MAX)] {
        if guard::check(&parts, length).is_err() {
            continue;
        }
        assert!(["GET", "HEAD", "PUT", "DELETE"].contains(&parts.method.as_str()));
        let authorization = parts.headers["authorization"].to_str().unwrap();
        let (_, signed) = authorization.split_once("SignedHeaders=").unwrap();
        let signed = signed.split(',').next().unwrap().trim();
        let signed: Vec<_> = signed.split(';').collect();
        for name in parts.headers.keys() {
            let name = name.as_str();
            if name.starts_with("x-amz-") || ["host", "if-range"].contains(&name) {
                assert!(signed.contains(&name), "{name}");
                assert_eq!(parts.headers.get_all(name).iter().count(), 1, "{name}");
            }
        }
        if parts.method == "PUT" {
            assert!(length.is_some_and(|length| length <= 5 << 30));
        }
    }
}

/// A bucket and a key, apart at a line feed: nothing leads out of the bucket.
/// Likewise a token of a listing.
pub fn store_key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (bucket, key) = text.split_once('\n').unwrap_or(("bucket", &text));
    if let Some(parsed) = Key::parse(bucket, key) {
        let mut names: Vec<&str> = parsed.directories.iter().map(String::as_str).collect();
        names.push(&parsed.file);
        names.push(&parsed.bucket);
        for name in names {
            assert!(!name.is_empty() && name != "." && name != "..");
            assert!(!name.contains('/') && !name.contains('\0'));
        }
    }
    if let Ok(decoded) = service::decode_token(key) {
        assert_eq!(service::encode_token(&decoded), key);
    }
}
