//! Fuzz target: callers of the embedded store name what they like.

use super::{key::Key, service};

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
