//! An S3 service in memory that verifies signatures, and believes headers that
//! were not signed: as Ceph's object gateway does, and as `s3s` does by itself.

use std::{collections::BTreeMap, convert::Infallible, net::Ipv4Addr, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Collected};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
#[allow(clippy::wildcard_imports, reason = "a dozen input and output types")]
use s3s::dto::*;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result, auth::SimpleAuth, s3_error,
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

/// What the service gets wrong.
#[derive(Debug, Clone, Copy)]
pub struct Flaws {
    /// `if-none-match` is not looked at.
    pub overwrites: bool,
    /// A PUT with `if-none-match` is answered with 501.
    pub knows_no_condition: bool,
    /// A body is kept whose hash is not the signed one.
    pub keeps_wrong_bodies: bool,
}

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
}

struct Objects {
    by_key: Mutex<BTreeMap<String, Kept>>,
    flaws: Flaws,
}

impl Gullible {
    /// Listens on a free port.
    pub fn start(flaws: Flaws) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let objects = Arc::new(Objects {
            by_key: Mutex::default(),
            flaws,
        });
        let mut builder = S3ServiceBuilder::new(Handler(Arc::clone(&objects)));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = service_fn(move |request: hyper::Request<_>| {
                    let service = service.clone();
                    async move {
                        let answer = service.call(with_arrived(request).await).await;
                        Ok::<_, Infallible>(answer.expect("s3s answers"))
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
        let Flaws {
            overwrites,
            knows_no_condition,
            keeps_wrong_bodies,
        } = self.0.flaws;
        let input = request.input;
        if input.if_none_match.is_some() {
            if knows_no_condition {
                return Err(s3_error!(NotImplemented, "no such header here"));
            }
            if !overwrites && self.kept(&input.bucket, &input.key).is_ok() {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        let mut bytes = BytesMut::new();
        if let Some(mut body) = input.body {
            while let Some(piece) = body.next().await {
                match piece {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(_) if keeps_wrong_bodies => {
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
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(kept.bytes.len() as i64),
            body: Some(StreamingBlob::from(Body::from(kept.bytes))),
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
