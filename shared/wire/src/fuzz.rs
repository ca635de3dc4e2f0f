//! Fuzz targets: an agent may be anybody's, and so may what it dials.

use strongroom_proto::{prost::Message, v1};

use crate::{InvalidMessage, grant, identity, identity::JoinToken, session, wal};

/// What was understood comes back from the wire as it was.
fn read<Wire, Plain>(bytes: &[u8])
where
    Wire: Message + Default + From<Plain>,
    Plain: TryFrom<Wire, Error = InvalidMessage> + PartialEq + std::fmt::Debug + Clone,
{
    let Ok(wire) = Wire::decode(bytes) else {
        return;
    };
    match Plain::try_from(wire) {
        Ok(plain) => {
            let again = Wire::from(plain.clone()).encode_to_vec();
            let again = Wire::decode(again.as_slice()).unwrap();
            assert_eq!(Plain::try_from(again), Ok(plain));
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
}

/// All that an agent says, or whoever claims to be one: which message it is
/// (1 byte), then the message.
pub fn agent_messages(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 9 {
        0 => read::<v1::AgentMessage, session::AgentMessage>(bytes),
        1 => read::<v1::SignRequest, grant::SignRequest>(bytes),
        2 => read::<v1::ListObjectsRequest, grant::ListObjectsRequest>(bytes),
        3 => read::<v1::ReleaseLocksRequest, grant::ReleaseLocksRequest>(bytes),
        4 => read::<v1::PublishRequest, grant::PublishRequest>(bytes),
        5 => read::<v1::RecordWalRequest, wal::RecordWalRequest>(bytes),
        6 => read::<v1::ArchivedWalRequest, wal::ArchivedWalRequest>(bytes),
        7 => read::<v1::RenewRequest, identity::RenewRequest>(bytes),
        _ => read::<v1::EnrolRequest, identity::EnrolRequest>(bytes),
    }
}

/// Whether a job cannot be read: what is left of it is why, and no coordinator says that.
fn is_unreadable_offer(bytes: &[u8]) -> bool {
    let Ok(wire) = v1::CoordinatorMessage::decode(bytes) else {
        return false;
    };
    match session::CoordinatorMessage::try_from(wire) {
        Ok(session::CoordinatorMessage::JobOffer(offer)) => {
            offer.spec.is_err_and(|failure| !failure.message.is_empty())
        }
        _ => false,
    }
}

/// All that a coordinator says, likewise.
pub fn coordinator_messages(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 7 {
        0 if is_unreadable_offer(bytes) => {}
        0 => read::<v1::CoordinatorMessage, session::CoordinatorMessage>(bytes),
        1 => read::<v1::SignResponse, grant::SignResponse>(bytes),
        2 => read::<v1::ListObjectsResponse, grant::ListObjectsResponse>(bytes),
        3 => read::<v1::PublishResponse, grant::PublishResponse>(bytes),
        4 => read::<v1::ArchivedWalResponse, wal::ArchivedWalResponse>(bytes),
        5 => read::<v1::RenewResponse, identity::RenewResponse>(bytes),
        _ => read::<v1::EnrolResponse, identity::EnrolResponse>(bytes),
    }
}

/// A join token: what is shown of it is read as the same.
pub fn join_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string(), text.trim());
    }
}

#[cfg(test)]
mod runs {
    use crate::tests::samples;

    strongroom_fuzz::short_runs! {
        agent_messages: samples::of_agents(),
        coordinator_messages: samples::of_coordinators(),
        join_token: vec![format!("srj_7-a_s-E_cret_{}", "ab".repeat(32)).into_bytes()],
    }
}
