//! The server whose log is archived: connections, what it says of itself, and
//! its slot.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use strongroom_postgres::{
    connection::{Connection, ServerError, Session},
    replication::{
        ReplicationError, ReplicationSession, ServerFacts, SlotState, WalStatus, server_facts, slot,
    },
    rights::{self, Purpose},
};
use strongroom_runtime::{backoff::Backoff, units::ByteSize};
use tracing::{info, warn};

use super::WalError;
use crate::config::PostgresConnection;

/// How often the slot is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// A slot that somebody uses is tried again for so long: the server may not
/// have noticed yet that a connection of ours is gone.
const BUSY_TRIES: u32 = 40;
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// See [`WalServer::archiving`].
pub(super) struct Archiving {
    pub(super) archive_mode: String,
    pub(super) data_directory: String,
}

/// A connection of `agent.toml`.
#[derive(Clone, Debug)]
pub struct WalServer {
    /// Its name.
    pub name: String,
    /// What stands there.
    pub connection: PostgresConnection,
}

impl WalServer {
    pub(super) fn replication(&self) -> impl FnOnce(ReplicationError) -> WalError + '_ {
        |source| WalError::Replication {
            name: self.name.clone(),
            source,
        }
    }

    /// What opens it, as it is now.
    pub(super) async fn resolve(&self) -> Result<Connection, WalError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let Self { name, connection } = this;
            connection
                .resolve()
                .map_err(|source| WalError::Connection { name, source })
        })
        .await
        .map_err(|_| WalError::Cancelled)?
    }

    pub(super) async fn session(&self, connection: &Connection) -> Result<Session, WalError> {
        let session = Session::open(connection, None).await;
        session.map_err(|source| WalError::Server {
            name: self.name.clone(),
            source,
        })
    }

    pub(super) async fn stream_session(
        &self,
        connection: &Connection,
    ) -> Result<ReplicationSession, WalError> {
        let session = ReplicationSession::open(connection).await;
        session.map_err(|source| WalError::Server {
            name: self.name.clone(),
            source,
        })
    }

    /// What the server says of itself; an error when its log is of no use, or
    /// when the connection's role lacks a right.
    pub(super) async fn facts(
        &self,
        session: &Session,
        purpose: Purpose,
    ) -> Result<ServerFacts, WalError> {
        let missing = rights::missing(session, purpose).await;
        let missing = missing.map_err(|source| WalError::Server {
            name: self.name.clone(),
            source,
        })?;
        if let Some(source) = missing {
            return Err(WalError::Rights {
                name: self.name.clone(),
                source,
            });
        }
        let facts = server_facts(session).await.map_err(self.replication())?;
        if facts.wal_level == "minimal" {
            return Err(WalError::WalLevel {
                name: self.name.clone(),
                level: facts.wal_level,
            });
        }
        Ok(facts)
    }

    /// What is set for its `archive_command`.
    pub(super) async fn archiving(&self, session: &Session) -> Result<Archiving, WalError> {
        let doing = "tell where its log lies";
        let sql = "SELECT pg_catalog.current_setting('archive_mode'), \
                   pg_catalog.current_setting('data_directory')";
        let row = session.query_one(sql, &[]).await;
        let failed = |source| WalError::Server {
            name: self.name.clone(),
            source,
        };
        let row = row.map_err(|error| failed(ServerError::query(doing, &error)))?;
        let text = |at| row.try_get(at);
        match (text(0), text(1)) {
            (Ok(archive_mode), Ok(data_directory)) => Ok(Archiving {
                archive_mode,
                data_directory,
            }),
            (Err(error), _) | (_, Err(error)) => Err(failed(ServerError::query(doing, &error))),
        }
    }

    /// The slot, made if it is not there. One that the server has given up is
    /// made anew: what was missed is lost in any case.
    pub(super) async fn slot(&self, session: &Session, name: &str) -> Result<SlotState, WalError> {
        let look = async || slot::look(session, name).await.map_err(self.replication());
        match look().await? {
            Some(state) if state.wal_status != Some(WalStatus::Lost) => return Ok(state),
            Some(state) => {
                let reason = state.invalidation_reason.unwrap_or_default();
                warn!(
                    slot = name,
                    reason, "the server has given the slot up: making it anew"
                );
                self.drop_slot(session, name).await?;
            }
            None => {}
        }
        slot::create(session, name)
            .await
            .map_err(self.replication())?;
        info!(slot = name, "made a replication slot");
        let made = look().await?;
        made.ok_or_else(|| {
            let slot = name.to_owned();
            self.replication()(ReplicationError::NoSlot { slot })
        })
    }

    /// Makes the slot, which must not be there, with nothing to hold back: what
    /// lies before the last checkpoint may be more than may wait.
    pub(super) async fn slot_from_now(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<(), WalError> {
        let made = slot::create(session, name).await;
        made.map_err(self.replication())?;
        let advanced = slot::advance(session, name).await;
        advanced.map_err(self.replication())
    }

    /// Drops the slot; it may be gone.
    pub(super) async fn drop_slot(&self, session: &Session, name: &str) -> Result<(), WalError> {
        // Whoever may not drop one, or a server that can have none, may be asked
        // whether there is one.
        let there = slot::look(session, name)
            .await
            .map_err(self.replication())?;
        if there.is_none() {
            return Ok(());
        }
        for _ in 0..BUSY_TRIES {
            match slot::drop(session, name).await {
                Ok(()) => {
                    info!(slot = name, "dropped a replication slot");
                    return Ok(());
                }
                Err(ReplicationError::NoSlot { .. }) => return Ok(()),
                Err(ReplicationError::SlotBusy { .. }) => tokio::time::sleep(BUSY_WAIT).await,
                Err(error) => return Err(self.replication()(error)),
            }
        }
        slot::drop(session, name).await.map_err(self.replication())
    }
}

/// What may wait on the server, and what gives way beyond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) limit: Option<u64>,
    pub(super) drop: bool,
}

impl Room {
    /// An error when log has to be given up.
    pub(super) fn check(&self, server: &WalServer, waiting: u64) -> Result<(), WalError> {
        match self.limit {
            Some(limit) if self.drop && waiting > limit => Err(WalError::Full {
                name: server.name.clone(),
                waiting,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// For people, when it is too much but nothing is given up.
    pub(super) fn problem(&self, waiting: u64) -> Option<String> {
        let limit = self.limit.filter(|limit| waiting > *limit)?;
        Some(format!(
            "{} of log wait on the server, more than wal.limit of {}: its disk fills up, because \
             the policy says when_full = \"keep-log\"",
            whole_mebibytes(waiting),
            ByteSize(limit)
        ))
    }
}

/// For people.
pub(super) fn whole_mebibytes(bytes: u64) -> ByteSize {
    ByteSize(bytes >> 20 << 20)
}

/// Bytes of log that a slot holds back; 0 when there is none.
pub(super) async fn held_back(
    server: &WalServer,
    session: &Session,
    slot_name: &str,
) -> Result<u64, WalError> {
    let state = slot::look(session, slot_name).await;
    let state = state.map_err(server.replication())?;
    Ok(state.and_then(|state| state.held_back).unwrap_or(0))
}

/// What the slot holds back, for whoever reports it.
pub(super) type Held = Arc<Mutex<Option<SlotState>>>;

/// Looks at the slot now and then; ends when more waits than may.
pub(super) async fn watch(
    server: &WalServer,
    connection: &Connection,
    slot_name: &str,
    room: Room,
    held: &Held,
) -> WalError {
    let mut backoff = Backoff::new(Duration::from_secs(1), LOOK);
    loop {
        let looked = async {
            let session = server.session(connection).await?;
            loop {
                let state = slot::look(&session, slot_name)
                    .await
                    .map_err(server.replication())?;
                let waiting = state.as_ref().and_then(|state| state.held_back);
                *held.lock() = state;
                room.check(server, waiting.unwrap_or(0))?;
                backoff.reset();
                tokio::time::sleep(LOOK).await;
            }
        };
        let error: WalError = match looked.await {
            Ok(()) => continue,
            Err(error) => error,
        };
        if matches!(error, WalError::Full { .. }) {
            return error;
        }
        // Whoever streams will say that the server is gone.
        tracing::debug!(%error, "the slot cannot be looked at");
        tokio::time::sleep(backoff.next_random()).await;
    }
}
