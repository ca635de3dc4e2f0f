//! What a request says about its body beside a signed SHA-256, checked while
//! the body comes in.
//!
//! s3s (0.14.1) verifies the signature of each chunk of a chunked body, but
//! takes the body's end for the object's wherever it comes, and hands over
//! checksums, in headers and in trailers, without looking at them.

use http::{HeaderMap, HeaderName};
use s3s::{
    S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    s3_error,
};

/// In the `x-amz-trailer` header and before the checksums themselves.
const CHECKSUM: &str = "x-amz-checksum-";
/// Of a chunked body: bytes without what surrounds the chunks.
pub(super) const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// What a body must turn out to be.
pub(super) struct Integrity {
    length: Option<u64>,
    received: u64,
    md5: Option<Md5>,
    sums: ChecksumHasher,
    headers: HeaderMap,
    trailers: Option<TrailingHeaders>,
}

impl Integrity {
    /// What the request promises; `trailers` come at the end of its body.
    pub(super) fn promised(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let announced = announced(headers)?;
        let wanted = |name: &str| {
            let name = format!("{CHECKSUM}{name}");
            headers.contains_key(&name) || announced.contains(&name)
        };
        Ok(Self {
            length: text(headers, DECODED_LENGTH).and_then(|length| length.parse().ok()),
            received: 0,
            md5: headers.contains_key("content-md5").then(Md5::new),
            sums: ChecksumHasher {
                crc32: wanted("crc32").then(Crc32::new),
                crc32c: wanted("crc32c").then(Crc32c::new),
                sha1: wanted("sha1").then(Sha1::new),
                sha256: wanted("sha256").then(Sha256::new),
                crc64nvme: wanted("crc64nvme").then(Crc64Nvme::new),
            },
            headers: headers.clone(),
            trailers,
        })
    }

    /// Takes the next bytes of the object.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.sums.update(bytes);
    }

    /// Compares, at the body's end.
    pub(super) fn finish(self) -> S3Result<()> {
        if let Some(length) = self.length.filter(|length| *length != self.received) {
            return Err(s3_error!(
                IncompleteBody,
                "the body has {} bytes of the {length} in {DECODED_LENGTH}",
                self.received
            ));
        }
        let trailers = self
            .trailers
            .and_then(|trailers| trailers.take())
            .unwrap_or_default();
        let md5 = self
            .md5
            .map(|md5| data_encoding::BASE64.encode(md5.finalize().as_ref()));
        let sums = self.sums.finalize();
        let computed = [
            ("content-md5", md5),
            ("x-amz-checksum-crc32", sums.checksum_crc32),
            ("x-amz-checksum-crc32c", sums.checksum_crc32c),
            ("x-amz-checksum-sha1", sums.checksum_sha1),
            ("x-amz-checksum-sha256", sums.checksum_sha256),
            ("x-amz-checksum-crc64nvme", sums.checksum_crc64nvme),
        ];
        for (name, computed) in computed {
            let Some(computed) = computed else { continue };
            let said = text(&self.headers, name).or_else(|| text(&trailers, name));
            if said != Some(computed.as_str()) {
                return Err(s3_error!(BadDigest, "the body does not match its {name}"));
            }
        }
        Ok(())
    }
}

/// The trailers that the body will end with; only checksums can be.
fn announced(headers: &HeaderMap) -> S3Result<Vec<String>> {
    let Some(names) = text(headers, "x-amz-trailer") else {
        return Ok(Vec::new());
    };
    let known = ["crc32", "crc32c", "sha1", "sha256", "crc64nvme"];
    names
        .split(',')
        .map(|name| {
            let name = name.trim().to_ascii_lowercase();
            let checksum = name.strip_prefix(CHECKSUM);
            if checksum.is_some_and(|checksum| known.contains(&checksum)) {
                Ok(name)
            } else {
                Err(s3_error!(
                    NotImplemented,
                    "the embedded store does not know the trailer {name:?}"
                ))
            }
        })
        .collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let name: HeaderName = name.parse().ok()?;
    headers.get(name)?.to_str().ok()
}
