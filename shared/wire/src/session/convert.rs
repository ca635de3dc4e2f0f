//! The session's messages at the wire.

use jiff::Timestamp;
use strongroom_proto::v1;
use strongroom_transfer::PublicKey;

use super::{
    AgentHello, AgentMessage, Consent, CoordinatorHello, CoordinatorMessage, Heartbeat,
    MAX_CONNECTIONS, Progress,
};
use crate::{
    InvalidMessage,
    field::{Reader, all, attempt_to_wire, attempts_from_wire, attempts_to_wire, into_all},
};

impl TryFrom<v1::AgentMessage> for AgentMessage {
    type Error = InvalidMessage;

    fn try_from(value: v1::AgentMessage) -> Result<Self, InvalidMessage> {
        use v1::agent_message::Message;
        Ok(
            match Reader("AgentMessage").required("message", value.message)? {
                Message::Hello(hello) => Self::Hello(hello.try_into()?),
                Message::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat.try_into()?),
                Message::JobAccepted(accepted) => {
                    Self::JobAccepted(Reader("JobAccepted").attempt("attempt", accepted.attempt)?)
                }
                Message::Report(report) => Self::Report(report.try_into()?),
                Message::Inventory(found) => {
                    Reader("Inventory").at_most(
                        "connections",
                        MAX_CONNECTIONS,
                        &found.connections,
                    )?;
                    Self::Inventory(all(found.connections)?)
                }
            },
        )
    }
}

impl From<AgentMessage> for v1::AgentMessage {
    fn from(value: AgentMessage) -> Self {
        use v1::agent_message::Message;
        Self {
            message: Some(match value {
                AgentMessage::Hello(hello) => Message::Hello(hello.into()),
                AgentMessage::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.into()),
                AgentMessage::JobAccepted(attempt) => Message::JobAccepted(v1::JobAccepted {
                    attempt: Some(attempt_to_wire(attempt)),
                }),
                AgentMessage::Report(report) => Message::Report(report.into()),
                AgentMessage::Inventory(connections) => Message::Inventory(v1::Inventory {
                    connections: into_all(connections),
                }),
            }),
        }
    }
}

impl TryFrom<v1::CoordinatorMessage> for CoordinatorMessage {
    type Error = InvalidMessage;

    fn try_from(value: v1::CoordinatorMessage) -> Result<Self, InvalidMessage> {
        use v1::coordinator_message::Message;
        Ok(
            match Reader("CoordinatorMessage").required("message", value.message)? {
                Message::Hello(hello) => Self::Hello(hello.try_into()?),
                Message::JobOffer(offer) => Self::JobOffer(Box::new(offer.try_into()?)),
                Message::CancelJob(cancel) => Self::CancelJob {
                    attempt: Reader("CancelJob").attempt("attempt", cancel.attempt)?,
                    reason: cancel.reason,
                },
                Message::ReportAck(ack) => {
                    Self::ReportAck(Reader("ReportAck").uuid("report_id", &ack.report_id)?)
                }
                Message::HeartbeatAck(ack) => Self::HeartbeatAck(attempts_from_wire(&ack.renewed)?),
                Message::Challenge(challenge) => {
                    Self::Challenge(Reader("Challenge").uuid("nonce", &challenge.nonce)?)
                }
                Message::Goodbye(goodbye) => Self::Goodbye {
                    reason: goodbye.reason,
                    reconnect: goodbye.reconnect,
                },
            },
        )
    }
}

impl From<CoordinatorMessage> for v1::CoordinatorMessage {
    fn from(value: CoordinatorMessage) -> Self {
        use v1::coordinator_message::Message;
        Self {
            message: Some(match value {
                CoordinatorMessage::Hello(hello) => Message::Hello(hello.into()),
                CoordinatorMessage::JobOffer(offer) => Message::JobOffer((*offer).into()),
                CoordinatorMessage::CancelJob { attempt, reason } => {
                    Message::CancelJob(v1::CancelJob {
                        attempt: Some(attempt_to_wire(attempt)),
                        reason,
                    })
                }
                CoordinatorMessage::ReportAck(id) => Message::ReportAck(v1::ReportAck {
                    report_id: id.to_string(),
                }),
                CoordinatorMessage::HeartbeatAck(renewed) => {
                    Message::HeartbeatAck(v1::HeartbeatAck {
                        renewed: attempts_to_wire(renewed),
                    })
                }
                CoordinatorMessage::Challenge(nonce) => Message::Challenge(v1::Challenge {
                    nonce: nonce.to_string(),
                }),
                CoordinatorMessage::Goodbye { reason, reconnect } => {
                    Message::Goodbye(v1::Goodbye { reason, reconnect })
                }
            }),
        }
    }
}

impl TryFrom<v1::AgentHello> for AgentHello {
    type Error = InvalidMessage;

    fn try_from(value: v1::AgentHello) -> Result<Self, InvalidMessage> {
        let read = Reader("AgentHello");
        Ok(Self {
            boot_id: read.uuid("boot_id", &value.boot_id)?,
            agent_version: value.agent_version,
            protocol: value.protocol.max(1),
            hostname: value.hostname,
            os: value.os,
            architecture: value.architecture,
            running: attempts_from_wire(&value.running)?,
            reported: attempts_from_wire(&value.reported)?,
            consent: read.required("consent", value.consent)?.into(),
            transfer_key: match &value.transfer_key[..] {
                [] => None,
                key => Some(PublicKey(read.hash("transfer_key", key)?.0)),
            },
            answers_challenges: value.answers_challenges,
            clock: clock(read, &value.clock)?,
        })
    }
}

impl From<AgentHello> for v1::AgentHello {
    fn from(value: AgentHello) -> Self {
        Self {
            boot_id: value.boot_id.to_string(),
            agent_version: value.agent_version,
            protocol: value.protocol,
            hostname: value.hostname,
            os: value.os,
            architecture: value.architecture,
            running: attempts_to_wire(value.running),
            reported: attempts_to_wire(value.reported),
            consent: Some(value.consent.into()),
            transfer_key: value
                .transfer_key
                .map(|key| key.0.to_vec())
                .unwrap_or_default(),
            answers_challenges: value.answers_challenges,
            clock: value.clock.map(|at| at.to_string()).unwrap_or_default(),
        }
    }
}

/// What an agent's clock said, if it told.
fn clock(read: Reader, text: &str) -> Result<Option<Timestamp>, InvalidMessage> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| read.invalid("clock", format!("{text:?} is not an RFC 3339 time"));
    text.parse().map(Some).map_err(invalid)
}

impl From<v1::Consent> for Consent {
    fn from(value: v1::Consent) -> Self {
        Self {
            sources: value.sources,
            read_paths: value.read_paths,
            restore_paths: value.restore_paths,
            commands: value.commands,
        }
    }
}

impl From<Consent> for v1::Consent {
    fn from(value: Consent) -> Self {
        Self {
            sources: value.sources,
            read_paths: value.read_paths,
            restore_paths: value.restore_paths,
            commands: value.commands,
        }
    }
}

impl TryFrom<v1::CoordinatorHello> for CoordinatorHello {
    type Error = InvalidMessage;

    fn try_from(value: v1::CoordinatorHello) -> Result<Self, InvalidMessage> {
        let read = Reader("CoordinatorHello");
        for (field, seconds) in [
            ("heartbeat_seconds", value.heartbeat_seconds),
            ("lease_seconds", value.lease_seconds),
        ] {
            if seconds == 0 {
                return Err(read.invalid(field, "is 0"));
            }
        }
        Ok(Self {
            session_id: read.uuid("session_id", &value.session_id)?,
            coordinator_version: value.coordinator_version,
            protocol: value.protocol.max(1),
            heartbeat_seconds: value.heartbeat_seconds,
            lease_seconds: value.lease_seconds,
            fenced: attempts_from_wire(&value.fenced)?,
        })
    }
}

impl From<CoordinatorHello> for v1::CoordinatorHello {
    fn from(value: CoordinatorHello) -> Self {
        Self {
            session_id: value.session_id.to_string(),
            coordinator_version: value.coordinator_version,
            protocol: value.protocol,
            heartbeat_seconds: value.heartbeat_seconds,
            lease_seconds: value.lease_seconds,
            fenced: attempts_to_wire(value.fenced),
        }
    }
}

impl TryFrom<v1::Heartbeat> for Heartbeat {
    type Error = InvalidMessage;

    fn try_from(value: v1::Heartbeat) -> Result<Self, InvalidMessage> {
        Ok(Self {
            running: all(value.running)?,
            resident_bytes: value.resident_bytes,
            challenge: match &value.challenge[..] {
                "" => None,
                nonce => Some(Reader("Heartbeat").uuid("challenge", nonce)?),
            },
            leaving: value.leaving,
            clock: clock(Reader("Heartbeat"), &value.clock)?,
        })
    }
}

impl From<Heartbeat> for v1::Heartbeat {
    fn from(value: Heartbeat) -> Self {
        Self {
            running: into_all(value.running),
            resident_bytes: value.resident_bytes,
            challenge: value
                .challenge
                .map(|nonce| nonce.to_string())
                .unwrap_or_default(),
            leaving: value.leaving,
            clock: value.clock.map(|at| at.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Progress> for Progress {
    type Error = InvalidMessage;

    fn try_from(value: v1::Progress) -> Result<Self, InvalidMessage> {
        Ok(Self {
            attempt: Reader("Progress").attempt("attempt", value.attempt)?,
            stage: value.stage,
            files: value.files,
            bytes: value.bytes,
            total_files: (value.total_files > 0).then_some(value.total_files),
            total_bytes: (value.total_bytes > 0).then_some(value.total_bytes),
            bytes_stored: value.bytes_stored,
            warnings: value.warnings,
        })
    }
}

impl From<Progress> for v1::Progress {
    fn from(value: Progress) -> Self {
        Self {
            attempt: Some(attempt_to_wire(value.attempt)),
            stage: value.stage,
            files: value.files,
            bytes: value.bytes,
            total_files: value.total_files.unwrap_or(0),
            total_bytes: value.total_bytes.unwrap_or(0),
            bytes_stored: value.bytes_stored,
            warnings: value.warnings,
        }
    }
}
