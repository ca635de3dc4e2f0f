//! The listing of versions: the answer to `ListObjectVersions`.
//!
//! Source: "ListObjectVersions", Amazon S3 API Reference.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    error::FailureKind,
    listing::{Encoding, PrefixXml, broken_off, time, unreadable},
};

/// One page of a listing of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// In the order of the answer: by key, the latest first.
    pub versions: Vec<ListedVersion>,
    /// What keys with the delimiter have in common up to it.
    pub prefixes: Vec<Vec<u8>>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<VersionMarker>,
}

/// Where a page of a listing of versions begins: behind this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionMarker {
    /// The last key of the page before, or its last common prefix.
    pub key: Vec<u8>,
    /// The last version of that key, if it had some.
    pub version: Option<String>,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// All of its key, byte for byte.
    pub key: Vec<u8>,
    /// Its id; `null` if it was written before the bucket kept versions.
    pub version: String,
    /// Whether it is what a GET without a version gets.
    pub latest: bool,
    /// What it is.
    pub content: VersionContent,
    /// When it was written, by the service's clock, if it says so.
    pub modified: Option<Timestamp>,
}

/// What a version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionContent {
    /// An object.
    Object {
        /// Bytes.
        size: u64,
        /// As the service writes it, in quotation marks; may be empty.
        etag: String,
        /// `STANDARD`, `GLACIER`, …; may be empty.
        storage_class: String,
    },
    /// A marker: the object was deleted.
    Deleted,
}

/// Versions and markers come mixed, in the order of their keys.
#[derive(Debug, Deserialize)]
struct PageXml {
    #[serde(default, rename = "$value")]
    elements: Vec<Element>,
}

#[derive(Debug, Deserialize)]
enum Element {
    Version(VersionXml),
    DeleteMarker(VersionXml),
    CommonPrefixes(PrefixXml),
    EncodingType(String),
    IsTruncated(bool),
    NextKeyMarker(String),
    NextVersionIdMarker(String),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionXml {
    key: String,
    version_id: String,
    #[serde(default)]
    is_latest: bool,
    /// Of objects.
    size: Option<u64>,
    /// RFC 3339.
    last_modified: Option<String>,
    #[serde(default, rename = "ETag")]
    etag: String,
    #[serde(default)]
    storage_class: String,
}

impl VersionPage {
    /// Reads one page.
    pub fn from_xml(xml: &[u8]) -> Result<Self, FailureKind> {
        let page: PageXml = quick_xml::de::from_reader(xml).map_err(unreadable)?;
        let encoding = page.elements.iter().find_map(|element| match element {
            Element::EncodingType(name) => Some(name.as_str()),
            _ => None,
        });
        let encoding = Encoding::named(encoding);
        let mut reader = Reader {
            encoding,
            page: Self::default(),
            truncated: false,
            key: None,
            version: None,
        };
        for element in page.elements {
            reader.add(element)?;
        }
        reader.finish()
    }
}

/// What was read so far.
struct Reader {
    encoding: Encoding,
    page: VersionPage,
    truncated: bool,
    key: Option<Vec<u8>>,
    version: Option<String>,
}

impl Reader {
    fn add(&mut self, element: Element) -> Result<(), FailureKind> {
        match element {
            Element::Version(version) => {
                let size = version
                    .size
                    .ok_or_else(|| unreadable("a version has no size"))?;
                let content = VersionContent::Object {
                    size,
                    etag: version.etag.clone(),
                    storage_class: version.storage_class.clone(),
                };
                self.listed(version, content);
            }
            Element::DeleteMarker(marker) => self.listed(marker, VersionContent::Deleted),
            Element::CommonPrefixes(it) => self.page.prefixes.push(self.encoding.key(it.prefix)),
            Element::IsTruncated(truncated) => self.truncated = truncated,
            Element::NextKeyMarker(key) => self.key = Some(self.encoding.key(key)),
            Element::NextVersionIdMarker(id) => self.version = Some(id).filter(|id| !id.is_empty()),
            Element::EncodingType(_) | Element::Other => {}
        }
        Ok(())
    }

    fn listed(&mut self, version: VersionXml, content: VersionContent) {
        self.page.versions.push(ListedVersion {
            key: self.encoding.key(version.key),
            version: version.version_id,
            latest: version.is_latest,
            content,
            modified: time(version.last_modified.as_deref()),
        });
    }

    fn finish(mut self) -> Result<VersionPage, FailureKind> {
        if self.truncated {
            let key = self.key.ok_or_else(broken_off)?;
            let version = self.version;
            self.page.next = Some(VersionMarker { key, version });
        }
        Ok(self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_markers_come_mixed() {
        let xml = br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Name>b</Name><Prefix/><KeyMarker></KeyMarker><MaxKeys>3</MaxKeys>
              <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
              <NextKeyMarker>c+d</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>
              <DeleteMarker><Key>a%0A</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest>
                <LastModified>2026-03-01T12:00:00.000Z</LastModified><Owner><ID>o</ID></Owner>
              </DeleteMarker>
              <Version><Key>a%0A</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest>
                <ETag>&quot;e&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass>
                <Owner><ID>o</ID><DisplayName>n</DisplayName></Owner></Version>
              <DeleteMarker><Key>c+d</Key><VersionId>v1</VersionId></DeleteMarker>
              <CommonPrefixes><Prefix>e%2F</Prefix></CommonPrefixes>
            </ListVersionsResult>"#;
        let page = VersionPage::from_xml(xml).unwrap();
        let seen: Vec<_> = page
            .versions
            .iter()
            .map(|it| (&it.key[..], &*it.version, it.latest))
            .collect();
        let expected = [
            (&b"a\n"[..], "v2", true),
            (b"a\n", "v1", false),
            (b"c d", "v1", false),
        ];
        assert_eq!(seen, expected);
        let object = VersionContent::Object {
            size: 7,
            etag: "\"e\"".into(),
            storage_class: "STANDARD".into(),
        };
        assert_eq!(page.versions[0].content, VersionContent::Deleted);
        assert_eq!(page.versions[1].content, object);
        assert_eq!(page.prefixes, [b"e/"]);
        let next = VersionMarker {
            key: b"c d".to_vec(),
            version: Some("v1".into()),
        };
        assert_eq!(page.next, Some(next));
    }

    #[test]
    fn empty_and_damaged_pages() {
        let empty = b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>";
        assert_eq!(
            VersionPage::from_xml(empty).unwrap(),
            VersionPage::default()
        );
        for damaged in [
            &b"<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>"[..],
            b"<ListVersionsResult><Version><Key>x</Key><VersionId>1</VersionId></Version></ListVersionsResult>",
            b"<ListVersionsResult><DeleteMarker><Key>x</Key></DeleteMarker></ListVersionsResult>",
            b"not XML",
        ] {
            VersionPage::from_xml(damaged).unwrap_err();
        }
    }
}
