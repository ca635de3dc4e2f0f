//! The verifying service: keeps objects in memory behind s3s, which verifies
//! signatures and the hashes of bodies, as S3 does.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use parking_lot::Mutex;
#[allow(clippy::wildcard_imports, reason = "a dozen input and output types")]
use s3s::dto::*;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result, auth::SimpleAuth, s3_error,
    service::S3ServiceBuilder,
};
use strongroom_runtime::{
    clock::{Clock, SystemClock},
    pki::{CertificateAuthority, Validity, tls},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// The only access key id that it knows.
pub const KEY_ID: &str = "SRTEST";
/// Its secret.
pub const SECRET: &str = "secret";
/// Its only bucket.
pub const BUCKET: &str = "bucket";
/// Few, so that listings take several pages.
const PAGE: usize = 7;

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Service {
    /// `http://…` or `https://…`.
    pub endpoint: String,
    /// What it holds.
    pub objects: Arc<Objects>,
    _tasks: JoinSet<()>,
}

/// The objects of the bucket.
#[derive(Debug, Default)]
pub struct Objects {
    /// All of them.
    pub by_key: Mutex<BTreeMap<String, Bytes>>,
    /// What was noted of those for which something was.
    pub metadata: Mutex<BTreeMap<String, Metadata>>,
    /// Pages of listings that were asked for.
    pub pages: AtomicUsize,
}

impl Service {
    /// Over HTTP.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Over HTTPS, with a certificate of `authority`.
    ///
    /// # Panics
    /// When the authority issues none.
    pub async fn start_tls(authority: &CertificateAuthority) -> Self {
        let validity = Validity::starting(SystemClock.now(), SignedDuration::from_hours(1));
        let key = authority
            .issue_server(&["127.0.0.1".into()], validity)
            .unwrap();
        let identity = tls::ServerIdentity::new(key).unwrap();
        let config = tls::server_config(&identity, &[b"http/1.1"]).unwrap();
        Self::start_with(Some(TlsAcceptor::from(config))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let objects = Arc::new(Objects::default());
        let mut builder = S3ServiceBuilder::new(Handler(objects.clone()));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = service_fn(move |request: hyper::Request<_>| {
                    let service = service.clone();
                    async move {
                        let answer = service.call(request.map(Body::from)).await.unwrap();
                        Ok::<_, Infallible>(answer)
                    }
                });
                let tls = tls.clone();
                connections.spawn(async move {
                    let http = http1::Builder::new();
                    // The client may go at any time.
                    match tls {
                        None => {
                            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                        }
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            endpoint,
            objects,
            _tasks: tasks,
        }
    }
}

struct Handler(Arc<Objects>);

/// A key as listings have it that are asked for encoded keys: a space is a plus.
fn encoded(key: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._*/".contains(byte);
    key.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if plain(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

impl Handler {
    fn check(bucket: &str) -> S3Result<()> {
        if bucket == BUCKET {
            Ok(())
        } else {
            Err(s3_error!(NoSuchBucket, "no such bucket"))
        }
    }
}

#[async_trait]
impl S3 for Handler {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        Self::check(&input.bucket)?;
        let mut bytes = BytesMut::new();
        if let Some(mut body) = input.body {
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| s3_error!(BadDigest, "{error}"))?;
                bytes.extend_from_slice(&piece);
            }
        }
        if let Some(metadata) = input.metadata {
            let key = input.key.clone();
            self.0.metadata.lock().insert(key, metadata);
        }
        self.0.by_key.lock().insert(input.key, bytes.freeze());
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        Self::check(&input.bucket)?;
        let found = self.0.by_key.lock().get(&input.key).cloned();
        let bytes = found.ok_or_else(|| s3_error!(NoSuchKey))?;
        let size = bytes.len() as u64;
        let range = match input.range {
            Some(range) => range.check(size)?,
            None => 0..size,
        };
        let content_range = input
            .range
            .map(|_| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(part.len() as i64),
            body: Some(StreamingBlob::from(Body::from(part))),
            content_range,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        Self::check(&input.bucket)?;
        let objects = self.0.by_key.lock();
        let bytes = objects
            .get(&input.key)
            .ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(bytes.len() as i64),
            metadata: self.0.metadata.lock().get(&input.key).cloned(),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        Self::check(&request.input.bucket)?;
        self.0.by_key.lock().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        Self::check(&input.bucket)?;
        self.0.pages.fetch_add(1, Ordering::SeqCst);
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after);
        let after = after.unwrap_or_default();
        let url = input.encoding_type.as_ref().map(EncodingType::as_str) == Some(EncodingType::URL);
        let objects = self.0.by_key.lock();
        let mut rest = objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        let last = page.last().map(|(key, _)| (*key).clone());
        let contents = page
            .into_iter()
            .map(|(key, bytes)| Object {
                key: Some(if url { encoded(key) } else { key.clone() }),
                size: Some(bytes.len() as i64),
                ..Object::default()
            })
            .collect();
        let more = rest.next().is_some();
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(more),
            next_continuation_token: last.filter(|_| more),
            encoding_type: input.encoding_type,
            contents: Some(contents),
            ..ListObjectsV2Output::default()
        }))
    }
}
