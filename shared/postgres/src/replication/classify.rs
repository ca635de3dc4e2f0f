//! Which error it is that a server's words mean.

use std::io;

use tokio_postgres::error::SqlState;

use super::{ReplicationError, error_response::Said, wire::is_tls};
use crate::{
    connection::ServerError,
    physical::{Lsn, TimelineId},
};

/// What was asked for when an error came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// Completes "cannot …".
    pub(super) doing: &'static str,
    pub(super) slot: Option<&'a str>,
    /// Where streaming began.
    pub(super) from: Option<(TimelineId, Lsn)>,
}

impl ReplicationError {
    /// Of a server's words.
    pub(super) fn said(asked: &Asked<'_>, said: &Said) -> Self {
        let cause = said.words();
        let slot = || asked.slot.unwrap_or_default().to_owned();
        let (timeline, from) = asked.from.unwrap_or((TimelineId(0), Lsn(0)));
        match said.state {
            SqlState::UNDEFINED_FILE if asked.from.is_some() => Self::Removed {
                timeline,
                from,
                cause,
            },
            SqlState::UNDEFINED_OBJECT if asked.slot.is_some() => Self::NoSlot { slot: slot() },
            SqlState::DUPLICATE_OBJECT if asked.slot.is_some() => Self::SlotExists { slot: slot() },
            SqlState::OBJECT_IN_USE => Self::SlotBusy {
                slot: slot(),
                cause,
            },
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE if gives_up_slot(said) => Self::SlotLost {
                slot: slot(),
                cause,
            },
            SqlState::CONFIGURATION_LIMIT_EXCEEDED => Self::TooManySlots { cause },
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Privilege {
                doing: asked.doing.into(),
                cause: format!("{cause}; run as a superuser: ALTER ROLE that role REPLICATION"),
            },
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT => Self::Terminated { cause },
            SqlState::INTERNAL_ERROR if is_of_another_past(said) => Self::Timeline {
                timeline,
                from,
                cause,
            },
            SqlState::INTERNAL_ERROR if said.routine == "StartReplication" => Self::Ahead {
                timeline,
                from,
                cause,
            },
            _ => Self::Refused {
                doing: asked.doing,
                cause,
                state: said.state.code().to_owned(),
            },
        }
    }

    /// Of a query on a session.
    pub(super) fn sql(asked: &Asked<'_>, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::said(asked, &said.into()),
            None => ServerError::query(asked.doing, error).into(),
        }
    }

    /// Of a connection.
    pub(super) fn wire(doing: &'static str, error: &io::Error) -> Self {
        let cause = error.to_string();
        // rustls, too, calls what it does not understand invalid.
        if error.kind() == io::ErrorKind::InvalidData && !is_tls(error) {
            Self::Strange { doing, cause }
        } else {
            Self::Broken { doing, cause }
        }
    }
}

/// `ReplicationSlotAcquire` of version 18, and its like: earlier versions let
/// a physical slot that is lost be used, and then lack the log.
fn gives_up_slot(said: &Said) -> bool {
    said.routine == "RaiseSlotInvalidationError"
        || said.routine == "ReplicationSlotAcquire"
        || said.gives_up_slot()
}

/// Such errors have no SQLSTATE of their own, and their words are translated:
/// what tells them apart is where in the server they come from. In
/// `StartReplication` the one about timelines has a detail, and the one about
/// positions that are yet to come has none.
fn is_of_another_past(said: &Said) -> bool {
    said.routine == "tliSwitchPoint" || said.routine == "StartReplication" && said.detail.is_some()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::message::backend::Message;

    use super::*;

    /// As it comes over the wire.
    fn said(state: &str, message: &str, detail: &str, routine: &str) -> Said {
        let mut body = Vec::new();
        for (kind, value) in [
            (b'S', "ERROR"),
            (b'C', state),
            (b'M', message),
            (b'D', detail),
            (b'R', routine),
        ] {
            if !value.is_empty() {
                body.push(kind);
                body.extend(value.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        let length = (body.len() as u32 + 4).to_be_bytes();
        let mut bytes = BytesMut::from(&[b"E", &length[..], &body].concat()[..]);
        let Ok(Some(Message::ErrorResponse(body))) = Message::parse(&mut bytes) else {
            panic!("no error");
        };
        Said::read(body.fields())
    }

    #[test]
    fn what_callers_must_tell_apart_is_told_apart() {
        let asked = Asked {
            doing: "stream",
            slot: Some("s"),
            from: Some((TimelineId(2), Lsn(9))),
        };
        for (state, detail, routine, wanted, transient) in [
            ("58P01", "", "WalSndSegmentOpen", "no longer has", false),
            (
                "42704",
                "",
                "ReplicationSlotAcquire",
                "has no replication slot",
                false,
            ),
            ("42710", "", "ReplicationSlotCreate", "already", false),
            ("55006", "", "ReplicationSlotAcquire", "in use", true),
            ("55000", "", "RaiseSlotInvalidationError", "given up", false),
            ("55000", "", "StartReplication", "SQLSTATE 55000", false),
            (
                "53400",
                "",
                "ReplicationSlotCreate",
                "max_replication_slots",
                false,
            ),
            ("42501", "", "CheckSlotPermissions", "ALTER ROLE", false),
            (
                "57P01",
                "",
                "ProcessInterrupts",
                "ended the connection",
                true,
            ),
            ("XX000", "", "tliSwitchPoint", "history", false),
            ("XX000", "forked", "StartReplication", "history", false),
            ("XX000", "", "StartReplication", "yet", true),
            ("XX000", "", "WALRead", "SQLSTATE XX000", false),
        ] {
            let error = ReplicationError::said(&asked, &said(state, "ach", detail, routine));
            let text = error.to_string();
            assert!(text.contains(wanted), "{state} {routine}: {text}");
            assert_eq!(error.is_transient(), transient, "{text}");
        }
        let worded = said("55000", "can no longer get changes from it", "", "x");
        assert!(matches!(
            ReplicationError::said(&asked, &worded),
            ReplicationError::SlotLost { .. }
        ));
    }
}
