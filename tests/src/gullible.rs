//! An S3 service in memory that verifies signatures, and believes of what was
//! not signed whatever a test wants it to: as Ceph's object gateway and others
//! do, and as `s3s` does by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::Ipv4Addr,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Collected};
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue, IF_RANGE, RANGE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
#[allow(clippy::wildcard_imports, reason = "a dozen input and output types")]
use s3s::dto::*;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    s3_error,
    service::S3ServiceBuilder,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::coordinator::ExternalStore;

const BUCKET: &str = "bucket";
const KEY_ID: &str = "gullible";
const SECRET: &str = "gullible-secret";
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// A PUT with `if-none-match` is answered with 501, as if nobody had heard of it.
pub const KNOWS_NO_CONDITION: &str = "knows-no-condition";
/// The headers that carry a forgery, and the probe that sends it.
const HEADERS: [(&str, &str); 8] = [
    ("x-amz-acl", "acl"),
    ("x-amz-grant-read", "grant-read"),
    ("x-amz-meta-strongroom", "metadata"),
    ("x-amz-tagging", "tagging"),
    ("x-amz-storage-class", "storage-class"),
    ("x-amz-website-redirect-location", "redirect"),
    ("x-amz-object-lock-mode", "object-lock"),
    ("x-amz-object-lock-retain-until-date", "object-lock"),
];
const HASH: &str = "x-amz-content-sha256";
const ANY_BODY: HeaderValue = HeaderValue::from_static("UNSIGNED-PAYLOAD");

/// The service; it ends when dropped.
pub struct Gullible {
    endpoint: String,
    objects: Arc<Objects>,
    _runtime: Runtime,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    bytes: Bytes,
    public: bool,
    tagged: bool,
    metadata: Option<Metadata>,
    class: Option<StorageClass>,
    redirect: Option<String>,
    lock: Option<ObjectLockMode>,
}

struct Objects {
    by_key: Mutex<BTreeMap<String, Kept>>,
    flaws: Mutex<BTreeSet<&'static str>>,
}

impl Objects {
    fn has(&self, flaw: &str) -> bool {
        self.flaws.lock().contains(flaw)
    }
}

impl Gullible {
    /// Listens on a free port. Flaws are named as the probes that show them;
    /// [`KNOWS_NO_CONDITION`] is another.
    pub fn start(flaws: &[&'static str]) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let objects = Arc::new(Objects {
            by_key: Mutex::default(),
            flaws: Mutex::new(flaws.iter().copied().collect()),
        });
        let mut builder = S3ServiceBuilder::new(Handler(Arc::clone(&objects)));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        builder.set_access(Access(Arc::clone(&objects)));
        let service = builder.build();
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let flawed = Arc::clone(&objects);
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let flawed = Arc::clone(&flawed);
                let answer = service_fn(move |request: hyper::Request<_>| {
                    let (service, flawed) = (service.clone(), Arc::clone(&flawed));
                    async move {
                        let mut request = with_arrived(request).await;
                        let answer = match flawed.believe(&mut request) {
                            Some(refusal) => refusal,
                            None => service.call(request).await.expect("s3s answers"),
                        };
                        Ok::<_, Infallible>(answer)
                    }
                });
                connections.spawn(async move {
                    // The client may go at any time.
                    let http = http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            objects,
            _runtime: runtime,
        }
    }

    /// From now on it has these flaws.
    pub fn set_flaws(&self, flaws: &[&'static str]) {
        *self.objects.flaws.lock() = flaws.iter().copied().collect();
    }

    /// For a coordinator's configuration.
    pub fn as_external_store(&self) -> ExternalStore {
        ExternalStore {
            endpoint: self.endpoint.clone(),
            bucket: BUCKET.into(),
            credentials: (KEY_ID.into(), SECRET.into()),
        }
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.objects.by_key.lock().keys().cloned().collect()
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        let objects = self.objects.by_key.lock();
        objects.get(key).map(|kept| kept.bytes.clone())
    }
}

/// A body as it arrived: `s3s` gives none whose hash is not the signed one.
#[derive(Clone)]
struct Arrived(Bytes);

async fn with_arrived(request: hyper::Request<Incoming>) -> hyper::Request<Body> {
    let (mut parts, body) = request.into_parts();
    // The client may go at any time.
    let bytes = body.collect().await.map(Collected::to_bytes);
    let bytes = bytes.unwrap_or_default();
    parts.extensions.insert(Arrived(bytes.clone()));
    hyper::Request::from_parts(parts, Body::from(bytes))
}

/// The hash that is believed allows any body.
#[derive(Clone)]
struct AnyBody;

impl Objects {
    /// Changes a request into the one that it is taken for, or refuses it.
    fn believe(&self, request: &mut hyper::Request<Body>) -> Option<hyper::Response<Body>> {
        let length = request.extensions().get::<Arrived>();
        let copy = match length {
            Some(Arrived(bytes)) if bytes.is_empty() => "copy-source-empty-body",
            _ => "copy-source",
        };
        // Verified by the first, obeyed by the last; with ranges the other way round.
        let values = self.doubled(request.headers_mut(), HASH, "doubled-hash", false);
        if values.is_some_and(|values| values.contains(&ANY_BODY)) {
            request.extensions_mut().insert(AnyBody);
        }
        let values = self.doubled(request.headers_mut(), RANGE.as_str(), "doubled-range", true);
        if let Some(ranges) = values {
            request.extensions_mut().insert(Asked(ranges[0].clone()));
        }
        let headers = request.headers();
        let unsigned = headers.keys().find(|name| {
            let flaw = HEADERS.iter().find(|(header, _)| header == name);
            let flaw = flaw.map_or(copy, |(_, flaw)| flaw);
            let name = name.as_str();
            let doubled = headers.get_all(name).iter().count() > 1;
            doubled || (name.starts_with("x-amz-") && !is_signed(headers, name) && !self.has(flaw))
        })?;
        let mut refusal = hyper::Response::new(Body::from(format!(
            "<Error><Code>AccessDenied</Code><Message>{unsigned} is not signed, or sent \
             twice</Message></Error>"
        )));
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        Some(refusal)
    }

    /// All values of what is sent twice, with its flaw; the first or the last of
    /// them is left.
    fn doubled(
        &self,
        headers: &mut HeaderMap,
        name: &str,
        flaw: &str,
        last: bool,
    ) -> Option<Vec<HeaderValue>> {
        let values: Vec<_> = headers.get_all(name).iter().cloned().collect();
        if values.len() < 2 || !self.has(flaw) {
            return None;
        }
        let name: hyper::header::HeaderName = name.parse().expect("it is a name");
        let kept = if last { values.last() } else { values.first() };
        headers.insert(name, kept.expect("there are two").clone());
        Some(values)
    }
}

fn is_signed(headers: &HeaderMap, name: &str) -> bool {
    let authorization = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let signed = authorization.and_then(|it| it.split_once("SignedHeaders="));
    let signed = signed.and_then(|(_, rest)| rest.split(',').next());
    signed.is_some_and(|signed| signed.split(';').any(|signed| signed == name))
}

/// The range that is obeyed.
#[derive(Clone)]
struct Asked(HeaderValue);

struct Access(Arc<Objects>);

#[async_trait]
impl S3Access for Access {
    /// Nobody reads what is not public, by a list or by the bucket's policy.
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let path = context.s3_path().get_object_key();
        let objects = self.0.by_key.lock();
        let public = path.is_some_and(|key| objects.get(key).is_some_and(|kept| kept.public));
        let read = *context.method() == Method::GET && (public || self.0.has("public-bucket"));
        if context.credentials().is_some() || read {
            Ok(())
        } else {
            Err(s3_error!(AccessDenied))
        }
    }
}

struct Handler(Arc<Objects>);

impl Handler {
    fn kept(&self, bucket: &str, key: &str) -> S3Result<Kept> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let kept = self.0.by_key.lock().get(key).cloned();
        kept.ok_or_else(|| s3_error!(NoSuchKey))
    }
}

#[async_trait]
impl S3 for Handler {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let any_body = request.extensions.get::<AnyBody>().is_some() || self.0.has("other-body");
        let input = request.input;
        if input.if_none_match.is_some() {
            if self.0.has(KNOWS_NO_CONDITION) {
                return Err(s3_error!(NotImplemented, "no such header here"));
            }
            if !self.0.has("overwrite") && self.kept(&input.bucket, &input.key).is_ok() {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        let mut bytes = BytesMut::new();
        if let Some(mut body) = input.body {
            while let Some(piece) = body.next().await {
                match piece {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(_) if any_body => {
                        let arrived = request.extensions.get::<Arrived>();
                        let Arrived(all) = arrived.expect("every request has it");
                        bytes = BytesMut::from(&all[..]);
                        break;
                    }
                    Err(error) => return Err(s3_error!(BadDigest, "{error}")),
                }
            }
        }
        let kept = Kept {
            bytes: bytes.freeze(),
            public: input.acl.is_some() || input.grant_read.is_some(),
            tagged: input.tagging.is_some(),
            metadata: input.metadata,
            class: input.storage_class,
            redirect: input.website_redirect_location,
            lock: input.object_lock_mode,
        };
        self.0.by_key.lock().insert(input.key, kept);
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = request.input;
        let CopySource::Bucket { bucket, key, .. } = input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let kept = self.kept(&bucket, &key)?;
        self.0.by_key.lock().insert(input.key, kept);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult::default()),
            ..CopyObjectOutput::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let kept = self.kept(&request.input.bucket, &request.input.key)?;
        let length = kept.bytes.len() as u64;
        let asked = request.extensions.get::<Asked>();
        let range = match asked.and_then(|Asked(range)| range.to_str().ok()) {
            Some(range) => Some(Range::parse(range).map_err(|_| s3_error!(InvalidRange))?),
            None => request.input.range,
        };
        let heeds = self.0.has("if-range") && request.headers.contains_key(IF_RANGE);
        let range = range.filter(|_| !heeds);
        let part = range.map_or(Ok(0..length), |range| range.check(length))?;
        let content_range =
            range.map(|_| format!("bytes {}-{}/{length}", part.start, part.end - 1));
        let bytes = kept.bytes.slice(part.start as usize..part.end as usize);
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            content_range,
            body: Some(StreamingBlob::from(Body::from(bytes))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let kept = self.kept(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(kept.bytes.len() as i64),
            metadata: kept.metadata,
            storage_class: kept.class,
            website_redirect_location: kept.redirect,
            object_lock_mode: kept.lock,
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let kept = self.kept(&request.input.bucket, &request.input.key)?;
        let everybody = Grant {
            grantee: Some(Grantee {
                display_name: None,
                email_address: None,
                id: None,
                type_: Type::from_static(Type::GROUP),
                uri: Some(ALL_USERS.into()),
            }),
            permission: Some(Permission::from_static(Permission::READ)),
        };
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(if kept.public { vec![everybody] } else { vec![] }),
            ..GetObjectAclOutput::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let kept = self.kept(&request.input.bucket, &request.input.key)?;
        let tag = Tag {
            key: Some("forged".into()),
            value: Some("1".into()),
        };
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: if kept.tagged { vec![tag] } else { vec![] },
            version_id: None,
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.by_key.lock().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let prefix = request.input.prefix.unwrap_or_default();
        let objects = self.0.by_key.lock();
        let below = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
        let contents = below.map(|(key, kept)| Object {
            key: Some(key.clone()),
            size: Some(kept.bytes.len() as i64),
            ..Object::default()
        });
        Ok(S3Response::new(ListObjectsV2Output {
            contents: Some(contents.collect()),
            is_truncated: Some(false),
            ..ListObjectsV2Output::default()
        }))
    }
}
