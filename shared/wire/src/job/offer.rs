//! A job on its way to an agent.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
};

use strongroom_layout::AttemptRef;
use strongroom_proto::v1;
use strongroom_spec::{Failure, FailureCode, JobSpec, ResourceLimits, WarningCode};
use zeroize::Zeroizing;

use crate::{
    InvalidMessage,
    field::{Reader, attempt_to_wire},
};

/// One attempt, handed to an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOffer {
    /// Fences this try.
    pub attempt: AttemptRef,
    /// How long the lease lasts without a heartbeat.
    pub lease_seconds: u32,
    /// The agent ends the attempt itself after this long.
    pub timeout_seconds: Option<u32>,
    /// W3C trace context of the job's span.
    pub traceparent: String,
    /// Where the data lies.
    pub repository: RepositoryAccess,
    /// What it may take of the host.
    pub limits: ResourceLimits,
    /// Warnings that are listed and not counted.
    pub accept: Vec<WarningCode>,
    /// What to do; or why that cannot be read, as the attempt is to report.
    pub spec: Result<JobSpec, Failure>,
}

/// What opens a repository, for the length of one job.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryAccess {
    /// The repository's name in the catalog.
    pub name: String,
    /// In memory only; never logged.
    pub password: Zeroizing<String>,
    /// This job creates the repository when it is not there.
    pub create: bool,
}

impl fmt::Debug for RepositoryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryAccess")
            .field("name", &self.name)
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}

impl TryFrom<v1::JobOffer> for JobOffer {
    type Error = InvalidMessage;

    fn try_from(value: v1::JobOffer) -> Result<Self, InvalidMessage> {
        let read = Reader("JobOffer");
        Ok(Self {
            attempt: read.attempt("attempt", value.attempt)?,
            lease_seconds: value.lease_seconds,
            timeout_seconds: (value.timeout_seconds > 0).then_some(value.timeout_seconds),
            traceparent: value.traceparent,
            repository: read.required("repository", value.repository)?.try_into()?,
            limits: ResourceLimits {
                upload: NonZeroU64::new(value.upload_bytes_per_second),
                download: NonZeroU64::new(value.download_bytes_per_second),
                read: NonZeroU64::new(value.read_bytes_per_second),
                threads: NonZeroU32::new(value.threads),
                memory: NonZeroU64::new(value.memory_bytes),
            },
            // A code of another version stands for no warning of this one.
            accept: value
                .accept
                .iter()
                .filter_map(|word| word.parse().ok())
                .collect(),
            spec: JobSpec::from_json(&value.kind, &value.spec).map_err(|unreadable| Failure {
                code: FailureCode::Version,
                message: format!(
                    "the agent cannot do what it is asked: {unreadable}; update the agent"
                ),
                retryable: false,
            }),
        })
    }
}

impl From<JobOffer> for v1::JobOffer {
    fn from(value: JobOffer) -> Self {
        let limits = value.limits;
        // Whoever offers has a specification.
        let (kind, spec) = match &value.spec {
            Ok(spec) => (spec.kind().as_str(), spec.to_json()),
            Err(_) => ("", String::new()),
        };
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            lease_seconds: value.lease_seconds,
            timeout_seconds: value.timeout_seconds.unwrap_or(0),
            traceparent: value.traceparent,
            repository: Some(value.repository.into()),
            upload_bytes_per_second: limits.upload.map_or(0, NonZeroU64::get),
            download_bytes_per_second: limits.download.map_or(0, NonZeroU64::get),
            read_bytes_per_second: limits.read.map_or(0, NonZeroU64::get),
            threads: limits.threads.map_or(0, NonZeroU32::get),
            memory_bytes: limits.memory.map_or(0, NonZeroU64::get),
            accept: value.accept.iter().map(ToString::to_string).collect(),
            kind: kind.into(),
            spec,
        }
    }
}

impl TryFrom<v1::Repository> for RepositoryAccess {
    type Error = InvalidMessage;

    fn try_from(value: v1::Repository) -> Result<Self, InvalidMessage> {
        let password = Zeroizing::new(value.password);
        let read = Reader("Repository");
        if password.is_empty() {
            return Err(read.invalid("password", "is empty"));
        }
        Ok(Self {
            name: read.text("name", value.name)?,
            password,
            create: value.create,
        })
    }
}

impl From<RepositoryAccess> for v1::Repository {
    fn from(mut value: RepositoryAccess) -> Self {
        Self {
            name: value.name,
            // Moved out, not copied: the transport's buffer is the only other.
            password: std::mem::take(&mut *value.password),
            create: value.create,
        }
    }
}
