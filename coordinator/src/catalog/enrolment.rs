//! How a join token becomes an agent.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::AgentId;

use super::{
    Catalog, CatalogError,
    agents::agent_in,
    certificates::record_certificate_in,
    row::{json, micros},
    tokens::token_in,
};
use crate::model::{
    Actor, Agent, AgentCertificate, JoinToken, JoinTokenState, NewAudit, Outcome, SecretHash,
    name_from_hostname,
};

/// What enters the catalog when a join token is redeemed.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The new agent's id, chosen by the caller so that the certificate could
    /// be signed.
    pub agent: AgentId,
    /// What the host calls itself.
    pub hostname: String,
    /// Version of the agent's binary.
    pub version: String,
    /// Its first certificate.
    pub certificate: AgentCertificate,
}

/// Why a join token admits nobody.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// No such token, or the secret is not its own. Not told apart, so that
    /// nobody can search for ids.
    #[error("the join token is not known here: ask for a new one with `strongroom agents invite`")]
    Unknown,
    /// It admitted an agent before.
    #[error(
        "the join token was used at {at}: each admits one agent; ask for a new one with \
         `strongroom agents invite`"
    )]
    Used {
        /// When.
        at: Timestamp,
        /// Which agent.
        by: AgentId,
    },
    /// Its time is over.
    #[error(
        "the join token expired at {at}: ask for a new one with `strongroom agents invite`, \
         perhaps with a longer --ttl"
    )]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// An operator took it back.
    #[error("the join token was revoked at {at}")]
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// The name in the token belongs to an active agent.
    #[error(
        "the join token is for an agent named {name:?}, and there is one: revoke it first with \
         `strongroom agents revoke {name}`, or ask for a token with another name"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<sqlx::Error> for RedeemError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Trades a join token for an agent, once. A refusal is audited too.
    ///
    /// An agent named in the token takes over a revoked agent's name, and with
    /// it that agent's repository; a hostname, which nobody vouches for, gets
    /// a number behind it when the name was ever used.
    pub async fn redeem_join_token(
        &self,
        id: &str,
        secret: &SecretHash,
        enrolment: &Enrolment,
    ) -> Result<Agent, RedeemError> {
        let mut transaction = self.begin().await?;
        let redeemed = self
            .redeem_in(&mut transaction, id, secret, enrolment)
            .await;
        let refusal = match &redeemed {
            Ok(_) => None,
            Err(RedeemError::Catalog(_)) => return redeemed,
            Err(refusal) => Some(refusal.to_string()),
        };
        if let Some(reason) = refusal {
            // The id is public, but whoever made one up could make it long.
            let id: String = id.chars().take(64).collect();
            let entry = NewAudit::ok(Actor::Coordinator, "agent.enrol", &id)
                .outcome(Outcome::Refused)
                .detail(serde_json::json!({ "hostname": enrolment.hostname, "reason": reason }));
            self.audit_in(&mut transaction, entry).await?;
        }
        self.commit(transaction).await?;
        redeemed
    }

    async fn redeem_in(
        &self,
        connection: &mut AnyConnection,
        id: &str,
        secret: &SecretHash,
        enrolment: &Enrolment,
    ) -> Result<Agent, RedeemError> {
        let now = self.now();
        let token = match token_in(connection, id).await? {
            Some((token, hash)) if hash == *secret => token,
            _ => return Err(RedeemError::Unknown),
        };
        match token.state {
            JoinTokenState::Used { at, by } => return Err(RedeemError::Used { at, by }),
            JoinTokenState::Revoked { at } => return Err(RedeemError::Revoked { at }),
            JoinTokenState::Open if token.expires_at <= now => {
                return Err(RedeemError::Expired {
                    at: token.expires_at,
                });
            }
            JoinTokenState::Open => {}
        }
        let name = free_name(connection, &token, &enrolment.hostname).await?;
        sqlx::query(
            "INSERT INTO agents (id, name, labels, enrolled_at, version, hostname)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(enrolment.agent.to_string())
        .bind(name.clone())
        .bind(json(&token.labels))
        .bind(micros(now))
        .bind(enrolment.version.clone())
        .bind(enrolment.hostname.clone())
        .execute(&mut *connection)
        .await?;
        sqlx::query("UPDATE join_tokens SET used_at = $2, used_by = $3 WHERE id = $1")
            .bind(id)
            .bind(micros(now))
            .bind(enrolment.agent.to_string())
            .execute(&mut *connection)
            .await?;
        record_certificate_in(connection, &enrolment.certificate).await?;
        let entry = NewAudit::ok(
            Actor::Agent(enrolment.agent),
            "agent.enrol",
            &enrolment.agent,
        )
        .detail(serde_json::json!({
            "name": name,
            "hostname": enrolment.hostname,
            "token": id,
            "serial": enrolment.certificate.serial,
        }));
        self.audit_in(connection, entry).await?;
        Ok(agent_in(connection, enrolment.agent).await?)
    }
}

async fn free_name(
    connection: &mut AnyConnection,
    token: &JoinToken,
    hostname: &str,
) -> Result<String, RedeemError> {
    if let Some(name) = &token.agent_name {
        let active: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM agents WHERE name = $1 AND revoked_at IS NULL",
        )
        .bind(name.clone())
        .fetch_one(connection)
        .await?;
        return if active == 0 {
            Ok(name.clone())
        } else {
            Err(RedeemError::NameTaken { name: name.clone() })
        };
    }
    let base = name_from_hostname(hostname);
    let mut name = base.clone();
    let mut number = 1;
    loop {
        let used: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM agents WHERE name = $1")
            .bind(name.clone())
            .fetch_one(&mut *connection)
            .await?;
        if used == 0 {
            return Ok(name);
        }
        number += 1;
        name = format!("{base}-{number}");
    }
}
