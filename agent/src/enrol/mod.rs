//! Enrolment: from a join token to a certificate.
//!
//! The token holds the fingerprint of the coordinator's certificate authority.
//! The agent trusts nothing else while it enrols, makes its key here, sends a
//! certificate request, and keeps what comes back in its state directory.

mod identity;
mod lock;

use std::{path::PathBuf, sync::Arc, time::Duration};

use strongroom_proto::v1::enrolment_client::EnrolmentClient;
use strongroom_runtime::{
    files::FileError,
    pki::{self, Fingerprint, ParseFingerprintError, PkiError},
};
use strongroom_wire::{
    InvalidMessage,
    identity::{EnrolRequest, EnrolResponse, JoinToken},
};
use tonic::{Code, Status};

use crate::{
    config::Address,
    transport::{self, ConnectError},
};

pub use identity::{Identity, IdentityError};
pub use lock::{LockError, StateLock};

/// How long the coordinator may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What `enroll` was asked.
#[derive(Debug)]
pub struct Enrolment {
    /// The coordinator's port for agents.
    pub coordinator: Address,
    /// From `strongroom agents invite`.
    pub token: JoinToken,
    /// Where the identity goes.
    pub state_dir: PathBuf,
    /// Replace an identity that is there.
    pub force: bool,
    /// This host's own name.
    pub hostname: String,
}

/// Enrolment failed; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Overwriting an identity orphans the agent that it stood for.
    #[error(
        "this host is enrolled already ({path}): add --force to give up that identity and \
         enrol as a new agent"
    )]
    Exists {
        /// The identity.
        path: PathBuf,
    },
    /// Address, trust, protocol.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator said no.
    #[error(
        "the coordinator at {coordinator} refused the token: {message}; make a new one with \
         `strongroom agents invite`"
    )]
    Refused {
        /// Who refused.
        coordinator: Address,
        /// Used, expired, unknown.
        message: String,
    },
    /// Something else went wrong there.
    #[error("the coordinator at {coordinator} could not enrol this host: {status}")]
    Failed {
        /// Who.
        coordinator: Address,
        /// What it answered.
        status: Box<Status>,
    },
    /// The answer makes no sense.
    #[error("the coordinator's answer cannot be used: {0}; do the versions match?")]
    Answer(#[from] InvalidMessage),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The token's fingerprint.
    #[error(transparent)]
    Fingerprint(#[from] ParseFingerprintError),
    /// Files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state directory.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Enrols this host and writes its identity.
pub async fn enrol(enrolment: Enrolment) -> Result<Identity, EnrolError> {
    let path = Identity::path(&enrolment.state_dir);
    if path.exists() && !enrolment.force {
        return Err(EnrolError::Exists { path });
    }
    // Before the token is spent: it works only once.
    strongroom_runtime::files::create_private_dir(&enrolment.state_dir)?;

    let coordinator = enrolment.coordinator;
    let (key_pem, csr_pem) = pki::new_key_and_request()?;
    let request = EnrolRequest {
        token_id: enrolment.token.id,
        token_secret: enrolment.token.secret,
        csr_pem,
        hostname: enrolment.hostname,
        agent_version: crate::VERSION.to_owned(),
    };
    let pinned = strongroom_layout::ObjectId(enrolment.token.ca_fingerprint)
        .to_string()
        .parse()?;
    let response = exchange(&coordinator, pinned, request).await?;

    let identity = Identity {
        agent_id: response.agent_id,
        agent_name: response.agent_name,
        coordinator,
        ca_pem: response.ca_pem,
        certificate_pem: response.certificate_pem,
        key_pem,
    };
    // What is written must work: the certificate must be for our key, and
    // the authority the one that the token names.
    identity.tls()?;
    let ca = pki::parse_chain("the coordinator's CA certificate", &identity.ca_pem)?;
    if ca.first().map(Fingerprint::of) != Some(pinned) {
        return Err(EnrolError::Pki(PkiError::Invalid {
            what: "the coordinator's CA certificate".into(),
            problem: "it is not the one that the join token names".into(),
        }));
    }
    identity.save(&enrolment.state_dir)?;
    Ok(identity)
}

async fn exchange(
    coordinator: &Address,
    pinned: Fingerprint,
    request: EnrolRequest,
) -> Result<EnrolResponse, EnrolError> {
    let tls = Arc::new(pki::tls::enrolment_client_config(pinned)?);
    let channel = transport::connect(coordinator, tls).await?;
    let mut request = tonic::Request::new(request.into());
    request.set_timeout(TIMEOUT);
    let response = EnrolmentClient::new(channel)
        .enrol(request)
        .await
        .map_err(|status| explain(coordinator, status))?;
    Ok(response.into_inner().try_into()?)
}

fn explain(coordinator: &Address, status: Status) -> EnrolError {
    let coordinator = coordinator.clone();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::InvalidArgument => EnrolError::Refused {
            coordinator,
            message: status.message().trim_end_matches('.').to_owned(),
        },
        _ => EnrolError::Failed {
            coordinator,
            status: Box::new(status),
        },
    }
}

#[cfg(test)]
mod tests;
