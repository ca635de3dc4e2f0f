//! Agents' certificates: a renewed one, once used, ends those before it.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use strongroom_layout::AgentId;

use super::{
    Catalog, CatalogError, agents,
    row::{Columns, micros, read_all},
};
use crate::model::{Actor, Agent, AgentCertificate, CertificateEnd, NewAudit};

impl Catalog {
    /// Notes a certificate that was signed on renewal. The first one is noted
    /// by [`redeem_join_token`](Self::redeem_join_token).
    pub async fn record_certificate(
        &self,
        certificate: &AgentCertificate,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        record_certificate_in(&mut transaction, certificate).await?;
        let entry = entry("certificate.renew", certificate);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }

    /// The certificates of an agent, newest first.
    pub async fn certificates(&self, id: AgentId) -> Result<Vec<AgentCertificate>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM agent_certificates WHERE agent_id = $1 ORDER BY issued_at DESC",
        )
        .bind(id.to_string())
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    /// An agent, and what is known of a certificate that it shows: `None` if
    /// the catalog is older than that.
    pub async fn agent_showing(
        &self,
        id: AgentId,
        serial: &str,
    ) -> Result<(Agent, Option<AgentCertificate>), CatalogError> {
        let row = sqlx::query(
            "SELECT agents.*, shown.serial, shown.agent_id, shown.issued_at, shown.not_after,
                    shown.first_used_at, shown.ended_at, shown.ended_by_operator
             FROM agents LEFT JOIN agent_certificates shown
               ON shown.agent_id = agents.id AND shown.serial = $2
             WHERE agents.id = $1",
        )
        .bind(id.to_string())
        .bind(serial)
        .fetch_optional(self.pool())
        .await?
        .ok_or_else(|| CatalogError::not_found("agent", &id))?;
        let agent = agents::read(&row)?;
        let known: Option<String> = row.try_get("serial")?;
        let certificate = known.map(|_| read(&row)).transpose()?;
        Ok((agent, certificate))
    }

    /// The certificate is shown for the first time: those that were signed
    /// before it end. One that the catalog does not know, because it was
    /// restored from a backup, is entered.
    pub async fn first_use(&self, shown: &AgentCertificate) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let known = certificate_in(&mut transaction, &shown.serial).await?;
        let shown = known.as_ref().unwrap_or(shown);
        if shown.first_used_at.is_some() || shown.ended.is_some() {
            return Ok(());
        }
        if known.is_none() {
            record_certificate_in(&mut transaction, shown).await?;
            let entry = entry("certificate.adopt", shown);
            self.audit_in(&mut transaction, entry).await?;
        }
        let now = micros(self.now());
        sqlx::query("UPDATE agent_certificates SET first_used_at = $2 WHERE serial = $1")
            .bind(shown.serial.clone())
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE agent_certificates SET ended_at = $3, ended_by_operator = 0
             WHERE agent_id = $1 AND issued_at <= $2 AND serial <> $4 AND ended_at IS NULL",
        )
        .bind(shown.agent.to_string())
        .bind(micros(shown.issued_at))
        .bind(now)
        .bind(shown.serial.clone())
        .execute(&mut *transaction)
        .await?;
        self.commit(transaction).await
    }
}

fn entry(action: &str, certificate: &AgentCertificate) -> NewAudit {
    NewAudit::ok(Actor::Agent(certificate.agent), action, &certificate.agent).detail(
        serde_json::json!({
            "serial": certificate.serial,
            "not_after": certificate.not_after,
        }),
    )
}

pub(super) async fn record_certificate_in(
    connection: &mut AnyConnection,
    certificate: &AgentCertificate,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO agent_certificates (serial, agent_id, issued_at, not_after)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(certificate.serial.clone())
    .bind(certificate.agent.to_string())
    .bind(micros(certificate.issued_at))
    .bind(micros(certificate.not_after))
    .execute(connection)
    .await?;
    Ok(())
}

async fn certificate_in(
    connection: &mut AnyConnection,
    serial: &str,
) -> Result<Option<AgentCertificate>, CatalogError> {
    let row = sqlx::query("SELECT * FROM agent_certificates WHERE serial = $1")
        .bind(serial)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Only this one of the agent's certificates is good, whatever became of it;
/// the others end.
pub(super) async fn trust_only_in(
    connection: &mut AnyConnection,
    agent: AgentId,
    serial: &str,
    now: Timestamp,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE agent_certificates SET ended_at = NULL, ended_by_operator = NULL,
                first_used_at = COALESCE(first_used_at, $2) WHERE serial = $1",
    )
    .bind(serial)
    .bind(micros(now))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE agent_certificates SET ended_at = COALESCE(ended_at, $3), ended_by_operator = 1
         WHERE agent_id = $1 AND serial <> $2",
    )
    .bind(agent.to_string())
    .bind(serial)
    .bind(micros(now))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<AgentCertificate, CatalogError> {
    let row = Columns::new("agent_certificates", row);
    let ended = row
        .opt_time("ended_at")?
        .map(|at| {
            Ok::<_, CatalogError>(CertificateEnd {
                at,
                by_operator: row.flag("ended_by_operator")?,
            })
        })
        .transpose()?;
    Ok(AgentCertificate {
        serial: row.text("serial")?,
        agent: row.parse("agent_id")?,
        issued_at: row.time("issued_at")?,
        not_after: row.time("not_after")?,
        first_used_at: row.opt_time("first_used_at")?,
        ended,
    })
}
