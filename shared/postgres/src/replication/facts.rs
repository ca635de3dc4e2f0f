//! What must be known of a server before its log is streamed.

use std::collections::BTreeMap;

use super::{ReplicationError, classify::Asked};
use crate::{connection::Session, physical::SegmentSize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Of its cluster.
    pub system_identifier: u64,
    /// It is a standby.
    pub in_recovery: bool,
    /// `minimal` logs too little to be restored from.
    pub wal_level: String,
    /// Bytes of log that a slot may hold back; `None`: as many as it takes.
    pub max_slot_wal_keep_size: Option<u64>,
    /// Bytes of a segment.
    pub wal_segment_size: SegmentSize,
    /// Bytes of a page of the log.
    pub wal_block_size: u32,
    /// Connections for replication that it takes.
    pub max_wal_senders: u32,
}

const DOING: &str = "tell its settings";

const SETTINGS: [&str; 5] = [
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "wal_block_size",
    "wal_level",
    "wal_segment_size",
];

/// Asks a server.
pub async fn server_facts(session: &Session) -> Result<ServerFacts, ReplicationError> {
    let asked = Asked {
        doing: DOING,
        ..Asked::default()
    };
    let failed = |error: tokio_postgres::Error| ReplicationError::sql(&asked, &error);
    let rows = session
        .query(
            "SELECT name, setting FROM pg_catalog.pg_settings \
             WHERE name OPERATOR(pg_catalog.=) ANY ($1) AND setting IS NOT NULL",
            &[&&SETTINGS[..]],
        )
        .await
        .map_err(failed)?;
    let mut settings = BTreeMap::new();
    for row in &rows {
        let name: String = row.try_get(0).map_err(failed)?;
        let setting: String = row.try_get(1).map_err(failed)?;
        settings.insert(name, setting);
    }
    let row = session
        .query_one(
            "SELECT system_identifier, pg_catalog.pg_is_in_recovery() \
             FROM pg_catalog.pg_control_system()",
            &[],
        )
        .await
        .map_err(failed)?;
    let system_identifier: i64 = row.try_get(0).map_err(failed)?;
    let kept: i64 = number(&settings, "max_slot_wal_keep_size")?;
    let segment: u32 = number(&settings, "wal_segment_size")?;
    Ok(ServerFacts {
        system_identifier: system_identifier.cast_unsigned(),
        in_recovery: row.try_get(1).map_err(failed)?,
        wal_level: setting(&settings, "wal_level")?.to_owned(),
        // In MiB; -1 for no limit.
        max_slot_wal_keep_size: u64::try_from(kept)
            .ok()
            .map(|kept| kept.saturating_mul(1 << 20)),
        wal_segment_size: SegmentSize::new(segment).ok_or_else(|| hidden("wal_segment_size"))?,
        wal_block_size: number(&settings, "wal_block_size")?,
        max_wal_senders: number(&settings, "max_wal_senders")?,
    })
}

fn setting<'s>(
    settings: &'s BTreeMap<String, String>,
    name: &'static str,
) -> Result<&'s str, ReplicationError> {
    let setting = settings.get(name).map(String::as_str);
    setting.ok_or_else(|| hidden(name))
}

fn number<T: std::str::FromStr>(
    settings: &BTreeMap<String, String>,
    name: &'static str,
) -> Result<T, ReplicationError> {
    let setting = setting(settings, name)?;
    setting.parse().map_err(|_| hidden(name))
}

fn hidden(name: &'static str) -> ReplicationError {
    ReplicationError::Strange {
        doing: DOING,
        cause: format!("{name} is missing or impossible"),
    }
}
