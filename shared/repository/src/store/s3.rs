//! The S3 store: a repository's objects in a bucket, or in a part of one.
//!
//! Holds no credentials: each request is signed by an [`Authority`], once for
//! each time that it is sent.

pub mod credentials;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listing;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use strongroom_layout::{Directory, ObjectName};
use strongroom_runtime::rate_limiter::RateLimiter;
use strongroom_s3::{
    Answer, Failure, FailureKind, HttpClient, Payload, Request, SignedRequest, shown_url,
};
use tracing::{Instrument, Span, field};

use super::{
    Authority, Body, ByteRange, Listed, S3Request, Store, StoreError, StoreErrorKind,
    retry::current_attempt,
};

/// An S3 bucket, or a part of one, as an [`Authority`] lets us use it.
pub struct S3Store {
    client: HttpClient,
    authority: Arc<dyn Authority>,
    upload: Option<Arc<RateLimiter>>,
    download: Option<Arc<RateLimiter>>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// Sends through `client` what `authority` signs.
    pub fn new(client: HttpClient, authority: Arc<dyn Authority>) -> Self {
        Self {
            client,
            authority,
            upload: None,
            download: None,
        }
    }

    /// Paces bodies as they stream; a limiter may be shared with others.
    #[must_use]
    pub fn throttled(
        mut self,
        upload: Option<Arc<RateLimiter>>,
        download: Option<Arc<RateLimiter>>,
    ) -> Self {
        self.upload = upload;
        self.download = download;
        self
    }

    /// Signs and sends; signs anew, once, when the store says that the
    /// signature has expired or is of another time.
    async fn send(
        &self,
        operation: &'static str,
        request: S3Request,
        body: Option<&Body>,
    ) -> Result<Answer, StoreError> {
        let mut fresh = false;
        loop {
            let signed = self.authority.sign(request).await?;
            let result = self.send_signed(&signed, body).await.and_then(|answer| {
                if let S3Request::Get { range, .. } = request {
                    answer.require(range)?;
                }
                Ok(answer)
            });
            match result {
                Err(failure) if failure.expired && !fresh => {
                    tracing::debug!(cause = %failure.kind, "signing again");
                    fresh = true;
                }
                Err(failure)
                    if failure.unknown
                        && matches!(request, S3Request::Put { .. })
                        && self.authority.simplify() =>
                {
                    tracing::debug!(cause = %failure.kind, "signing less");
                }
                Err(failure) => {
                    let url = shown_url(&signed.url);
                    return Err(StoreError::new(operation, url, failure.kind));
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn send_signed(
        &self,
        signed: &SignedRequest,
        body: Option<&Body>,
    ) -> Result<Answer, Failure> {
        self.client
            .send(Request {
                body: body.map(|body| Payload::new(&body.parts)),
                upload: self.upload.as_ref(),
                download: self.download.as_ref(),
                ..Request::new(signed, self.authority.signer())
            })
            .await
    }

    async fn put_object(&self, object: ObjectName, body: Body) -> Result<(), StoreError> {
        let request = S3Request::Put {
            object,
            length: body.length,
            sha256: body.sha256,
        };
        match self.send("put", request, Some(&body)).await {
            // Most likely an earlier try of ours whose answer was lost. By its
            // name it is the same object, if the store kept all of it.
            Err(error) if matches!(error.kind, StoreErrorKind::Exists) && object.id().is_some() => {
                self.require_whole(object, body.length).await
            }
            outcome => outcome.map(drop),
        }
    }

    /// Refuses an object that does not have this length, in bytes.
    async fn require_whole(&self, object: ObjectName, length: u64) -> Result<(), StoreError> {
        let answer = self.send("head", S3Request::Head { object }, None).await;
        let answer = answer.map_err(|mut error| {
            if error.is_not_found() {
                error.kind = StoreErrorKind::Transient("it was there a moment ago".into());
            }
            error
        })?;
        let stated = answer.headers.get(CONTENT_LENGTH);
        let stated = stated.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let kind = match stated {
            Some(stated) if stated == length => return Ok(()),
            Some(stated) => StoreErrorKind::Denied(format!(
                "the store holds {stated} of {length} bytes under this name and replaces nothing: \
                 remove that object, and find out how it came there"
            )),
            None => StoreErrorKind::Denied(
                "the store replaces nothing, and does not say how long what it has is".into(),
            ),
        };
        Err(StoreError::new("put", object, kind))
    }

    async fn get_object(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> Result<Bytes, StoreError> {
        let request = S3Request::Get { object, range };
        let answer = self.send("get", request, None).await?;
        Span::current().record("bytes", answer.body.len());
        Ok(answer.body)
    }
}

impl From<FailureKind> for StoreErrorKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::NotFound => Self::NotFound,
            FailureKind::Truncated { got, expected } => Self::Truncated { got, expected },
            // We set no other condition than `if-none-match: *`.
            FailureKind::Precondition => Self::Exists,
            FailureKind::Full => Self::Full,
            kind if kind.is_retryable() => Self::Transient(kind.to_string()),
            kind => Self::Denied(kind.to_string()),
        }
    }
}

/// Notes in the span how the request ended.
async fn traced<T>(
    span: Span,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = operation.instrument(span.clone()).await;
    if let Err(error) = &result {
        span.record("otel.status_code", "ERROR");
        span.record("error", field::display(error));
    }
    result
}

impl Store for S3Store {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        let span = tracing::info_span!(
            "s3.put",
            otel.kind = "client",
            otel.status_code = field::Empty,
            object = %object,
            bytes = body.length,
            attempt = current_attempt(),
            error = field::Empty,
        );
        Box::pin(traced(span, self.put_object(object, body)))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let span = tracing::info_span!(
            "s3.get",
            otel.kind = "client",
            otel.status_code = field::Empty,
            object = %object,
            bytes = field::Empty,
            first = range.map(|range| range.first),
            attempt = current_attempt(),
            error = field::Empty,
        );
        Box::pin(traced(span, self.get_object(object, range)))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.authority.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.authority.remove(object)
    }
}
