//! An authority that signs with credentials of its own: for the agent's
//! `offline` command alone, when there is no coordinator. **Nothing else in
//! this crate, and nothing in the agent's daemon, holds credentials of a
//! repository's store.**

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, ready};
use http::{HeaderName, Method, header};
use strongroom_layout::{Directory, ObjectId, ObjectName};
use strongroom_runtime::clock::SharedClock;
use strongroom_s3::{
    Answer, BodyHash, Credentials, HttpClient, Request, S3Location, SignError, SignedRequest,
    Signer, Unsigned, bucket::object::checksum, location::encode, shown_url,
};

use super::listing;
use crate::store::{Authority, Listed, S3Request, StoreError, StoreErrorKind};

/// Whose clock stands in our signatures.
const SIGNER: &str = "this host";

/// Signs with credentials, lists and removes by itself.
#[derive(Debug)]
pub struct CredentialAuthority {
    location: S3Location,
    signer: Signer,
    client: HttpClient,
    /// A bucket with Object Lock takes no PUT without a checksum; some services
    /// take none with one.
    checksums: AtomicBool,
}

impl CredentialAuthority {
    /// `client` is used for listing and removing.
    pub fn new(
        location: S3Location,
        credentials: Credentials,
        client: HttpClient,
        clock: SharedClock,
    ) -> Self {
        Self {
            location,
            signer: Signer::new(credentials, clock),
            client,
            checksums: AtomicBool::new(true),
        }
    }

    fn url(&self, object: ObjectName) -> String {
        self.location.object_url(self.location.key(&object.path()))
    }

    fn sign_object(&self, request: S3Request) -> Result<SignedRequest, StoreError> {
        let (operation, method, object, headers, body) = match request {
            S3Request::Get { object, range } => {
                let range = range.map(|range| (header::RANGE, range.header()));
                let headers = Vec::from_iter(range);
                ("get", Method::GET, object, headers, BodyHash::Empty)
            }
            S3Request::Head { object } => {
                ("head", Method::HEAD, object, Vec::new(), BodyHash::Empty)
            }
            S3Request::Put {
                object,
                length,
                sha256,
            } => {
                let headers = self.headers_of_put(length, sha256);
                (
                    "put",
                    Method::PUT,
                    object,
                    headers,
                    BodyHash::Sha256(sha256.0),
                )
            }
        };
        let signed = self.signer.sign(Unsigned {
            method,
            url: self.url(object),
            headers: &headers,
            body,
        });
        signed.map_err(|error| StoreError::new(operation, object, error))
    }

    fn headers_of_put(&self, length: u64, sha256: ObjectId) -> Vec<(HeaderName, String)> {
        let mut headers = vec![(header::CONTENT_LENGTH, length.to_string())];
        if self.checksums.load(Ordering::Relaxed) {
            headers.push(checksum(sha256.0));
        }
        headers
    }

    async fn send(&self, method: Method, url: String) -> Result<Answer, StoreErrorKind> {
        let signed = self.signer.sign(Unsigned {
            method,
            url,
            headers: &[],
            body: BodyHash::Empty,
        })?;
        let answer = self.client.send(Request::new(&signed, SIGNER)).await;
        answer.map_err(|failure| failure.kind.into())
    }

    async fn list_pages(&self, directory: Directory) -> Result<Vec<Listed>, StoreErrorKind> {
        let directory_key = self.location.key(&format!("{directory}/"));
        let first = format!(
            "{}?list-type=2&prefix={}",
            self.location.bucket_url(),
            encode(directory_key.as_bytes(), false)
        );
        let mut listed = Vec::new();
        let mut url = first.clone();
        loop {
            let answer = self.send(Method::GET, url).await?;
            let next = listing::add_page(&answer.body, directory, &directory_key, &mut listed)?;
            match next {
                Some(token) => {
                    let token = encode(token.as_bytes(), false);
                    url = format!("{first}&continuation-token={token}");
                }
                None => return Ok(listed),
            }
        }
    }
}

impl From<SignError> for StoreErrorKind {
    fn from(error: SignError) -> Self {
        Self::Denied(error.to_string())
    }
}

impl Authority for CredentialAuthority {
    fn sign(&self, request: S3Request) -> BoxFuture<'_, Result<SignedRequest, StoreError>> {
        Box::pin(ready(self.sign_object(request)))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            self.list_pages(directory).await.map_err(|kind| {
                let place = format!("{}/{directory}", self.location);
                StoreError::new("list", place, kind)
            })
        })
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let url = self.url(object);
            match self.send(Method::DELETE, url.clone()).await {
                Ok(_) | Err(StoreErrorKind::NotFound) => Ok(()),
                Err(kind) => Err(StoreError::new("remove", shown_url(&url), kind)),
            }
        })
    }

    fn simplify(&self) -> bool {
        self.checksums.swap(false, Ordering::Relaxed)
    }

    fn signer(&self) -> &'static str {
        SIGNER
    }
}
