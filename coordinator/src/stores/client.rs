//! A client for one store.

use std::{collections::HashMap, fmt, ops::ControlFlow, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::Object,
};
use aws_smithy_http_client::{
    Builder,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName, WalName};
use strongroom_runtime::{checksum, clock::SharedClock};
use strongroom_wire::grant::{ListObjectsResponse, ListedObject};

use super::{StoreConfig, StoreError, StoreProblem};

/// For one try of one small request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For one try of a look at whether an object is there: an agent waits, and will
/// ask again after half a minute.
const LOOK_TIMEOUT: Duration = Duration::from_secs(8);
/// For a look whether the store is there at all.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(5);
/// To reach the service at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 4;

/// The coordinator's access to one store.
#[derive(Clone)]
pub struct StoreClient {
    config: StoreConfig,
    client: Client,
    clock: SharedClock,
}

/// Whether an answer with this status came.
fn answered<E>(error: &SdkError<E, HttpResponse>, status: u16) -> bool {
    let response = error.raw_response();
    response.is_some_and(|response| response.status().as_u16() == status)
}

impl fmt::Debug for StoreClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreClient").field(&self.config).finish()
    }
}

impl StoreClient {
    /// Makes a client; does not talk to the store yet.
    pub fn new(config: StoreConfig, clock: SharedClock) -> Result<Self, StoreError> {
        let mut trust = TrustStore::empty().with_native_roots(config.extra_ca_pem.is_none());
        if let Some(pem) = &config.extra_ca_pem {
            trust = trust.with_pem_certificate(pem.as_bytes());
        }
        let context = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .map_err(|error| StoreError::new(&config, StoreProblem::Setup(error.to_string())))?;
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_https();
        let credentials = &config.credentials;
        let credentials = Credentials::new(
            credentials.access_key_id.as_str(),
            credentials.secret_access_key.as_str(),
            credentials
                .session_token
                .as_ref()
                .map(|token| token.to_string()),
            None,
            "strongroom",
        );
        let sdk = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .endpoint_url(config.endpoint.as_str())
            .force_path_style(config.path_style)
            .credentials_provider(credentials)
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(TIMEOUT)
                    .build(),
            )
            // Services other than Amazon's do not know the newer checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self {
            client: Client::from_conf(sdk),
            config,
            clock,
        })
    }

    /// The clock that it signs by.
    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The SDK's client, and the bucket, for what only [`super::check`] asks.
    pub(super) fn sdk(&self) -> (&Client, &str) {
        (&self.client, &self.config.bucket)
    }

    /// What it talks to.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Asks whether the store is there, lets us in and has our time.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.client
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix(self.config.key(""))
            .max_keys(1)
            .send()
            .await
            .map(drop)
            .map_err(|error| self.failed("listing", &error))
    }

    /// Whether the store answers: one short try.
    pub(super) async fn look(&self) -> Result<(), StoreError> {
        let key = self.config.key(".strongroom/here");
        let short = aws_sdk_s3::config::Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(GLANCE_TIMEOUT)
                    .operation_attempt_timeout(GLANCE_TIMEOUT)
                    .build(),
            );
        let head = self.client.head_object().bucket(&self.config.bucket);
        let head = head.key(&key).customize().config_override(short);
        match head.send().await {
            Ok(_) => Ok(()),
            // An answer to HEAD has no body that could say what is wrong: a key
            // that may list below the prefix only is told the same.
            Err(error) if answered(&error, 404) => Ok(()),
            Err(error) if answered(&error, 403) || answered(&error, 400) => self.probe().await,
            Err(error) => Err(self.failed("looking whether it is there", &error)),
        }
    }

    /// How many bytes the object of a repository has; `None` when there is no such
    /// object.
    pub async fn size(
        &self,
        repository: &str,
        object: ObjectName,
    ) -> Result<Option<u64>, StoreError> {
        let key = self.config.object_key(repository, &object);
        let answer = self
            .client
            .head_object()
            .bucket(&self.config.bucket)
            .key(&key)
            .customize()
            .config_override(
                aws_sdk_s3::config::Builder::new().timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(LOOK_TIMEOUT)
                        .operation_attempt_timeout(LOOK_TIMEOUT)
                        .build(),
                ),
            )
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(
                head.content_length()
                    .and_then(|length| u64::try_from(length).ok())
                    .unwrap_or(0),
            )),
            // An answer to HEAD has no body that could name the error.
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|it| it.status().as_u16() == 404) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(&format!("looking for {key}"), &error)),
        }
    }

    /// The locks of a repository with when each was last written, by the store's
    /// clock; those of which it does not say so are as new as can be.
    pub async fn locks(
        &self,
        repository: &str,
    ) -> Result<Vec<(ListedObject, Timestamp)>, StoreError> {
        let prefix = format!("{repository}/{}/", Directory::Locks);
        let mut locks = Vec::new();
        self.pages(&self.config.key(&prefix), None, |page, _| {
            locks.extend(page.iter().filter_map(|object| {
                let written = object
                    .last_modified()
                    .and_then(|at| Timestamp::new(at.secs(), 0).ok());
                Some((listed(object)?, written.unwrap_or(Timestamp::MAX)))
            }));
            ControlFlow::Continue(())
        })
        .await?;
        Ok(locks)
    }

    /// The parts of the log of a repository: the hashes in their names, and lengths.
    pub async fn log(&self, repository: &str) -> Result<HashMap<ObjectId, u64>, StoreError> {
        let prefix = self.config.key(&format!("{repository}/wal/"));
        let mut parts = HashMap::new();
        self.pages(&prefix, None, |page, _| {
            parts.extend(page.iter().filter_map(|object| {
                let below = object.key()?.strip_prefix(&prefix)?;
                let name: WalName = format!("wal/{below}").parse().ok()?;
                Some((name.id, u64::try_from(object.size()?).ok()?))
            }));
            ControlFlow::Continue(())
        })
        .await?;
        Ok(parts)
    }

    /// The objects in a directory of the repository at `repository`, a path
    /// below the store's prefix. What is not named by a hash is left out.
    pub async fn list(
        &self,
        repository: &str,
        directory: Directory,
    ) -> Result<Vec<ListedObject>, StoreError> {
        let all = self.list_page(repository, directory, None, usize::MAX);
        Ok(all.await?.objects)
    }

    /// As [`StoreClient::list`], by id: those behind `after`, and no more when
    /// there are `enough`.
    pub async fn list_page(
        &self,
        repository: &str,
        directory: Directory,
        after: Option<ObjectId>,
        enough: usize,
    ) -> Result<ListObjectsResponse, StoreError> {
        let prefix = self.config.key(&format!("{repository}/{directory}/"));
        let after = after.map(|id| {
            let object = match directory {
                Directory::Keys => ObjectName::key(id),
                Directory::Data => ObjectName::data_pack(id),
                Directory::Index => ObjectName::index(id),
                Directory::Snapshots => ObjectName::snapshot(id),
                Directory::Locks => ObjectName::lock(id),
                Directory::Transfers => ObjectName::transfer(id),
            };
            self.config.object_key(repository, &object)
        });
        let mut response = ListObjectsResponse {
            objects: Vec::new(),
            more: false,
        };
        self.pages(&prefix, after, |page, more| {
            response.objects.extend(page.iter().filter_map(listed));
            if more && response.objects.len() >= enough {
                response.more = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(response)
    }

    /// Hands the pages of a listing on in order of their keys, each with whether there
    /// are more: those behind `after`, a key, until told to stop.
    async fn pages(
        &self,
        prefix: &str,
        after: Option<String>,
        mut take: impl FnMut(&[Object], bool) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix(prefix)
            .set_start_after(after)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(&format!("listing {prefix}"), &error))?;
            if take(page.contents(), page.is_truncated() == Some(true)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// How many bytes a pack has, and its last four; `None` when there is no such
    /// pack, or a shorter one.
    pub async fn end_of(
        &self,
        repository: &str,
        pack: ObjectName,
    ) -> Result<Option<(u64, [u8; 4])>, StoreError> {
        let key = self.config.object_key(repository, &pack);
        let response = self
            .client
            .get_object()
            .bucket(&self.config.bucket)
            .key(&key)
            .range("bytes=-4")
            .send()
            .await;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                // Nothing but an empty object has no last bytes.
                let is_empty = error.code() == Some("InvalidRange");
                let error = self.failed(&format!("reading {key}"), &error);
                return if is_empty || error.is_not_found() {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        // `bytes FIRST-LAST/LENGTH`
        let length = response
            .content_range()
            .and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let bytes = response.body.collect().await.map_err(|error| {
            let problem = StoreProblem::Unreachable(format!("reading {key}: {error}"));
            StoreError::new(&self.config, problem)
        })?;
        let trailer = bytes.to_vec().try_into().ok();
        Ok(length.zip(trailer))
    }

    /// Deletes a lock of a repository; it is no error if it is gone.
    pub async fn delete_lock(&self, repository: &str, lock: ObjectId) -> Result<(), StoreError> {
        self.delete_transient(repository, ObjectName::lock(lock))
            .await
    }

    /// Deletes a lock, a piece of a transfer or a part of a log; it is no error if
    /// it is gone.
    /// Nothing else is ever deleted here.
    pub async fn delete_transient(
        &self,
        repository: &str,
        object: ObjectName,
    ) -> Result<(), StoreError> {
        let transient = [ObjectKind::Lock, ObjectKind::Transfer, ObjectKind::Wal];
        if !transient.contains(&object.kind()) {
            let problem = StoreProblem::Setup(format!("{object} is not to be deleted"));
            return Err(StoreError::new(&self.config, problem));
        }
        let key = self.config.object_key(repository, &object);
        self.client
            .delete_object()
            .bucket(&self.config.bucket)
            .key(&key)
            .send()
            .await
            .map(drop)
            .map_err(|error| self.failed(&format!("deleting {key}"), &error))
    }

    /// Writes a small object of the coordinator's own at `path`, below the
    /// store's prefix.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let key = self.config.key(path);
        let put = || {
            let put = self.client.put_object().bucket(&self.config.bucket);
            put.key(&key).body(ByteStream::from(bytes.clone()))
        };
        // A bucket with Object Lock demands a checksum, of which others have
        // never heard.
        let sum = data_encoding::BASE64.encode(&Sha256::digest(&bytes));
        let mut written = put().checksum_sha256(sum).send().await;
        if let Err(error) = &written
            && let Some(response) = error.raw_response()
            && checksum::may_be_unknown(response.status().as_u16())
        {
            written = put().send().await;
        }
        written
            .map(drop)
            .map_err(|error| self.failed(&format!("writing {key}"), &error))
    }

    /// Reads a small object of the coordinator's own.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, StoreError> {
        let key = self.config.key(path);
        let response = self
            .client
            .get_object()
            .bucket(&self.config.bucket)
            .key(&key)
            .send()
            .await
            .map_err(|error| self.failed(&key, &error))?;
        let body = response.body.collect().await.map_err(|error| {
            let problem = StoreProblem::Unreachable(format!("reading {key}: {error}"));
            StoreError::new(&self.config, problem)
        })?;
        Ok(body.to_vec())
    }

    pub(super) fn failed<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        StoreError::from_sdk(&self.config, action, error, self.clock.now())
    }
}

/// What is not named by a hash is left out.
fn listed(object: &Object) -> Option<ListedObject> {
    let name = object.key()?.rsplit('/').next()?;
    Some(ListedObject {
        id: name.parse::<ObjectId>().ok()?,
        size: u64::try_from(object.size()?).ok()?,
    })
}
