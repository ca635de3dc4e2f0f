//! The bucket's tags: a few names and values beside an object's bytes.

use bytes::Bytes;
use http::Method;
use quick_xml::escape::escape;
use serde::Deserialize;

use super::{
    Ask, Bucket, BucketError, ObjectRef,
    multipart::{content_type, sha256},
    object::checksum,
};
use crate::{FailureKind, Payload};

/// Name and value.
pub type Tag = (String, String);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaggingXml {
    tag_set: TagSetXml,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TagSetXml {
    tag: Vec<TagXml>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagXml {
    key: String,
    #[serde(default)]
    value: String,
}

impl Bucket {
    /// The tags of an object, in no particular order.
    pub async fn get_object_tagging(&self, object: ObjectRef<'_>) -> Result<Vec<Tag>, BucketError> {
        let mut ask = Ask::new("get tags", Method::GET, Some(object));
        ask.query.push(("tagging", &[]));
        let answer = match self.send(&ask).await {
            Err(error) if error.failure.code.starts_with("NoSuchTagSet") => return Ok(Vec::new()),
            answer => answer?,
        };
        read(&answer.body).map_err(|kind| self.failed(&ask, kind))
    }

    /// Replaces the tags of an object by these.
    pub async fn put_object_tagging(
        &self,
        object: ObjectRef<'_>,
        tags: &[Tag],
    ) -> Result<(), BucketError> {
        let xml = [Bytes::from(write(tags))];
        let hash = sha256(&xml[0]);
        let mut ask =
            Ask::new("put tags", Method::PUT, Some(object)).body(Payload::new(&xml), hash);
        ask.query.push(("tagging", &[]));
        ask.headers.extend([content_type(), checksum(hash)]);
        self.send(&ask).await.map(drop)
    }
}

/// Reads the XML of an object's tags.
pub(crate) fn read(xml: &[u8]) -> Result<Vec<Tag>, FailureKind> {
    let tagging: TaggingXml = quick_xml::de::from_reader(xml).map_err(|error| {
        FailureKind::Denied(format!("the store's list of tags cannot be read: {error}"))
    })?;
    let tags = tagging.tag_set.tag.into_iter();
    Ok(tags.map(|tag| (tag.key, tag.value)).collect())
}

pub(crate) fn write(tags: &[Tag]) -> String {
    let tags = tags.iter().map(|(key, value)| {
        let (key, value) = (escape(key.as_str()), escape(value.as_str()));
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    });
    let tags: String = tags.collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_were_written() {
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let tags = vec![tag("a<b>&\"'", ""), tag("ä b", " x  y "), tag("", "</Tag>")];
        assert_eq!(read(write(&tags).as_bytes()).unwrap(), tags);
        assert_eq!(read(write(&[]).as_bytes()).unwrap(), []);
        for damaged in ["<Tagging><TagSet><Tag/></TagSet></Tagging>", "no XML"] {
            read(damaged.as_bytes()).unwrap_err();
        }
    }
}
