//! One question to the coordinator, repeated until it is answered.
//!
//! A coordinator that restarts must not fail a running job, so whatever the
//! network does is waited out. A job that has no use for the answer any more
//! cancels the question.

use std::time::Duration;

use strongroom_proto::v1::{self, agent_gateway_client::AgentGatewayClient};
use strongroom_repository::store::StoreErrorKind;
use strongroom_runtime::{backoff::Backoff, telemetry::trace};
use strongroom_wire::{InvalidMessage, grant::RefusalReason};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status, transport::Channel};
use tracing::warn;

use crate::link::Link;

/// A question that is not answered in this time is asked again.
const TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Locks are released even for a cancelled job, but not at any price: the work
/// is done, and its report must reach the outbox. The coordinator removes the
/// lock of an attempt that has ended, and it goes stale by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of a listing has some 10,000 objects of 44 bytes; this is ample.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A client on the channel of the moment.
pub(super) type Client = AgentGatewayClient<Channel>;

/// No answer, or one that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskError {
    /// The job was given up.
    Cancelled,
    /// The coordinator refuses.
    Refused {
        /// Stable code.
        reason: RefusalReason,
        /// For people.
        message: String,
    },
    /// The coordinator will not answer this, now or later.
    Failed {
        /// For people.
        message: String,
    },
}

impl From<AskError> for StoreErrorKind {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Cancelled => Self::Cancelled,
            AskError::Refused { reason, message } => Self::Refused {
                reason: reason.as_str().into(),
                message,
            },
            AskError::Failed { message } => Self::Denied(message),
        }
    }
}

/// Asks. Cheap to share.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    link: Link,
    cancel: CancellationToken,
}

impl Asker {
    pub(super) fn new(link: Link, cancel: CancellationToken) -> Self {
        Self { link, cancel }
    }

    /// Asks until there is an answer or the job is given up.
    pub(super) async fn ask<W, A, T>(
        &self,
        request: W,
        call: impl AsyncFn(Client, tonic::Request<W>) -> Result<Response<A>, Status>,
    ) -> Result<T, AskError>
    where
        W: Clone,
        T: TryFrom<A, Error = InvalidMessage>,
    {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(AskError::Cancelled),
            answer = self.persist(request, call) => {
                T::try_from(answer?).map_err(|error| AskError::Failed {
                    message: format!("the coordinator's answer cannot be used: {error}"),
                })
            }
        }
    }

    /// Releases locks, whether or not the job was given up; does not wait for
    /// long for a coordinator that is away.
    pub(super) async fn release(&self, request: v1::ReleaseLocksRequest) -> Result<(), AskError> {
        let release = self.persist(request, async |mut client, request| {
            client.release_locks(request).await
        });
        let answer = tokio::time::timeout(RELEASE_TIMEOUT, release).await;
        answer.unwrap_or(Err(AskError::Cancelled)).map(drop)
    }

    async fn persist<W: Clone, A>(
        &self,
        request: W,
        call: impl AsyncFn(Client, tonic::Request<W>) -> Result<Response<A>, Status>,
    ) -> Result<A, AskError> {
        let mut link = self.link.clone();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let channel = link.channel().await.ok_or(AskError::Cancelled)?;
            let client = Client::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
            let mut request = tonic::Request::new(request.clone());
            request.set_timeout(TIMEOUT);
            trace::inject(request.metadata_mut());
            let status = match call(client, request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if !may_pass(status.code()) {
                return Err(final_answer(&status));
            }
            let wait = backoff.next_random();
            warn!(code = %status.code(), message = status.message(), ?wait,
                "the coordinator does not answer; asking again");
            tokio::time::sleep(wait).await;
        }
    }
}

/// Refusals of whole calls come as `<reason>: <message>`.
fn final_answer(status: &Status) -> AskError {
    let text = status.message();
    let refusal = text.split_once(": ").and_then(|(word, message)| {
        let reason = RefusalReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)?;
        Some((reason, message))
    });
    match refusal {
        Some((reason, message)) if status.code() == Code::PermissionDenied => AskError::Refused {
            reason,
            message: message.to_owned(),
        },
        _ => AskError::Failed {
            message: format!("the coordinator answered: {text}"),
        },
    }
}

/// Whether the same question may be answered later: everything that a lost
/// connection, a restart or a busy catalog looks like.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted
    )
}
