//! The store's authority that asks the coordinator for every request.
//!
//! An agent holds no storage credentials: each S3 request that it sends was
//! signed by the coordinator for exactly that request. [`GrantAuthority`] asks
//! on behalf of one attempt. Single requests are gathered into batches
//! ([`batch`]); while the coordinator is away, everything waits ([`ask`]).

mod ask;
mod batch;
mod wal;

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use strongroom_layout::{AttemptRef, Directory, ObjectId, ObjectKind, ObjectName};
use strongroom_proto::v1;
use strongroom_repository::store::{
    Authority, Listed, S3Request, StoreError, StoreErrorKind, Written,
};
use strongroom_s3::SignedRequest;
use strongroom_spec::BackupOutcome;
use strongroom_wire::grant::{
    Action, Grant, ListObjectsRequest, ListObjectsResponse, PublishRequest, PublishResponse,
    RefusalReason, ReleaseLocksRequest, RequestToSign, SignAnswer,
};
use tokio_util::sync::CancellationToken;

use crate::link::Link;
use ask::{AskError, Asker};
use batch::Batcher;

pub use batch::Signing;
pub use wal::WalRecord;

/// Asks the coordinator on behalf of one attempt.
pub struct GrantAuthority {
    attempt: AttemptRef,
    asker: Asker,
    batcher: Batcher,
    publication: Mutex<Option<Publication>>,
}

/// What the coordinator is told when the snapshot is published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What the catalog will show.
    pub result: BackupOutcome,
    /// The time in the snapshot.
    pub time: Timestamp,
}

impl fmt::Debug for GrantAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantAuthority")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl GrantAuthority {
    /// For this attempt, until `cancel`. The [`Signing`] must be driven for as
    /// long as the authority is used.
    pub fn new(attempt: AttemptRef, link: Link, cancel: CancellationToken) -> (Self, Signing) {
        let asker = Asker::new(link, cancel);
        let (batcher, signing) = batch::new(attempt, asker.clone());
        let authority = Self {
            attempt,
            asker,
            batcher,
            publication: Mutex::new(None),
        };
        (authority, signing)
    }

    /// Says what the next snapshot stands for. Without it the coordinator
    /// signs no snapshot.
    pub fn announce(&self, publication: Publication) {
        *self.publication.lock() = Some(publication);
    }

    async fn sign(&self, request: S3Request) -> Result<SignedRequest, StoreError> {
        let (operation, object) = match request {
            S3Request::Get { object, .. } => ("get", object),
            S3Request::Head { object } => ("head", object),
            S3Request::Put { object, .. } => ("put", object),
        };
        let answer = match request {
            S3Request::Put {
                object: ObjectName::Hashed(ObjectKind::Snapshot, id),
                length,
                ..
            } => self.publish(id, length).await,
            request => self.batcher.sign(to_sign(request)).await,
        };
        answer
            .map_err(StoreErrorKind::from)
            .and_then(granted)
            .map_err(|kind| StoreError::new(operation, object, kind))
    }

    async fn publish(&self, snapshot: ObjectId, length: u64) -> Result<SignAnswer, AskError> {
        let publication = self.publication.lock().clone();
        let Publication { result, time } = publication.ok_or_else(|| AskError::Failed {
            message: "a snapshot is signed only for a finished backup".into(),
        })?;
        let request = v1::PublishRequest::from(PublishRequest {
            attempt: self.attempt,
            snapshot,
            length,
            result,
            snapshot_time_us: time.as_microsecond(),
        });
        let response: PublishResponse = self
            .asker
            .ask(request, async |mut client, request| {
                client.publish(request).await
            })
            .await?;
        Ok(response.answer)
    }

    async fn list(&self, directory: Directory) -> Result<Vec<Listed>, AskError> {
        let mut listed: Vec<Listed> = Vec::new();
        loop {
            let after = listed.last().map(|last| last.id);
            let page = self.list_page(directory, after).await?;
            listed.extend(page.objects.iter().map(|object| Listed {
                id: object.id,
                size: object.size,
                // Of locks the coordinator names only those that count.
                written: Written::Lately,
            }));
            if !page.more {
                return Ok(listed);
            }
            if listed.last().map(|last| last.id) <= after {
                return Err(AskError::Failed {
                    message: "the coordinator's listing does not come to an end".into(),
                });
            }
        }
    }

    async fn list_page(
        &self,
        directory: Directory,
        after: Option<ObjectId>,
    ) -> Result<ListObjectsResponse, AskError> {
        let request = v1::ListObjectsRequest::from(ListObjectsRequest {
            attempt: self.attempt,
            directory,
            after,
        });
        self.asker
            .ask(request, async |mut client, request| {
                client.list_objects(request).await
            })
            .await
    }

    async fn release(&self, object: ObjectName) -> Result<(), AskError> {
        let ObjectName::Hashed(ObjectKind::Lock, id) = object else {
            return Err(AskError::Failed {
                message: "agents remove nothing but their own locks".into(),
            });
        };
        let request = v1::ReleaseLocksRequest::from(ReleaseLocksRequest {
            attempt: self.attempt,
            ids: vec![id],
        });
        self.asker.release(request).await
    }
}

impl Authority for GrantAuthority {
    fn sign(&self, request: S3Request) -> BoxFuture<'_, Result<SignedRequest, StoreError>> {
        Box::pin(self.sign(request))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            let listed = self.list(directory).await;
            listed.map_err(|error| StoreError::new("list", directory, error))
        })
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let released = self.release(object).await;
            released.map_err(|error| StoreError::new("remove", object, error))
        })
    }
}

fn to_sign(request: S3Request) -> RequestToSign {
    match request {
        S3Request::Get { object, range } => RequestToSign {
            object,
            action: Action::Get {
                range: range.map(|range| (range.first, range.last)),
            },
        },
        S3Request::Head { object } => RequestToSign {
            object,
            action: Action::Head,
        },
        S3Request::Put {
            object,
            length,
            sha256,
        } => RequestToSign {
            object,
            action: Action::Put { length, sha256 },
        },
    }
}

fn granted(answer: SignAnswer) -> Result<SignedRequest, StoreErrorKind> {
    match answer {
        SignAnswer::Grant(grant) => signed(&grant).ok_or_else(|| {
            StoreErrorKind::Denied("the coordinator's grant is not an HTTP request".into())
        }),
        // The coordinator looks at the store again and again: ask it later.
        SignAnswer::Refusal(refusal) if refusal.reason == RefusalReason::StoreUnchecked => {
            Err(StoreErrorKind::Transient(refusal.message))
        }
        SignAnswer::Refusal(refusal) => Err(StoreErrorKind::Refused {
            reason: refusal.reason.as_str().into(),
            message: refusal.message,
        }),
    }
}

fn signed(grant: &Grant) -> Option<SignedRequest> {
    let mut headers = http::HeaderMap::with_capacity(grant.headers.len());
    for (name, value) in &grant.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, http::HeaderValue::from_str(value).ok()?);
    }
    Some(SignedRequest {
        method: grant.method.parse().ok()?,
        url: grant.url.clone(),
        headers,
    })
}

#[cfg(test)]
mod tests;
