//! Agents' certificates: a renewed one, once used, ends those before it.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};
use strongroom_layout::AgentId;

use super::{
    Catalog, CatalogError, agents,
    row::{Columns, micros, read_all},
};
use crate::model::{Actor, Agent, AgentCertificate, AuditOutcome, CertificateEnd, NewAudit};

/// Certificates that are signed for an agent in an hour, or in the life of one that
/// holds for less: it renews one when most of its life is over.
const RENEWALS: i64 = 6;
const LATELY: SignedDuration = SignedDuration::from_hours(1);

/// So many of them unused are no lost answers: whoever keeps the agent from renewing
/// asks for them.
const UNUSED: i64 = 5;

/// Why a certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// It was, a moment ago.
    #[error(
        "{RENEWALS} certificates were signed for this agent a moment ago: use the last of them, \
         and ask again later"
    )]
    TooOften,
    /// It has ended meanwhile, or its agent is served no longer.
    #[error("the certificate that asks for another has ended, or its agent is not served any more")]
    Ended,
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<sqlx::Error> for RenewError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Whether an agent may have its certificate renewed now, for a `lifetime`; that it
    /// may not is audited once an hour. Asked before anything is signed: whether it may be
    /// given is decided by [`record_certificate`](Self::record_certificate).
    pub async fn may_renew(&self, id: AgentId, lifetime: SignedDuration) -> Result<(), RenewError> {
        let since = before(self.now(), lifetime);
        if signed_since(&mut *self.pool().acquire().await?, id, since).await? < RENEWALS {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        let told: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM audit
             WHERE object = $1 AND action = 'certificate.renew' AND outcome = $2 AND at > $3",
        )
        .bind(id.to_string())
        .bind(AuditOutcome::Refused.as_str())
        .bind(micros(before(self.now(), LATELY)))
        .fetch_one(&mut *transaction)
        .await?;
        if told == 0 {
            let entry = NewAudit::ok(Actor::Agent(id), "certificate.renew", &id)
                .outcome(AuditOutcome::Refused)
                .detail(serde_json::json!({ "reason": RenewError::TooOften.to_string() }));
            self.audit_in(&mut transaction, entry).await?;
            self.commit(transaction).await?;
        }
        Err(RenewError::TooOften)
    }

    /// Whether most of the certificates that were signed for an agent lately, for a
    /// `lifetime`, were never used.
    pub async fn wastes_renewals(
        &self,
        id: AgentId,
        lifetime: SignedDuration,
    ) -> Result<bool, CatalogError> {
        let unused: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM agent_certificates
             WHERE agent_id = $1 AND issued_at > $2 AND first_used_at IS NULL",
        )
        .bind(id.to_string())
        .bind(micros(before(self.now(), lifetime)))
        .fetch_one(self.pool())
        .await?;
        Ok(unused >= UNUSED)
    }

    /// Notes a certificate that was signed on renewal, for who shows that of the
    /// serial `shown`: it must hold still, for to ask takes time in which another
    /// may have taken the agent's place. One that was signed before
    /// it and never used ends: the answer was lost, or it is somebody else's. The
    /// first one is noted by [`redeem_join_token`](Self::redeem_join_token).
    pub async fn record_certificate(
        &self,
        certificate: &AgentCertificate,
        shown: &str,
    ) -> Result<(), RenewError> {
        let now = self.now();
        let agent = certificate.agent.to_string();
        let mut transaction = self.begin().await?;
        let holding: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM agent_certificates JOIN agents
               ON agents.id = agent_certificates.agent_id
             WHERE agents.id = $1 AND serial = $2 AND ended_at IS NULL
               AND revoked_at IS NULL AND contest IS NULL",
        )
        .bind(agent.clone())
        .bind(shown.to_owned())
        .fetch_one(&mut *transaction)
        .await?;
        if holding == 0 {
            return Err(RenewError::Ended);
        }
        let since = before(now, certificate.not_after.duration_since(now));
        if signed_since(&mut transaction, certificate.agent, since).await? >= RENEWALS {
            return Err(RenewError::TooOften);
        }
        sqlx::query(
            "UPDATE agent_certificates SET ended_at = $2, ended_by_operator = 0
             WHERE agent_id = $1 AND first_used_at IS NULL AND ended_at IS NULL",
        )
        .bind(agent.clone())
        .bind(micros(now))
        .execute(&mut *transaction)
        .await?;
        // TLS refuses those that are over.
        sqlx::query("DELETE FROM agent_certificates WHERE agent_id = $1 AND not_after < $2")
            .bind(agent)
            .bind(micros(now))
            .execute(&mut *transaction)
            .await?;
        record_certificate_in(&mut transaction, certificate).await?;
        let entry = entry("certificate.renew", certificate);
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(())
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
        let columns = agents::COLUMNS;
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {columns}, shown.serial, shown.agent_id, shown.issued_at, shown.not_after,
                    shown.first_used_at, shown.ended_at, shown.ended_by_operator
             FROM agents LEFT JOIN agent_certificates shown
               ON shown.agent_id = agents.id AND shown.serial = $2
             WHERE agents.id = $1",
        )))
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

/// So long ago, or an hour.
fn before(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_sub(by.min(LATELY)).unwrap_or(Timestamp::MIN)
}

/// How many certificates were signed for an agent since then.
async fn signed_since(
    connection: &mut AnyConnection,
    id: AgentId,
    since: Timestamp,
) -> Result<i64, CatalogError> {
    let signed = sqlx::query_scalar(
        "SELECT COUNT(*) FROM agent_certificates WHERE agent_id = $1 AND issued_at > $2",
    )
    .bind(id.to_string())
    .bind(micros(since))
    .fetch_one(connection)
    .await?;
    Ok(signed)
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
