//! The bucket's objects: one request each.

use http::{HeaderMap, HeaderName, Method, header};

use super::{Ask, Bucket, BucketError, ObjectRef};
use crate::{Answer, ByteRange, FailureKind, Incoming, Payload};

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// Of which object.
    pub object: ObjectRef<'a>,
    /// All of it, or a part.
    pub range: Option<ByteRange>,
    /// Refused unless the object still has this ETag.
    pub if_match: Option<&'a str>,
}

/// What an answer's headers say of an object.
#[derive(Clone, Debug)]
pub struct ObjectHead {
    /// Bytes of all of it.
    pub length: u64,
    /// As the service writes it, in quotation marks.
    pub etag: Option<String>,
    /// Of a bucket that keeps versions.
    pub version: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
}

/// What is to be written, as an object or as a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The bytes.
    pub body: Payload<'a>,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// `x-amz-meta-…`, `content-type`, `if-none-match`, …. With Object Lock buckets
    /// take nothing without a [`checksum`].
    pub headers: &'a [(HeaderName, String)],
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As the service writes it, in quotation marks.
    pub etag: Option<String>,
    /// Of a bucket that keeps versions.
    pub version: Option<String>,
}

/// The header with which a service checks a body once more, and keeps its SHA-256.
pub fn checksum(sha256: [u8; 32]) -> (HeaderName, String) {
    let name = HeaderName::from_static("x-amz-checksum-sha256");
    (name, data_encoding::BASE64.encode(&sha256))
}

impl<'a> Get<'a> {
    /// All of the latest version.
    pub fn latest(key: &'a [u8]) -> Self {
        Self {
            object: ObjectRef::latest(key),
            range: None,
            if_match: None,
        }
    }

    fn ask(&self) -> Ask<'a> {
        let mut ask = Ask::new("get", Method::GET, Some(self.object));
        let range = self.range.map(|range| (header::RANGE, range.header()));
        ask.headers.extend(range);
        let condition = self
            .if_match
            .map(|etag| (header::IF_MATCH, etag.to_owned()));
        ask.headers.extend(condition);
        ask
    }
}

impl Bucket {
    /// What the service says of an object without giving it.
    pub async fn head(&self, object: ObjectRef<'_>) -> Result<ObjectHead, BucketError> {
        let ask = Ask::new("head", Method::HEAD, Some(object));
        let answer = self.send(&ask).await?;
        ObjectHead::of(answer.headers).map_err(|kind| self.failed(&ask, kind))
    }

    /// All that was asked for, in memory: of at most a gigabyte.
    pub async fn get(&self, get: &Get<'_>) -> Result<Answer, BucketError> {
        let ask = get.ask();
        let answer = self.send(&ask).await?;
        match answer.require(get.range) {
            Ok(()) => Ok(answer),
            Err(kind) => Err(self.failed(&ask, kind)),
        }
    }

    /// The head of what was asked for, and its bytes as they come.
    pub async fn read(&self, get: &Get<'_>) -> Result<(ObjectHead, Incoming), BucketError> {
        let ask = get.ask();
        let incoming = self.open(&ask).await?;
        let head = match incoming.require(get.range) {
            Ok(()) => ObjectHead::of(incoming.headers.clone()),
            Err(kind) => Err(kind),
        };
        match head {
            Ok(head) => Ok((head, incoming)),
            Err(kind) => Err(self.failed(&ask, kind)),
        }
    }

    /// Writes an object.
    pub async fn put(&self, key: &[u8], content: &Content<'_>) -> Result<Stored, BucketError> {
        let object = ObjectRef::latest(key);
        let ask = Ask::new("put", Method::PUT, Some(object)).content(content);
        let answer = self.send(&ask).await?;
        Ok(Stored::of(&answer.headers))
    }

    /// Deletes a version for good; of the latest without a version, a bucket that
    /// keeps them only marks that. It is no error when it is gone.
    pub async fn delete(&self, object: ObjectRef<'_>) -> Result<(), BucketError> {
        let ask = Ask::new("delete", Method::DELETE, Some(object));
        match self.send(&ask).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

impl ObjectHead {
    fn of(headers: HeaderMap) -> Result<Self, FailureKind> {
        let length = length(&headers).ok_or_else(|| {
            FailureKind::Denied("the store does not say how long the object is".into())
        })?;
        let Stored { etag, version } = Stored::of(&headers);
        Ok(Self {
            length,
            etag,
            version,
            headers,
        })
    }

    /// What its writer has noted of it: names without `x-amz-meta-`, in lower case,
    /// and values as they are.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((name, value.as_bytes()))
        })
    }
}

/// Bytes of all of an object, whatever part of it this is the answer to.
fn length(headers: &HeaderMap) -> Option<u64> {
    if let Some(range) = text(headers, header::CONTENT_RANGE.as_str()) {
        return range.rsplit_once('/')?.1.parse().ok();
    }
    text(headers, header::CONTENT_LENGTH.as_str())?.parse().ok()
}

impl Stored {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            etag: text(headers, header::ETAG.as_str()),
            version: text(headers, "x-amz-version-id"),
        }
    }
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(String::from_utf8_lossy(value).into_owned())
}
