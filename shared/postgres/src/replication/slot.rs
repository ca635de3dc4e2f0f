//! Physical replication slots: they make a server keep its log.

use tokio_postgres::Row;

use super::{ReplicationError, classify::Asked};
use crate::{connection::Session, physical::Lsn};

/// How far a server keeps to a slot's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalStatus {
    /// Within `max_wal_size`.
    Reserved,
    /// Beyond `max_wal_size`, but kept.
    Extended,
    /// Beyond `max_slot_wal_keep_size`: lost at the next checkpoint, unless it
    /// is confirmed before.
    Unreserved,
    /// Parts of the log are gone; the slot is of no more use.
    Lost,
}

/// What a server says of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Physical, and not logical.
    pub physical: bool,
    /// Somebody streams with it.
    pub active: bool,
    /// The server's process that does.
    pub active_pid: Option<i32>,
    /// From where on the log is kept; `None`: nothing is kept yet, or no more.
    pub restart_lsn: Option<Lsn>,
    /// `None`: nothing is kept yet.
    pub wal_status: Option<WalStatus>,
    /// Bytes of log that can be written before it is in danger; `None`:
    /// unlimited, or lost.
    pub safe_wal_size: Option<i64>,
    /// Bytes of log that are kept because of it.
    pub held_back: Option<u64>,
    /// Why the server gave it up; versions before 17 do not say.
    pub invalidation_reason: Option<String>,
}

/// Makes a slot that keeps the log from now on. On a standby, too: it is the
/// standby's own.
pub async fn create(session: &Session, name: &str) -> Result<(), ReplicationError> {
    let sql = "SELECT pg_catalog.pg_create_physical_replication_slot($1, true, false)";
    let doing = "make a replication slot";
    run(session, doing, sql, name).await
}

/// Lets a slot, which nobody must be using, keep the log from where the server
/// is now. A new one keeps it from the last checkpoint.
pub async fn advance(session: &Session, name: &str) -> Result<(), ReplicationError> {
    let sql = "SELECT pg_catalog.pg_replication_slot_advance($1, \
               CASE WHEN pg_catalog.pg_is_in_recovery() \
               THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), \
               pg_catalog.pg_last_wal_replay_lsn()) \
               ELSE pg_catalog.pg_current_wal_flush_lsn() END)";
    run(session, "advance a replication slot", sql, name).await
}

/// Drops a slot, which nobody must be using.
pub async fn drop(session: &Session, name: &str) -> Result<(), ReplicationError> {
    let sql = "SELECT pg_catalog.pg_drop_replication_slot($1)";
    run(session, "drop a replication slot", sql, name).await
}

/// Asks about a slot; `None`: there is none of that name.
pub async fn look(session: &Session, name: &str) -> Result<Option<SlotState>, ReplicationError> {
    let reason = if session.version().major() >= 17 {
        "invalidation_reason"
    } else {
        "NULL::pg_catalog.text"
    };
    // A standby has what it received, or what it replayed from an archive.
    let sql = format!(
        "SELECT slot_type OPERATOR(pg_catalog.=) 'physical', active, active_pid, \
                restart_lsn::pg_catalog.text, wal_status, safe_wal_size, \
                greatest(pg_catalog.pg_wal_lsn_diff( \
                    CASE WHEN pg_catalog.pg_is_in_recovery() \
                    THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), \
                    pg_catalog.pg_last_wal_replay_lsn()) \
                    ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn), \
                    0)::pg_catalog.int8, \
                {reason} \
         FROM pg_catalog.pg_replication_slots WHERE slot_name OPERATOR(pg_catalog.=) $1"
    );
    let asked = Asked {
        doing: "look at a replication slot",
        slot: Some(name),
        from: None,
    };
    let row = session.query_opt(&sql, &[&name]).await;
    let state = row.and_then(|row| row.as_ref().map(state).transpose());
    state.map_err(|error| ReplicationError::sql(&asked, &error))
}

async fn run(
    session: &Session,
    doing: &'static str,
    sql: &str,
    name: &str,
) -> Result<(), ReplicationError> {
    let asked = Asked {
        doing,
        slot: Some(name),
        from: None,
    };
    let done = session.execute(sql, &[&name]).await;
    done.map(std::mem::drop)
        .map_err(|error| ReplicationError::sql(&asked, &error))
}

fn state(row: &Row) -> Result<SlotState, tokio_postgres::Error> {
    let restart_lsn: Option<String> = row.try_get(3)?;
    let wal_status: Option<String> = row.try_get(4)?;
    let held_back: Option<i64> = row.try_get(6)?;
    let restart_lsn = restart_lsn.and_then(|text| text.parse().ok());
    Ok(SlotState {
        physical: row.try_get(0)?,
        active: row.try_get(1)?,
        active_pid: row.try_get(2)?,
        restart_lsn,
        wal_status: wal_status.as_deref().and_then(WalStatus::read),
        safe_wal_size: row.try_get(5)?,
        // `greatest` passes over a position that there is not.
        held_back: restart_lsn.and(held_back).map(i64::unsigned_abs),
        invalidation_reason: row.try_get(7)?,
    })
}

impl WalStatus {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "reserved" => Self::Reserved,
            "extended" => Self::Extended,
            "unreserved" => Self::Unreserved,
            "lost" => Self::Lost,
            _ => return None,
        })
    }
}
