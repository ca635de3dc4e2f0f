//! Fuzz target: an S3 service may answer anything.

use strongroom_layout::Directory;

use super::listing;

const KEY: &str = "backups/web/";

/// The XML of a listing of a repository's directory.
pub fn store_listing(data: &[u8]) {
    for (directory, key) in [
        (Directory::Snapshots, format!("{KEY}snapshots/")),
        (Directory::Data, format!("{KEY}data/")),
    ] {
        let mut listed = Vec::new();
        let _ = listing::add_page(data, directory, &key, &mut listed);
    }
}

#[cfg(test)]
pub(crate) mod seeds {
    use super::KEY;

    pub(crate) fn listings() -> Vec<Vec<u8>> {
        let id = "ab".repeat(32);
        let page = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>{KEY}</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>1&amp;2</NextContinuationToken><Contents><Key>{KEY}snapshots/{id}</Key><LastModified>2026-11-21T02:47:53.000Z</LastModified><Size>217</Size></Contents><Contents><Key>{KEY}data/ab/{id}</Key><Size>18446744073709551615</Size></Contents></ListBucketResult>"#
        );
        vec![page.into_bytes(), b"<ListBucketResult/>".to_vec()]
    }
}
