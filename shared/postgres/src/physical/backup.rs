//! The backup API on a connection held open.
//!
//! Non-exclusive: the backup belongs to the session, and so does the temporary
//! replication slot that keeps the write-ahead log of the meantime. Whatever
//! becomes of us, the server ends both when the connection ends.
//!
//! The session's first error would end the slot, too, silently. So nothing is
//! tried on it that may fail; and what is read of the log is verified.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Row, error::SqlState};

use super::{
    Lsn, NEWEST_MAJOR, OLDEST_MAJOR, PhysicalError,
    label::{BackupLabel, Tablespace, parse_tablespace_map},
};
use crate::{
    connection::{Session, words},
    rights::{self, Purpose},
};

/// What is known of a server before a backup.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// As it says: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// Its major version.
    pub major: u32,
    /// Of its cluster.
    pub system_identifier: u64,
    /// It is a standby.
    pub in_recovery: bool,
    /// On the server's host.
    pub data_directory: String,
    /// `config_file`, `hba_file` and `ident_file`, as far as they are told.
    pub config_files: Vec<String>,
    /// Settings that another server needs in order to replay.
    pub settings: BTreeMap<String, String>,
}

/// Recorded for the server that the backup is restored to.
const SETTINGS: [&str; 12] = [
    "default_table_access_method",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "server_encoding",
    "shared_preload_libraries",
    "track_commit_timestamp",
    "wal_level",
    "wal_log_hints",
    "wal_segment_size",
];

/// Where the server keeps its configuration.
const CONFIG_FILES: [&str; 3] = ["config_file", "hba_file", "ident_file"];

/// Asks a server what a backup needs to know, and refuses one of which none
/// can be made, or by a role that lacks a right.
pub async fn inspect(session: &Session) -> Result<ServerFacts, PhysicalError> {
    let major = session.version().major();
    if !(OLDEST_MAJOR..=NEWEST_MAJOR).contains(&major) {
        return Err(PhysicalError::Version(major));
    }
    if let Some(missing) = rights::missing(session, Purpose::BaseBackup).await? {
        return Err(missing.into());
    }
    let doing = "ask the server for its settings";
    let names: Vec<&str> = SETTINGS
        .iter()
        .chain(&CONFIG_FILES)
        .chain(&["data_directory", "server_version"])
        .copied()
        .collect();
    let rows = session
        .query(
            "SELECT name, setting FROM pg_catalog.pg_settings \
             WHERE name OPERATOR(pg_catalog.=) ANY ($1)",
            &[&names],
        )
        .await
        .map_err(PhysicalError::sql(doing, grant_settings))?;
    let mut settings: BTreeMap<String, String> = rows
        .iter()
        .filter_map(|row| Some((row.get(0), row.get::<_, Option<String>>(1)?)))
        .collect();
    match settings.get("wal_level").map(String::as_str) {
        Some("minimal") => return Err(PhysicalError::WalLevel("minimal".into())),
        Some(_) => {}
        None => return Err(PhysicalError::Hidden("wal_level")),
    }
    let identity = session
        .query_one(
            "SELECT system_identifier, pg_catalog.pg_is_in_recovery() \
             FROM pg_catalog.pg_control_system()",
            &[],
        )
        .await
        .map_err(PhysicalError::sql(doing, || {
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO that role".into()
        }))?;
    Ok(ServerFacts {
        version: settings.remove("server_version").unwrap_or_default(),
        major,
        system_identifier: identity.get::<_, i64>(0).cast_unsigned(),
        in_recovery: identity.get(1),
        data_directory: settings
            .remove("data_directory")
            .ok_or(PhysicalError::Hidden("data_directory"))?,
        config_files: CONFIG_FILES
            .iter()
            .filter_map(|name| settings.remove(*name))
            .filter(|path| !path.is_empty())
            .collect(),
        settings,
    })
}

fn grant_settings() -> String {
    "GRANT pg_read_all_settings TO that role".into()
}

/// How a backup is begun.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Shown in the server's views and in `backup_label`.
    pub label: String,
    /// Name of the temporary slot: lower-case letters, digits and `_`, at most
    /// 63.
    pub slot: String,
    /// Checkpoint at once, instead of spread over time.
    pub fast: bool,
}

/// What keeps the server from removing the log of the meantime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A temporary replication slot of this session.
    Slot,
    /// Nothing but `wal_keep_size` and luck; why there is no slot.
    Nothing(String),
}

/// A backup that the server counts as running; ends with its session.
#[derive(Debug)]
pub struct RunningBackup<'c> {
    session: &'c Session,
    major: u32,
    /// Where replay will begin.
    pub start: Lsn,
    /// What holds the log.
    pub hold: Hold,
}

/// What the server said at a backup's end.
#[derive(Clone, Debug)]
pub struct EndedBackup {
    /// Up to where replay must go.
    pub stop: Lsn,
    /// The file that goes into the data directory.
    pub backup_label: String,
    /// What it says.
    pub label: BackupLabel,
    /// The file that goes into the data directory unless it is empty.
    pub tablespace_map: String,
    /// What it says.
    pub tablespaces: Vec<Tablespace>,
}

impl<'c> RunningBackup<'c> {
    /// Begins a backup: the server makes a checkpoint, which may take minutes
    /// unless it is to be fast.
    pub async fn start(
        session: &'c Session,
        facts: &ServerFacts,
        options: &StartOptions,
    ) -> Result<Self, PhysicalError> {
        prepare_session(session, facts.major).await?;
        let hold = hold(session, &options.slot).await?;
        let doing = "begin a backup";
        let (sql, function) = if facts.major >= 15 {
            (
                "SELECT pg_catalog.pg_backup_start($1, $2)::pg_catalog.text",
                "pg_backup_start(text, boolean)",
            )
        } else {
            (
                "SELECT pg_catalog.pg_start_backup($1, $2, false)::pg_catalog.text",
                "pg_start_backup(text, boolean, boolean)",
            )
        };
        let row = session
            .query_one(sql, &[&options.label, &options.fast])
            .await
            .map_err(PhysicalError::sql(doing, || {
                format!("GRANT EXECUTE ON FUNCTION {function} TO that role")
            }))?;
        Ok(Self {
            session,
            major: facts.major,
            start: position(&row)?,
            hold,
        })
    }

    /// Whether the session, and with it the backup, has ended.
    pub fn is_lost(&self) -> bool {
        self.session.is_closed()
    }

    /// The numbers of the tablespaces that the server's catalog has. Where they
    /// lie is not asked: that fails for one that is being dropped, and with the
    /// session's first error the slot would go.
    pub async fn tablespaces(&self) -> Result<BTreeSet<u32>, PhysicalError> {
        let rows = self
            .session
            .query("SELECT oid FROM pg_catalog.pg_tablespace", &[])
            .await
            .map_err(PhysicalError::sql("list the tablespaces", String::new))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Ends the backup. A primary then begins a new segment, so that those of
    /// the backup are complete; on a standby the log up to the end has been
    /// replayed, and so it is there. The slot stays until the session ends.
    pub async fn stop(self) -> Result<EndedBackup, PhysicalError> {
        // Whether the log is archived is not our concern: we take it ourselves.
        let (sql, function) = if self.major >= 15 {
            (
                "SELECT lsn::pg_catalog.text, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(false)",
                "pg_backup_stop(boolean)",
            )
        } else {
            (
                "SELECT lsn::pg_catalog.text, labelfile, spcmapfile \
                 FROM pg_catalog.pg_stop_backup(false, false)",
                "pg_stop_backup(boolean, boolean)",
            )
        };
        let row = self
            .session
            .query_one(sql, &[])
            .await
            .map_err(PhysicalError::sql("end the backup", || {
                format!("GRANT EXECUTE ON FUNCTION {function} TO that role")
            }))?;
        let backup_label: String = row.get(1);
        let tablespace_map = row.get::<_, Option<String>>(2).unwrap_or_default();
        Ok(EndedBackup {
            stop: position(&row)?,
            label: BackupLabel::parse(&backup_label)?,
            backup_label,
            tablespaces: parse_tablespace_map(&tablespace_map)?,
            tablespace_map,
        })
    }
}

fn position(row: &Row) -> Result<Lsn, PhysicalError> {
    let text: String = row.get(0);
    Ok(text.parse()?)
}

/// Lets the session idle for as long as it takes to read the cluster.
async fn prepare_session(session: &Session, major: u32) -> Result<(), PhysicalError> {
    let idle = if major >= 14 {
        "; SET idle_session_timeout = 0"
    } else {
        ""
    };
    let sql = format!("SET statement_timeout = 0; SET lock_timeout = 0{idle}");
    session
        .batch(&sql)
        .await
        .map_err(PhysicalError::sql("set up the session", String::new))
}

/// Makes the slot. A server that has none to give may still keep the log for
/// other reasons; whether it did shows at the end.
async fn hold(session: &Session, slot: &str) -> Result<Hold, PhysicalError> {
    let made = session
        .execute(
            "SELECT pg_catalog.pg_create_physical_replication_slot($1, true, true)",
            &[&slot],
        )
        .await;
    let Err(error) = made else {
        return Ok(Hold::Slot);
    };
    let none_left = error.as_db_error().is_some_and(|said| {
        let code = said.code();
        // No slot is free; or max_replication_slots is 0.
        *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED
            || *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
    });
    if none_left {
        return Ok(Hold::Nothing(words(&error)));
    }
    Err(PhysicalError::sql("make a replication slot", || {
        "ALTER ROLE that role REPLICATION".into()
    })(error))
}
