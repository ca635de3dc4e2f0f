//! Enrolment and renewal.

mod convert;
mod token;

use std::fmt;

use strongroom_layout::AgentId;
use zeroize::Zeroizing;

pub use token::{JoinToken, ParseTokenError};

/// Trades a join token and a certificate request for a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolRequest {
    /// Public half of the join token.
    pub token_id: String,
    /// Secret half.
    pub token_secret: Zeroizing<String>,
    /// PKCS#10, PEM.
    pub csr_pem: String,
    /// The host's own name.
    pub hostname: String,
    /// Version of the agent's binary.
    pub agent_version: String,
}

impl fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolRequest")
            .field("token_id", &self.token_id)
            .field("hostname", &self.hostname)
            .field("agent_version", &self.agent_version)
            .finish_non_exhaustive()
    }
}

/// An agent's new identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolResponse {
    /// Who the agent is from now on.
    pub agent_id: AgentId,
    /// What operators call it.
    pub agent_name: String,
    /// Leaf first, then the CA; PEM.
    pub certificate_pem: String,
    /// The CA alone; PEM.
    pub ca_pem: String,
}

/// Asks for a new certificate for the agent that this connection's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewRequest {
    /// PKCS#10, PEM.
    pub csr_pem: String,
}

/// The answer to a [`RenewRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewResponse {
    /// Leaf first, then the CA; PEM.
    pub certificate_pem: String,
}
