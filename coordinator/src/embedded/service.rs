//! The S3 operations, over [`Tree`].

use std::{fs::Metadata, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt as _;
use http::StatusCode;
use rustix::io::Errno;
#[allow(clippy::wildcard_imports, reason = "thirty input and output types")]
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::{
    bounds::Bounds,
    integrity::Integrity,
    key::Key,
    list::{self, Line, Query},
    tree::{BeginError, Tree, Upload},
    uploads::Busy,
};

/// An upload that sends nothing for so long is given up.
const IDLE: Duration = Duration::from_mins(1);
/// Read from disk at a time.
const READ_SIZE: u64 = 256 * 1024;
/// Entries of a page of a listing, as in S3.
const MAX_KEYS: i32 = 1000;

/// Answers S3 requests that [`super::guard`] and s3s let through.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) tree: Arc<Tree>,
    pub(super) bounds: Bounds,
}

#[async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let tree = Arc::clone(&self.tree);
        let bucket = request.input.bucket;
        let made = blocking(move || tree.create_bucket(&bucket).map_err(failed)).await?;
        if made {
            Ok(S3Response::new(CreateBucketOutput::default()))
        } else {
            Err(s3_error!(BucketAlreadyOwnedByYou))
        }
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.with_bucket(request.input.bucket, |_| Ok(())).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.with_bucket(request.input.bucket, |_| Ok(())).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let (_, metadata) = self.open(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(signed(metadata.len())),
            last_modified: metadata.modified().ok().map(Into::into),
            e_tag: Some(entity_tag(&metadata)),
            accept_ranges: Some("bytes".to_owned()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (mut file, metadata) = self.open(&input.bucket, &input.key).await?;
        let size = metadata.len();
        let range = match input.range {
            Some(range) => range.check(size)?,
            None => 0..size,
        };
        if range.start > 0 {
            file.seek(io::SeekFrom::Start(range.start))
                .await
                .map_err(failed)?;
        }
        let content_range = input.range.map(|_| {
            format!(
                "bytes {}-{}/{size}",
                range.start,
                range.end.saturating_sub(1)
            )
        });
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(read(file, range.end - range.start))),
            content_length: Some(signed(range.end - range.start)),
            content_range,
            last_modified: metadata.modified().ok().map(Into::into),
            e_tag: Some(entity_tag(&metadata)),
            accept_ranges: Some("bytes".to_owned()),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let mut integrity = Integrity::promised(&request.headers, request.trailing_headers)?;
        let input = request.input;
        if let (Some(directory), Some(0)) = (input.key.strip_suffix('/'), input.content_length) {
            return self.make_directory(input.bucket, directory).await;
        }
        let only_new = match input.if_none_match {
            None => false,
            Some(ETagCondition::Any) => true,
            Some(ETagCondition::ETag(_)) => {
                return Err(s3_error!(NotImplemented, "If-None-Match takes only *"));
            }
        };
        if input.if_match.is_some() || input.object_lock_mode.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "the embedded store has neither If-Match nor object lock"
            ));
        }
        let key = parse_key(&input.bucket, &input.key)?;
        self.with_bucket(input.bucket, |_| Ok(())).await?;
        let length = input.content_length.and_then(|it| u64::try_from(it).ok());
        let length = length.unwrap_or(0);
        let end = Instant::now() + self.bounds.allowance(length);
        let mut upload = match self.begin(key.clone(), length, only_new).await {
            Ok(upload) => upload,
            Err(refusal) => {
                // A caller that is still sending would not see the answer.
                discard(input.body, end).await;
                return Err(refusal);
            }
        };
        let file = upload.take_file().ok_or(S3ErrorCode::InternalError)?;
        let mut file = tokio::fs::File::from_std(file);
        if let Some(mut body) = input.body {
            let received = receive(&mut body, &mut file, &mut integrity);
            tokio::time::timeout_at(end, received)
                .await
                .map_err(|_| s3_error!(RequestTimeout, "the body came too slowly"))??;
        }
        integrity.finish()?;
        let file = file.into_std().await;
        let metadata = blocking(move || {
            upload
                .publish(&file, &key, only_new)
                .and_then(|()| file.metadata())
                .map_err(unpublished)
        })
        .await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(entity_tag(&metadata)),
            ..PutObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let key = parse_key(&request.input.bucket, &request.input.key)?;
        self.with_bucket(request.input.bucket, |_| Ok(())).await?;
        let tree = Arc::clone(&self.tree);
        let removed =
            blocking(move || tree.remove(&key).map_err(|error| unread(error, None))).await;
        match removed {
            // In S3 it is no error to delete what is not there.
            Err(error) if *error.code() != S3ErrorCode::NoSuchKey => Err(error),
            _ => Ok(S3Response::with_status(
                DeleteObjectOutput::default(),
                StatusCode::NO_CONTENT,
            )),
        }
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let url_encoded = input
            .encoding_type
            .as_ref()
            .is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
        let max_keys = input.max_keys.unwrap_or(MAX_KEYS).clamp(0, MAX_KEYS);
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            fold: folds(input.delimiter.as_deref())?,
            after: match &input.continuation_token {
                Some(token) => decode_token(token)?,
                None => input.start_after.clone().unwrap_or_default(),
            },
            max: usize::try_from(max_keys).unwrap_or(0),
        };
        let (lines, more) = self
            .with_bucket(input.bucket.clone(), move |bucket| {
                list::list(bucket, &query).map_err(failed)
            })
            .await?;
        let next = lines
            .last()
            .filter(|_| more)
            .map(|line| encode_token(line.key()));
        let key_count = i32::try_from(lines.len()).unwrap_or(MAX_KEYS);
        let (contents, common_prefixes) = sort_lines(lines, url_encoded);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: Some(max_keys),
            key_count: Some(key_count),
            is_truncated: Some(more),
            next_continuation_token: next,
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..ListObjectsV2Output::default()
        }))
    }
}

impl Service {
    /// Runs `work` in the bucket, which must exist.
    async fn with_bucket<T: Send + 'static>(
        &self,
        bucket: String,
        work: impl FnOnce(&std::os::fd::OwnedFd) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let tree = Arc::clone(&self.tree);
        blocking(move || {
            let opened = tree.bucket(&bucket).map_err(|error| {
                if is_missing(&error) {
                    s3_error!(NoSuchBucket, "there is no bucket {bucket:?}")
                } else {
                    failed(error)
                }
            })?;
            work(&opened)
        })
        .await
    }

    /// What S3 clients that think in directories write for one: an empty
    /// object whose key ends with a slash.
    async fn make_directory(
        &self,
        bucket: String,
        directory: &str,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let key = parse_key(&bucket, directory)?;
        self.with_bucket(bucket, |_| Ok(())).await?;
        let tree = Arc::clone(&self.tree);
        blocking(move || tree.make_directory(&key).map_err(unpublished)).await?;
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    /// Begins an upload, unless its object is there and must not be, or another
    /// upload is in its way.
    async fn begin(&self, key: Key, length: u64, only_new: bool) -> S3Result<Upload> {
        let tree = Arc::clone(&self.tree);
        blocking(move || {
            let begun = tree.begin(&key, length, only_new);
            begun.map_err(|error| match error {
                BeginError::Busy(busy) => in_the_way(busy, only_new),
                BeginError::Name(error) => unpublished(error),
                BeginError::Disk(error) => failed(error),
            })
        })
        .await
    }

    async fn open(&self, bucket: &str, key: &str) -> S3Result<(tokio::fs::File, Metadata)> {
        let parsed = parse_key(bucket, key)?;
        self.with_bucket(bucket.to_owned(), |_| Ok(())).await?;
        let (tree, key) = (Arc::clone(&self.tree), key.to_owned());
        let (file, metadata) = blocking(move || {
            let file = tree.read(&parsed);
            file.and_then(|file| file.metadata().map(|metadata| (file, metadata)))
                .map_err(|error| unread(error, Some(&key)))
        })
        .await?;
        Ok((tokio::fs::File::from_std(file), metadata))
    }
}

/// Writes the body to the file. s3s ends the stream with an error if its
/// length, its hash or a chunk's signature is not what was signed.
async fn receive(
    body: &mut StreamingBlob,
    file: &mut tokio::fs::File,
    integrity: &mut Integrity,
) -> S3Result<()> {
    loop {
        let Ok(part) = tokio::time::timeout(IDLE, body.next()).await else {
            return Err(s3_error!(RequestTimeout, "the body stopped coming"));
        };
        match part {
            Some(Ok(bytes)) => {
                integrity.update(&bytes);
                file.write_all(&bytes).await.map_err(failed)?;
            }
            Some(Err(error)) => return Err(forged(&error.to_string())),
            None => return file.flush().await.map_err(failed),
        }
    }
}

/// Takes a body that is not wanted, for as long as it may take.
async fn discard(body: Option<StreamingBlob>, end: Instant) {
    let Some(mut body) = body else { return };
    let whole = async { while let Some(Ok(_)) = body.next().await {} };
    let _ = tokio::time::timeout_at(end, whole).await;
}

/// A body that s3s does not accept; it gives its errors no public type.
fn forged(error: &str) -> S3Error {
    if error.contains("Sha256Mismatch") {
        let mut refusal = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "the body is not the one whose SHA-256 was signed",
        );
        refusal.set_status_code(StatusCode::BAD_REQUEST);
        refusal
    } else if error.contains("SignatureMismatch") {
        s3_error!(
            SignatureDoesNotMatch,
            "a chunk of the body is not the one that was signed"
        )
    } else {
        s3_error!(IncompleteBody, "{error}")
    }
}

/// `length` bytes from where the file stands. A file that is shorter ends the
/// response early, which the client sees as an error.
fn read(
    file: tokio::fs::File,
    length: u64,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    futures::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let want = left.min(READ_SIZE);
        let mut buffer = BytesMut::with_capacity(usize::try_from(want).unwrap_or(0));
        let got = (&mut file).take(want).read_buf(&mut buffer).await? as u64;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((buffer.freeze(), (file, left - got))))
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(S3Error::internal_error)?
}

fn parse_key(bucket: &str, key: &str) -> S3Result<Key> {
    Key::parse(bucket, key).ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "the key {key:?} is not a relative path without empty, '.' and '..' parts"
        )
    })
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO)
        )
}

/// An object that cannot be read or removed.
fn unread(error: io::Error, key: Option<&str>) -> S3Error {
    if is_missing(&error) {
        match key {
            Some(key) => s3_error!(NoSuchKey, "there is no object {key:?}"),
            None => s3_error!(NoSuchKey),
        }
    } else {
        failed(error)
    }
}

/// What S3 says while others upload: both ask to try again.
fn in_the_way(busy: Busy, only_new: bool) -> S3Error {
    match busy {
        Busy::Key if only_new => s3_error!(
            ConditionalRequestConflict,
            "another upload of this object is under way"
        ),
        Busy::Key => s3_error!(
            OperationAborted,
            "another upload of this object is under way"
        ),
        Busy::Bytes => s3_error!(
            SlowDown,
            "too much is being uploaded to the embedded store already"
        ),
        Busy::Share => s3_error!(
            SlowDown,
            "too much is being uploaded to this repository already"
        ),
    }
}

/// An upload that cannot get its name.
fn unpublished(error: io::Error) -> S3Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return s3_error!(PreconditionFailed, "the object is there already");
    }
    match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NOTEMPTY) => s3_error!(
            InvalidArgument,
            "a part of the key is an object, or the key is a directory of objects"
        ),
        _ => failed(error),
    }
}

/// The file system failed. A full one is said to be full.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: io::Error) -> S3Error {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    if !full {
        return s3_error!(InternalError, "the embedded store's disk failed: {error}");
    }
    let mut refusal = S3Error::with_message(
        S3ErrorCode::Custom("StorageFull".into()),
        "the disk of the embedded store is full: make room there",
    );
    refusal.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
    refusal
}

fn folds(delimiter: Option<&str>) -> S3Result<bool> {
    match delimiter {
        None | Some("") => Ok(false),
        Some("/") => Ok(true),
        Some(_) => Err(s3_error!(NotImplemented, "the delimiter can only be /")),
    }
}

pub(super) fn encode_token(key: &str) -> String {
    BASE64URL_NOPAD.encode(key.as_bytes())
}

pub(super) fn decode_token(token: &str) -> S3Result<String> {
    BASE64URL_NOPAD
        .decode(token.as_bytes())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
}

fn sort_lines(lines: Vec<Line>, url_encoded: bool) -> (Vec<Object>, Vec<CommonPrefix>) {
    let name = |key: String| {
        if url_encoded {
            crate::stores::sign::encode_path(&key)
        } else {
            key
        }
    };
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Object {
                key,
                size,
                modified,
            } => objects.push(Object {
                key: Some(name(key)),
                size: Some(signed(size)),
                last_modified: Some(modified.into()),
                ..Object::default()
            }),
            Line::Prefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(name(prefix)),
            }),
        }
    }
    (objects, prefixes)
}

/// Changes whenever the object does; not a hash.
fn entity_tag(metadata: &Metadata) -> ETag {
    use std::os::unix::fs::MetadataExt as _;
    ETag::Strong(format!(
        "{:x}-{:x}-{:x}",
        metadata.ino(),
        metadata.mtime_nsec().wrapping_add(metadata.mtime() << 30),
        metadata.len()
    ))
}

fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
