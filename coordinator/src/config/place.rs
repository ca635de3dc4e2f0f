//! Where a store may be: what no service has is refused before anybody asks one.

use std::net::IpAddr;

use url::{Host, Url};

use super::StoreConfig;

/// Bytes of a key at most, as in S3; ours below the prefix have some 200.
const LONGEST_PREFIX: usize = 512;

/// Says what is wrong with endpoint, bucket or prefix.
pub(super) fn check(store: &StoreConfig) -> Result<(), String> {
    endpoint(&store.endpoint, store.path_style)?;
    bucket(&store.bucket)?;
    if !store.path_style && store.bucket.contains('.') && store.endpoint.starts_with("https:") {
        return Err(format!(
            "bucket {:?}: no certificate is valid for a bucket with a dot in its host's name; set \
             path_style = true, or use another bucket",
            store.bucket
        ));
    }
    prefix(&store.prefix)
}

fn endpoint(text: &str, path_style: bool) -> Result<(), String> {
    let expected = "write https://host or https://host:port";
    let Ok(url) = Url::parse(text) else {
        // A password could stand in it.
        return Err(format!("endpoint is no URL: {expected}"));
    };
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(
            "endpoint has a user or a password in it: access keys stand in files or environment \
             variables (access_key_id_file and secret_access_key_file)"
                .into(),
        );
    }
    let refused = |why: &str| Err(format!("endpoint {text:?} {why}: {expected}"));
    if !matches!(url.scheme(), "http" | "https") {
        return refused("is no HTTP URL");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused("has a query or a fragment");
    }
    if !matches!(url.path(), "" | "/") {
        let why = "has a path, which belongs into bucket or prefix";
        return refused(why);
    }
    match url.host() {
        None => refused("names no host"),
        Some(Host::Domain(_)) => Ok(()),
        Some(_) if path_style => Ok(()),
        Some(_) => Err(format!(
            "endpoint {text:?} is an address, in front of which no bucket can stand: set \
             path_style = true, or give the host's name"
        )),
    }
}

/// Amazon's rules for names of buckets, which all services keep to.
fn bucket(name: &str) -> Result<(), String> {
    let allowed =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'.');
    let ends = |it: Option<&u8>| it.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let problem = if name.is_empty() {
        "is empty"
    } else if !(3..=63).contains(&name.len()) {
        "must have 3 to 63 characters"
    } else if !bytes.iter().all(|it| allowed(*it)) {
        "may hold a–z, 0–9, hyphens and dots only; what follows a slash is a prefix"
    } else if !ends(bytes.first()) || !ends(bytes.last()) {
        "must begin and end with a letter or a digit"
    } else if name.contains("..") || name.parse::<IpAddr>().is_ok() {
        "must be no address, and have no two dots side by side"
    } else {
        return Ok(());
    };
    Err(format!("bucket {name:?} {problem}"))
}

fn prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() {
        return Ok(());
    }
    let problem = if prefix.starts_with('/') || prefix.ends_with('/') {
        "must neither start nor end with a slash"
    } else if prefix.split('/').any(str::is_empty) {
        "must have no two slashes side by side"
    } else if prefix.split('/').any(|part| matches!(part, "." | "..")) {
        "must have no '.' and no '..' in it"
    } else if prefix.contains('\\') || prefix.chars().any(char::is_control) {
        "must have no backslash and no control character in it"
    } else if prefix.len() > LONGEST_PREFIX {
        "is longer than 512 bytes"
    } else {
        return Ok(());
    };
    Err(format!("prefix {prefix:?} {problem}"))
}
