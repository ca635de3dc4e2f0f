//! Fuzz targets: an S3 service may answer anything.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    Answer, ByteRange, ObjectPage, S3Location, SignedRequest, VersionPage, bucket::tagging, error,
    location::encode,
};

/// The XML of a listing: each key that comes is one that can be asked for, byte for
/// byte.
pub fn s3_listing(data: &[u8]) {
    let Ok(page) = ObjectPage::from_xml(data) else {
        return;
    };
    for key in page.objects.iter().map(|object| &object.key) {
        let encoded = encode(key, true);
        assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(&encoded).collect();
        assert_eq!(&decoded, key);
    }
}

/// The XML of a listing of versions.
pub fn s3_versions(data: &[u8]) {
    if let Ok(page) = VersionPage::from_xml(data)
        && let Some(next) = page.next
    {
        assert_ne!(next.version.as_deref(), Some(""));
    }
}

/// The XML of an object's tags: written, they read the same.
pub fn s3_tags(data: &[u8]) {
    if let Ok(tags) = tagging::read(data) {
        let again = tagging::read(tagging::write(&tags).as_bytes());
        assert_eq!(again.unwrap(), tags);
    }
}

/// What a refusal means: two bytes of status, a `Content-Range` up to a line
/// feed, and the body. Whatever it says can be shown.
pub fn s3_error(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk() else {
        return;
    };
    let status = StatusCode::from_u16(u16::from_be_bytes(*status) % 1000)
        .unwrap_or(StatusCode::RANGE_NOT_SATISFIABLE);
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(&rest[..end]) {
        for name in [
            header::CONTENT_RANGE.as_str(),
            "x-amz-bucket-region",
            "date",
        ] {
            headers.insert(name.parse::<header::HeaderName>().unwrap(), value.clone());
        }
    }
    let mut sent = SignedRequest {
        method: Method::GET,
        url: "https://s3.example/bucket/key?X-Amz-Signature=abc".into(),
        headers: HeaderMap::new(),
    };
    sent.headers
        .insert(header::RANGE, HeaderValue::from_static("bytes=100-199"));
    let failure = error::classify(status, &headers, &rest[end..], &sent, "the coordinator");
    let _ = failure.kind.to_string();
}

/// What a store says that it sends, two bytes of status and a `Content-Range` up
/// to a line feed, and the body: only the range that was asked for is taken.
pub fn s3_answer(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk() else {
        return;
    };
    let status = StatusCode::from_u16(u16::from_be_bytes(*status) % 1000);
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (said, body) = rest.split_at(end.unwrap_or(0));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(said) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    let answer = Answer {
        status: status.unwrap_or(StatusCode::PARTIAL_CONTENT),
        headers,
        body: Bytes::copy_from_slice(body),
    };
    let asked = ByteRange {
        first: 100,
        last: 105,
    };
    if answer.require(Some(asked)).is_ok() {
        assert_eq!((answer.status.as_u16(), body.len()), (206, 6));
        assert!(said.starts_with(b"bytes 100-105/"));
    }
    if answer.require(None).is_ok() {
        assert_eq!(answer.status.as_u16(), 200);
    }
}

/// A location as people write it: what is shown of it is read as the same.
pub fn s3_location(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(location) = text.parse::<S3Location>() {
        let shown = location.to_string();
        assert_eq!(
            shown.parse::<S3Location>().as_ref(),
            Ok(&location),
            "{shown}"
        );
        let url = location.object_url(location.key("config"));
        assert!(url.starts_with("http"), "{url}");
        assert!(!location.host().is_empty());
    }
}

#[cfg(test)]
mod runs {
    fn listings() -> Vec<Vec<u8>> {
        let id = "ab".repeat(32);
        let page = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>backups/web/</Prefix><EncodingType>url</EncodingType><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>1&amp;2</NextContinuationToken><Contents><Key>backups/web/snapshots/{id}</Key><LastModified>2026-11-21T02:47:53.000Z</LastModified><Size>217</Size></Contents><Contents><Key>backups/web/data+ab/%C3%A4%2B</Key><Size>18446744073709551615</Size></Contents></ListBucketResult>"#
        );
        vec![page.into_bytes(), b"<ListBucketResult/>".to_vec()]
    }

    fn versions() -> Vec<Vec<u8>> {
        let page = r#"<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>c+d</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker><DeleteMarker><Key>a%0A</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest></DeleteMarker><Version><Key>a</Key><VersionId>v1</VersionId><ETag>e</ETag><Size>7</Size><Owner><ID>o</ID></Owner></Version><CommonPrefixes><Prefix>e%2F</Prefix></CommonPrefixes></ListVersionsResult>"#;
        vec![page.into(), b"<ListVersionsResult/>".to_vec()]
    }

    fn tags() -> Vec<Vec<u8>> {
        let tags = "<Tagging><TagSet><Tag><Key>a&amp;b</Key><Value/></Tag><Tag><Key>c</Key>\
                    <Value> d </Value></Tag></TagSet></Tagging>";
        vec![tags.into()]
    }

    fn errors() -> Vec<Vec<u8>> {
        let error = |status: u16, text: &str| [&status.to_be_bytes()[..], text.as_bytes()].concat();
        vec![
            error(
                416,
                "bytes */150\n<Error><Code>InvalidRange</Code><Message>no</Message><ActualObjectSize>150</ActualObjectSize></Error>",
            ),
            error(
                301,
                "eu-central-1\n<Error><Code>PermanentRedirect</Code><Endpoint>s3.example</Endpoint><Region>r</Region></Error>",
            ),
            error(
                404,
                "\n<Error><Code>NoSuchBucket</Code><BucketName>b</BucketName></Error>",
            ),
            error(503, "\n<html>busy</html>"),
            error(
                403,
                "Sat, 21 Nov 2026 02:47:53 GMT\n<Error><Code>RequestTimeTooSkewed</Code></Error>",
            ),
        ]
    }

    fn answers() -> Vec<Vec<u8>> {
        let answer =
            |status: u16, text: &str| [&status.to_be_bytes()[..], text.as_bytes()].concat();
        vec![
            answer(206, "bytes 100-105/150\nsix by"),
            answer(200, "\n012345"),
        ]
    }

    fn locations() -> Vec<Vec<u8>> {
        [
            "s3:https://s3.example:9000/bucket/a/b",
            "s3:s3.example/bucket",
            "s3:http://[::1]:80/b/%20",
        ]
        .map(Into::into)
        .to_vec()
    }
    strongroom_fuzz::short_runs! {
        s3_answer: answers(),
        s3_listing: listings(),
        s3_versions: versions(),
        s3_tags: tags(),
        s3_error: errors(),
        s3_location: locations(),
    }
}
