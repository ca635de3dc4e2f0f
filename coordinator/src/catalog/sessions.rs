//! Coordinators at work, and the sessions that agents have with them: what each process
//! writes of itself, for the others to see.
//!
//! What a process knows of its own sessions it does not read here. It writes what has
//! changed since it last wrote, all in one transaction (`sessions/presence.rs`): a
//! heartbeat costs no write.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::AgentId;
use uuid::Uuid;

use super::{
    Catalog, CatalogError,
    row::{Columns, micros, read_all},
};
use crate::model::{EventKind, NewEvent, Session, SessionElsewhere, Subject};

/// A coordinator that was not heard of for so long is gone, for all that others show. It
/// gives a sign of life three times as often; clocks may differ by the rest.
const SILENT: SignedDuration = SignedDuration::from_secs(90);

/// What the catalog knows of this process.
#[derive(Debug, Clone, PartialEq)]
pub struct Lives {
    /// Whether it knew of it; if not, others have taken it for gone.
    pub known: bool,
    /// The sessions that it is known to have.
    pub sessions: Vec<Session>,
}

/// What has changed about the sessions of this process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PresenceChange {
    /// Sessions that have begun.
    pub begun: Vec<Session>,
    /// Sessions that have ended, and when their agents were last heard of.
    pub ended: Vec<(Session, Timestamp)>,
    /// Agents that have come (`true`) or gone, of which programs are to be told.
    pub told: Vec<(AgentId, bool)>,
}

impl Catalog {
    /// This process begins its work on a data directory. Whoever worked on that before is
    /// gone, and so are its sessions; with SQLite, so is everybody else.
    pub async fn coordinator_starts(&self, directory: Uuid) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query("SELECT * FROM coordinators WHERE directory = $1 OR $2 = 0")
            .bind(directory.to_string())
            .bind(i64::from(self.0.backend.is_shared()))
            .fetch_all(&mut *transaction)
            .await?;
        for gone in read_all(&rows, read_instance)? {
            self.end_coordinator_in(&mut transaction, gone).await?;
        }
        self.enter_coordinator_in(&mut transaction, directory)
            .await?;
        let event = coordinator_event(EventKind::CoordinatorStarted, self.instance());
        self.event_in(&mut transaction, event).await?;
        self.commit(transaction).await
    }

    /// This process ends, with all its sessions. `heard` is when their agents were last
    /// heard of.
    pub async fn coordinator_stops(
        &self,
        heard: &[(AgentId, Timestamp)],
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        for (agent, at) in heard {
            seen_in(&mut transaction, *agent, *at).await?;
        }
        self.end_coordinator_in(&mut transaction, self.instance())
            .await?;
        self.commit(transaction).await
    }

    /// When the other coordinators last gave a sign of life, by their own clocks.
    pub async fn other_coordinators(&self) -> Result<Vec<(Uuid, Timestamp)>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM coordinators WHERE instance <> $1")
            .bind(self.instance().to_string())
            .fetch_all(self.pool())
            .await?;
        read_all(&rows, |row| {
            Ok((
                read_instance(row)?,
                Columns::new("coordinators", row).time("heard_at")?,
            ))
        })
    }

    /// A sign of life of this process, to which `gone` have given none since `heard_at`.
    pub async fn coordinator_lives(
        &self,
        directory: Uuid,
        gone: &[(Uuid, Timestamp)],
    ) -> Result<Lives, CatalogError> {
        let mut transaction = self.begin().await?;
        let known = sqlx::query("UPDATE coordinators SET heard_at = $2 WHERE instance = $1")
            .bind(self.instance().to_string())
            .bind(micros(self.now()))
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            > 0;
        if !known {
            self.enter_coordinator_in(&mut transaction, directory)
                .await?;
            // Programs were told that it had stopped.
            let event = coordinator_event(EventKind::CoordinatorStarted, self.instance());
            self.event_in(&mut transaction, event).await?;
        }
        let mut ended = false;
        for (instance, heard_at) in gone {
            if is_silent_in(&mut transaction, *instance, *heard_at).await? {
                self.end_coordinator_in(&mut transaction, *instance).await?;
                ended = true;
            }
        }
        let rows = sqlx::query("SELECT * FROM sessions WHERE instance = $1")
            .bind(self.instance().to_string())
            .fetch_all(&mut *transaction)
            .await?;
        let sessions = read_all(&rows, read_session)?;
        if known && !ended {
            // Nobody waits for this.
            transaction.commit().await?;
        } else {
            self.commit(transaction).await?;
        }
        Ok(Lives { known, sessions })
    }

    /// Writes what has changed about the sessions of this process.
    pub async fn write_presence(&self, change: &PresenceChange) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        for (session, heard_at) in &change.ended {
            seen_in(&mut transaction, session.agent, *heard_at).await?;
            end_session_in(&mut transaction, session).await?;
        }
        for session in &change.begun {
            self.begin_session_in(&mut transaction, session).await?;
        }
        for (agent, here) in &change.told {
            self.tell_in(&mut transaction, *agent, *here).await?;
        }
        self.commit(transaction).await
    }

    /// The event of an agent that has come or gone; not of one that has only gone
    /// elsewhere.
    async fn tell_in(
        &self,
        connection: &mut AnyConnection,
        agent: AgentId,
        here: bool,
    ) -> Result<(), CatalogError> {
        let row = sqlx::query(
            "SELECT a.name AS name, s.instance AS instance
             FROM agents a LEFT JOIN sessions s ON s.agent_id = a.id WHERE a.id = $1",
        )
        .bind(agent.to_string())
        .fetch_one(&mut *connection)
        .await?;
        let row = Columns::new("agents", &row);
        let kind = match (here, row.opt_text("instance")?) {
            (true, _) => EventKind::AgentConnected,
            (false, None) => EventKind::AgentDisconnected,
            (false, Some(_)) => return Ok(()),
        };
        let detail = serde_json::json!({
            "agent": row.text("name")?,
            "instance": self.instance(),
        });
        let event = NewEvent::new(kind, Subject::agent(agent)).detail(detail);
        self.event_in(connection, event).await
    }

    /// The sessions that agents have with other coordinators that are at work.
    pub async fn sessions_elsewhere(&self) -> Result<Vec<SessionElsewhere>, CatalogError> {
        if !self.0.backend.is_shared() {
            return Ok(Vec::new());
        }
        let since = self.now().saturating_sub(SILENT).unwrap_or(Timestamp::MIN);
        let rows = sqlx::query(
            "SELECT s.*, c.heard_at FROM sessions s
             JOIN coordinators c ON c.instance = s.instance
             WHERE s.instance <> $1 AND c.heard_at >= $2",
        )
        .bind(self.instance().to_string())
        .bind(micros(since))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    async fn enter_coordinator_in(
        &self,
        connection: &mut AnyConnection,
        directory: Uuid,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO coordinators (instance, directory, started_at, heard_at)
             VALUES ($1, $2, $3, $3)",
        )
        .bind(self.instance().to_string())
        .bind(directory.to_string())
        .bind(micros(self.now()))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// A coordinator is gone, and its sessions with it. Their agents were there as long as
    /// it was itself.
    async fn end_coordinator_in(
        &self,
        connection: &mut AnyConnection,
        instance: Uuid,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE agents SET last_seen = (SELECT heard_at FROM coordinators WHERE instance = $1)
             WHERE id IN (SELECT agent_id FROM sessions WHERE instance = $1)
               AND COALESCE(last_seen, 0) <
                   (SELECT heard_at FROM coordinators WHERE instance = $1)",
        )
        .bind(instance.to_string())
        .execute(&mut *connection)
        .await?;
        for sql in [
            "DELETE FROM sessions WHERE instance = $1",
            "DELETE FROM coordinators WHERE instance = $1",
        ] {
            sqlx::query(sql)
                .bind(instance.to_string())
                .execute(&mut *connection)
                .await?;
        }
        let event = coordinator_event(EventKind::CoordinatorStopped, instance);
        self.event_in(connection, event).await
    }

    async fn begin_session_in(
        &self,
        connection: &mut AnyConnection,
        session: &Session,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO sessions (agent_id, session, instance, boot_id, since)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (agent_id) DO UPDATE SET
                 session = excluded.session, instance = excluded.instance,
                 boot_id = excluded.boot_id, since = excluded.since
             WHERE sessions.since <= excluded.since",
        )
        .bind(session.agent.to_string())
        .bind(session.id.to_string())
        .bind(self.instance().to_string())
        .bind(session.boot.to_string())
        .bind(micros(session.since))
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn coordinator_event(kind: EventKind, instance: Uuid) -> NewEvent {
    NewEvent::new(kind, Subject::default()).detail(serde_json::json!({ "instance": instance }))
}

/// An agent was heard of then, if not later.
async fn seen_in(
    connection: &mut AnyConnection,
    agent: AgentId,
    at: Timestamp,
) -> Result<(), CatalogError> {
    sqlx::query("UPDATE agents SET last_seen = $2 WHERE id = $1 AND COALESCE(last_seen, 0) < $2")
        .bind(agent.to_string())
        .bind(micros(at))
        .execute(connection)
        .await?;
    Ok(())
}

/// One that the agent has begun since stays.
async fn end_session_in(
    connection: &mut AnyConnection,
    session: &Session,
) -> Result<(), CatalogError> {
    sqlx::query("DELETE FROM sessions WHERE agent_id = $1 AND session = $2")
        .bind(session.agent.to_string())
        .bind(session.id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a coordinator has given no sign of life since.
async fn is_silent_in(
    connection: &mut AnyConnection,
    instance: Uuid,
    heard_at: Timestamp,
) -> Result<bool, CatalogError> {
    let row = sqlx::query("SELECT 1 FROM coordinators WHERE instance = $1 AND heard_at = $2")
        .bind(instance.to_string())
        .bind(micros(heard_at))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

fn read_session(row: &AnyRow) -> Result<Session, CatalogError> {
    let row = Columns::new("sessions", row);
    Ok(Session {
        agent: row.parse("agent_id")?,
        id: row.parse("session")?,
        boot: row.parse("boot_id")?,
        since: row.time("since")?,
    })
}

fn read(row: &AnyRow) -> Result<SessionElsewhere, CatalogError> {
    let session = read_session(row)?;
    let row = Columns::new("sessions", row);
    Ok(SessionElsewhere {
        session,
        instance: row.parse("instance")?,
        heard_at: row.time("heard_at")?,
    })
}

fn read_instance(row: &AnyRow) -> Result<Uuid, CatalogError> {
    Columns::new("coordinators", row).parse("instance")
}
