//! Enrolment and renewal at the wire.

use strongroom_layout::AgentId;
use strongroom_proto::v1;
use zeroize::Zeroizing;

use super::{EnrolRequest, EnrolResponse, RenewRequest, RenewResponse};
use crate::{InvalidMessage, field::Reader};

impl TryFrom<v1::EnrolRequest> for EnrolRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::EnrolRequest) -> Result<Self, InvalidMessage> {
        let token_secret = Zeroizing::new(value.token_secret);
        let read = Reader("EnrolRequest");
        if token_secret.is_empty() {
            return Err(read.invalid("token_secret", "is empty"));
        }
        Ok(Self {
            token_id: read.text("token_id", value.token_id)?,
            token_secret,
            csr_pem: read.text("csr_pem", value.csr_pem)?,
            hostname: value.hostname,
            agent_version: value.agent_version,
        })
    }
}

impl From<EnrolRequest> for v1::EnrolRequest {
    fn from(mut value: EnrolRequest) -> Self {
        Self {
            token_id: value.token_id,
            // Moved out, not copied: the transport's buffer is the only other.
            token_secret: std::mem::take(&mut *value.token_secret),
            csr_pem: value.csr_pem,
            hostname: value.hostname,
            agent_version: value.agent_version,
        }
    }
}

impl TryFrom<v1::EnrolResponse> for EnrolResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::EnrolResponse) -> Result<Self, InvalidMessage> {
        let read = Reader("EnrolResponse");
        Ok(Self {
            agent_id: AgentId(read.uuid("agent_id", &value.agent_id)?),
            agent_name: read.text("agent_name", value.agent_name)?,
            certificate_pem: read.text("certificate_pem", value.certificate_pem)?,
            ca_pem: read.text("ca_pem", value.ca_pem)?,
        })
    }
}

impl From<EnrolResponse> for v1::EnrolResponse {
    fn from(value: EnrolResponse) -> Self {
        Self {
            agent_id: value.agent_id.to_string(),
            agent_name: value.agent_name,
            certificate_pem: value.certificate_pem,
            ca_pem: value.ca_pem,
        }
    }
}

impl TryFrom<v1::RenewRequest> for RenewRequest {
    type Error = InvalidMessage;

    fn try_from(value: v1::RenewRequest) -> Result<Self, InvalidMessage> {
        Ok(Self {
            csr_pem: Reader("RenewRequest").text("csr_pem", value.csr_pem)?,
        })
    }
}

impl From<RenewRequest> for v1::RenewRequest {
    fn from(value: RenewRequest) -> Self {
        Self {
            csr_pem: value.csr_pem,
        }
    }
}

impl TryFrom<v1::RenewResponse> for RenewResponse {
    type Error = InvalidMessage;

    fn try_from(value: v1::RenewResponse) -> Result<Self, InvalidMessage> {
        Ok(Self {
            certificate_pem: Reader("RenewResponse")
                .text("certificate_pem", value.certificate_pem)?,
        })
    }
}

impl From<RenewResponse> for v1::RenewResponse {
    fn from(value: RenewResponse) -> Self {
        Self {
            certificate_pem: value.certificate_pem,
        }
    }
}
