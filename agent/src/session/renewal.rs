//! A new certificate well before the old one ends.

use std::time::Duration;

use jiff::Timestamp;
use strongroom_proto::v1::agent_gateway_client::AgentGatewayClient;
use strongroom_runtime::pki::{self, PkiError};
use strongroom_wire::{
    InvalidMessage,
    identity::{RenewRequest, RenewResponse},
};
use tonic::{Status, transport::Channel};

use crate::enrol::Identity;

const TIMEOUT: Duration = Duration::from_secs(30);

/// No new certificate this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    /// The coordinator did not give one.
    #[error("the coordinator answered {0}")]
    Status(#[from] Box<Status>),
    /// What it gave is not one.
    #[error(transparent)]
    Answer(#[from] InvalidMessage),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// When to ask: between half and two thirds of the certificate's life, so that
/// a fleet that enrolled in one hour does not renew in one minute. `random` is
/// uniform in `0.0..1.0`.
pub(super) fn due(not_before: Timestamp, not_after: Timestamp, random: f64) -> Timestamp {
    let life = not_after.duration_since(not_before);
    let fraction = 0.5 + random.clamp(0.0, 1.0) / 6.0;
    not_before
        .saturating_add(life.mul_f64(fraction))
        .unwrap_or(not_after)
}

/// Makes a new key and asks for its certificate. The answer is checked: it
/// must fit the key and name the same agent.
pub(super) async fn renew(channel: Channel, identity: Identity) -> Result<Identity, RenewError> {
    let (key_pem, csr_pem) = pki::new_key_and_request()?;
    let mut request = tonic::Request::new(RenewRequest { csr_pem }.into());
    request.set_timeout(TIMEOUT);
    let response = AgentGatewayClient::new(channel)
        .renew(request)
        .await
        .map_err(Box::new)?;
    let RenewResponse { certificate_pem } = response.into_inner().try_into()?;
    let renewed = Identity {
        certificate_pem,
        key_pem,
        ..identity
    };
    renewed.tls()?;
    let chain = pki::parse_chain("the renewed certificate", &renewed.certificate_pem)?;
    let uri = renewed.agent_id.to_uri();
    let names_us = chain
        .first()
        .map(pki::inspect)
        .transpose()?
        .is_some_and(|info| info.uris.contains(&uri));
    if !names_us {
        return Err(RenewError::Pki(PkiError::Invalid {
            what: "the renewed certificate".into(),
            problem: format!("it does not name {uri}"),
        }));
    }
    Ok(renewed)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn renewal_is_due_between_half_and_two_thirds_of_life() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let end = start + SignedDuration::from_hours(60);
        let after = |random| due(start, end, random).duration_since(start);
        assert_eq!(after(0.0), SignedDuration::from_hours(30));
        assert_eq!(after(1.0).as_mins(), 40 * 60);
        assert!(after(0.3) > after(0.2));
        assert_eq!(due(end, start, 0.0), start + SignedDuration::from_hours(30));
    }
}
