//! The listing: the answer to `ListObjectsV2`.
//!
//! Source: "ListObjectsV2", Amazon S3 API Reference.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::FailureKind;

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// In the order of the answer, which is that of their keys.
    pub objects: Vec<ListedObject>,
    /// What keys with the delimiter have in common up to it.
    pub prefixes: Vec<Vec<u8>>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// All of it, byte for byte.
    pub key: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the service's clock, if it says so.
    pub modified: Option<Timestamp>,
    /// As the service writes it, in quotation marks; may be empty.
    pub etag: String,
    /// `STANDARD`, `GLACIER`, …; may be empty.
    pub storage_class: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageXml {
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    #[serde(default)]
    contents: Vec<ObjectXml>,
    #[serde(default)]
    common_prefixes: Vec<PrefixXml>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ObjectXml {
    key: String,
    size: u64,
    /// RFC 3339.
    last_modified: Option<String>,
    #[serde(default, rename = "ETag")]
    etag: String,
    #[serde(default)]
    storage_class: String,
}

/// A common prefix.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PrefixXml {
    pub(crate) prefix: String,
}

/// Whether the keys of an answer are percent-encoded: some services do not know
/// how, whatever they are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding(bool);

impl Encoding {
    pub(crate) fn named(name: Option<&str>) -> Self {
        Self(name.is_some_and(|name| name.eq_ignore_ascii_case("url")))
    }

    /// The bytes of a key. Services write a space as `+` or as `%20`, and a plus
    /// as `%2B`.
    pub(crate) fn key(self, text: String) -> Vec<u8> {
        if !self.0 {
            return text.into_bytes();
        }
        let text = text.replace('+', " ");
        Cow::from(percent_decode_str(&text)).into_owned()
    }
}

impl ObjectPage {
    /// Reads one page.
    pub fn from_xml(xml: &[u8]) -> Result<Self, FailureKind> {
        let page: PageXml = quick_xml::de::from_reader(xml).map_err(unreadable)?;
        let encoding = Encoding::named(page.encoding_type.as_deref());
        let prefixes = page.common_prefixes.into_iter();
        let next = match page.next_continuation_token {
            Some(token) if page.is_truncated => Some(token),
            None if page.is_truncated => return Err(broken_off()),
            _ => None,
        };
        Ok(Self {
            objects: page
                .contents
                .into_iter()
                .map(|object| object.listed(encoding))
                .collect(),
            prefixes: prefixes.map(|it| encoding.key(it.prefix)).collect(),
            next,
        })
    }
}

impl ObjectXml {
    fn listed(self, encoding: Encoding) -> ListedObject {
        ListedObject {
            key: encoding.key(self.key),
            size: self.size,
            modified: time(self.last_modified.as_deref()),
            etag: self.etag,
            storage_class: self.storage_class,
        }
    }
}

/// A time as listings have it: RFC 3339.
pub(crate) fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

pub(crate) fn unreadable(error: impl std::fmt::Display) -> FailureKind {
    FailureKind::Denied(format!("the store's listing cannot be read: {error}"))
}

/// A listing that has more pages and no way to them.
pub(crate) fn broken_off() -> FailureKind {
    FailureKind::Denied("the store's listing breaks off without saying how to go on".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_where_the_service_has_encoded_them() {
        let page = |encoding: &str| {
            let xml = format!(
                "<ListBucketResult>{encoding}<Contents><Key>a+b%2B%00%ff/..%2F</Key><Size>1</Size>\
                 <ETag>&quot;e&quot;</ETag></Contents><CommonPrefixes><Prefix>c%20d/</Prefix>\
                 </CommonPrefixes></ListBucketResult>"
            );
            ObjectPage::from_xml(xml.as_bytes()).unwrap()
        };
        let encoded = page("<EncodingType>url</EncodingType>");
        assert_eq!(encoded.objects[0].key, b"a b+\0\xff/../");
        assert_eq!(encoded.objects[0].etag, "\"e\"");
        assert_eq!(encoded.prefixes, [b"c d/"]);
        let plain = page("");
        assert_eq!(plain.objects[0].key, b"a+b%2B%00%ff/..%2F");
        assert_eq!(plain.prefixes, [b"c%20d/"]);
    }

    #[test]
    fn empty_and_damaged_pages() {
        let empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert_eq!(ObjectPage::from_xml(empty).unwrap(), ObjectPage::default());
        for damaged in [
            &b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"[..],
            b"<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>",
            b"not XML",
        ] {
            ObjectPage::from_xml(damaged).unwrap_err();
        }
    }
}
