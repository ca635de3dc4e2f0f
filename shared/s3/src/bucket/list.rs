//! The bucket's listings: of its objects, and of all their versions.

use http::Method;

use super::{Ask, Bucket, BucketError, Parameter};
use crate::{
    ObjectPage,
    versions::{VersionMarker, VersionPage},
};

/// What is to be listed; the default is all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing<'a> {
    /// How keys begin.
    pub prefix: &'a [u8],
    /// Keys that have it behind the prefix are listed as one, up to it.
    pub delimiter: Option<&'a str>,
    /// Keys on a page at most; services give no more than 1,000.
    pub most: Option<u16>,
}

/// Where a page of [`Bucket::list_objects_v2`] begins.
#[derive(Clone, Copy, Debug, Default)]
pub enum PageStart<'a> {
    /// At the first key.
    #[default]
    First,
    /// Behind this key, whether it is there or not.
    After(&'a [u8]),
    /// Where the last page said.
    Token(&'a str),
}

impl Bucket {
    /// One page of the objects, in the order of their keys' bytes.
    pub async fn list_objects_v2(
        &self,
        listing: &Listing<'_>,
        from: PageStart<'_>,
    ) -> Result<ObjectPage, BucketError> {
        let most = listing.most.map(|most| most.to_string());
        let mut query = listing.query(most.as_deref());
        query.push(("list-type", &b"2"[..]));
        match from {
            PageStart::First => {}
            PageStart::After(key) => query.push(("start-after", key)),
            PageStart::Token(token) => query.push(("continuation-token", token.as_bytes())),
        }
        self.page(query, ObjectPage::from_xml).await
    }

    /// One page of all versions, in the order of their keys' bytes, the latest of
    /// each first. `after` is where the last page said.
    pub async fn list_object_versions(
        &self,
        listing: &Listing<'_>,
        after: Option<&VersionMarker>,
    ) -> Result<VersionPage, BucketError> {
        let most = listing.most.map(|most| most.to_string());
        let mut query = listing.query(most.as_deref());
        query.push(("versions", &[]));
        if let Some(after) = after {
            query.push(("key-marker", &after.key));
            let version = after.version.as_deref();
            query.extend(version.map(|it| ("version-id-marker", it.as_bytes())));
        }
        self.page(query, VersionPage::from_xml).await
    }

    async fn page<T>(
        &self,
        query: Vec<Parameter<'_>>,
        read: impl Fn(&[u8]) -> Result<T, crate::FailureKind>,
    ) -> Result<T, BucketError> {
        let ask = Ask {
            query,
            ..Ask::new("list", Method::GET, None)
        };
        let answer = self.send(&ask).await?;
        read(&answer.body).map_err(|kind| self.failed(&ask, kind))
    }
}

impl<'a> Listing<'a> {
    /// Keys come percent-encoded: not all of their bytes can stand in XML.
    fn query(&self, most: Option<&'a str>) -> Vec<Parameter<'a>> {
        let mut query: Vec<Parameter<'_>> = vec![("encoding-type", &b"url"[..])];
        query.push(("prefix", self.prefix));
        query.extend(self.delimiter.map(|it| ("delimiter", it.as_bytes())));
        query.extend(most.map(|it| ("max-keys", it.as_bytes())));
        query
    }
}
