//! The bucket's large objects: written in parts, and there once all have come.
//!
//! Source: "Multipart upload limits", Amazon S3 User Guide: parts have numbers from
//! 1 to 10,000, and 5 MiB to 5 GiB each; the last may be smaller.

use bytes::Bytes;
use http::{HeaderName, Method};
use quick_xml::escape::escape;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::{
    Ask, Bucket, BucketError, ObjectRef,
    object::{Content, Stored, text},
};
use crate::{FailureKind, Payload, error};

/// An upload that has begun, of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Where the object will lie.
    pub key: Vec<u8>,
    /// The service's name for it.
    pub id: String,
}

/// A part that the service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place among the others, from 1.
    pub number: u16,
    /// As the service writes it, in quotation marks.
    pub etag: String,
}

#[derive(Debug, Deserialize)]
struct BegunXml {
    #[serde(rename = "UploadId")]
    id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletedXml {
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

impl Bucket {
    /// Begins an upload; `headers` are those of the object.
    pub async fn create_upload(
        &self,
        key: &[u8],
        headers: &[(HeaderName, String)],
    ) -> Result<Upload, BucketError> {
        let mut ask = Ask::new("begin upload", Method::POST, Some(ObjectRef::latest(key)));
        ask.query.push(("uploads", &[]));
        ask.headers.extend_from_slice(headers);
        let answer = self.send(&ask).await?;
        let begun = quick_xml::de::from_reader::<_, BegunXml>(&answer.body[..]);
        let begun = begun.map_err(|error| {
            let problem = format!("the store's answer cannot be read: {error}");
            self.failed(&ask, FailureKind::Denied(problem))
        })?;
        Ok(Upload {
            key: key.to_vec(),
            id: begun.id,
        })
    }

    /// Writes one part; once more under its number, it replaces what was there.
    pub async fn put_part(
        &self,
        upload: &Upload,
        number: u16,
        content: &Content<'_>,
    ) -> Result<Part, BucketError> {
        let number_text = number.to_string();
        let mut ask = upload.ask("put part", Method::PUT).content(content);
        ask.query.push(("partNumber", number_text.as_bytes()));
        let answer = self.send(&ask).await?;
        let etag = text(&answer.headers, "etag").ok_or_else(|| {
            let problem = "the store does not say the part's ETag, without which it cannot be used";
            self.failed(&ask, FailureKind::Denied(problem.into()))
        })?;
        Ok(Part { number, etag })
    }

    /// Makes the object of its parts, which are in the order of their numbers.
    pub async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
    ) -> Result<Stored, BucketError> {
        let xml = [Bytes::from(completion(parts))];
        let mut ask = upload
            .ask("complete upload", Method::POST)
            .body(Payload::new(&xml), sha256(&xml[0]));
        ask.headers.push(content_type());
        let answer = self.send(&ask).await?;
        // It may take long: the service says 200 first and then that it failed.
        if let Some(failure) = error::within(&answer.body) {
            return Err(self.failed(&ask, failure));
        }
        let body = answer.body.trim_ascii_start();
        let completed: CompletedXml = quick_xml::de::from_reader(body).unwrap_or_default();
        let stored = Stored::of(&answer.headers);
        Ok(Stored {
            etag: completed.etag.or(stored.etag),
            ..stored
        })
    }

    /// Gives an upload up, with all its parts. It is no error when it is gone.
    pub async fn abort_upload(&self, upload: &Upload) -> Result<(), BucketError> {
        match self.send(&upload.ask("abort upload", Method::DELETE)).await {
            Err(error) if error.failure.code != "NoSuchUpload" => Err(error),
            _ => Ok(()),
        }
    }
}

impl Upload {
    fn ask(&self, operation: &'static str, method: Method) -> Ask<'_> {
        let object = ObjectRef::latest(&self.key);
        let mut ask = Ask::new(operation, method, Some(object));
        ask.query.push(("uploadId", self.id.as_bytes()));
        ask
    }
}

fn completion(parts: &[Part]) -> String {
    let parts = parts.iter().map(|Part { number, etag }| {
        let etag = escape(etag.as_str());
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    });
    let parts: String = parts.collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

pub(super) fn content_type() -> (HeaderName, String) {
    (http::header::CONTENT_TYPE, "application/xml".into())
}
