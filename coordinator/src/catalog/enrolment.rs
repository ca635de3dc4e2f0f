//! How a join token becomes an agent.

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, Transaction};
use strongroom_layout::AgentId;

use super::{
    Catalog, CatalogError,
    agents::agent_in,
    certificates::{record_certificate_in, trust_only_in},
    row::{json, micros},
    tokens::token_in,
};
use crate::model::{
    Actor, Agent, AgentCertificate, AuditOutcome, EventKind, JoinToken, JoinTokenState, NewAudit,
    NewEvent, SecretHash, Subject, name_from_hostname,
};

/// What enters the catalog when a join token is redeemed.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The agent's id, so that the certificate could be signed: a new one, or
    /// what [`Catalog::agent_to_replace`] gave.
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
    /// The name in the token belongs to an agent that came after it.
    #[error(
        "the join token is for a new agent named {name:?}, and there is one meanwhile: ask for a \
         token with another name, or, if this host is to take that agent's place, for one anew"
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
    /// The agent whose place a host takes that redeems this token, if it is
    /// good for that.
    pub async fn agent_to_replace(
        &self,
        id: &str,
        secret: &SecretHash,
    ) -> Result<Option<AgentId>, CatalogError> {
        let mut transaction = self.begin().await?;
        match token_in(&mut transaction, id).await? {
            Some((token, hash)) if hash == *secret => {
                let replaced = replaced_in(&mut transaction, &token).await?;
                Ok(replaced.map(|agent| agent.id))
            }
            _ => Ok(None),
        }
    }

    /// Trades a join token for an agent, once. A refusal is audited too.
    ///
    /// A token for an agent that there was when it was made is traded for that
    /// agent: it keeps its id and with it everything that is its own, its
    /// certificates end, and labels of the token are added to its own.
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
        if let Err(error) = &redeemed {
            let hostname = &enrolment.hostname;
            return match self.refuse_in(transaction, id, hostname, error).await {
                Ok(()) => redeemed,
                Err(error) => Err(error.into()),
            };
        }
        self.commit(transaction).await?;
        redeemed
    }

    /// Whether a join token admits an agent now; a refusal is `told` of and then
    /// audited. It is asked before anything is signed.
    pub async fn look_at_join_token(
        &self,
        id: &str,
        secret: &SecretHash,
        hostname: &str,
        told: impl FnOnce() + Send,
    ) -> Result<(), RedeemError> {
        let looked = {
            let mut connection = self.pool().acquire().await?;
            good_token_in(&mut connection, id, secret, self.now()).await
        };
        match looked {
            Ok(_) => Ok(()),
            Err(RedeemError::Catalog(error)) => Err(error.into()),
            Err(error) => {
                told();
                let transaction = self.begin().await?;
                self.refuse_in(transaction, id, hostname, &error).await?;
                Err(error)
            }
        }
    }

    /// Audits what is no failure of the catalog.
    async fn refuse_in(
        &self,
        mut transaction: Transaction<'static, Any>,
        id: &str,
        hostname: &str,
        error: &RedeemError,
    ) -> Result<(), CatalogError> {
        if matches!(error, RedeemError::Catalog(_)) {
            return Ok(());
        }
        // The id is public, but whoever made one up could make it long.
        let id: String = id.chars().take(64).collect();
        let reason = error.to_string();
        let entry = NewAudit::ok(Actor::Coordinator, "agent.enrol", &id)
            .outcome(AuditOutcome::Refused)
            .detail(serde_json::json!({ "hostname": hostname, "reason": reason }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }

    async fn redeem_in(
        &self,
        connection: &mut AnyConnection,
        id: &str,
        secret: &SecretHash,
        enrolment: &Enrolment,
    ) -> Result<Agent, RedeemError> {
        let now = self.now();
        let token = good_token_in(connection, id, secret, now).await?;
        let replaced = replaced_in(connection, &token).await?;
        let name = match &replaced {
            Some(agent) if agent.id == enrolment.agent => {
                let mut labels = agent.labels.clone();
                labels.extend(token.labels.clone());
                sqlx::query(
                    "UPDATE agents SET labels = $2, version = $3, hostname = $4, contest = NULL
                     WHERE id = $1",
                )
                .bind(enrolment.agent.to_string())
                .bind(json(&labels))
                .bind(enrolment.version.clone())
                .bind(enrolment.hostname.clone())
                .execute(&mut *connection)
                .await?;
                agent.name.clone()
            }
            _ => {
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
                name
            }
        };
        sqlx::query("UPDATE join_tokens SET used_at = $2, used_by = $3 WHERE id = $1")
            .bind(id)
            .bind(micros(now))
            .bind(enrolment.agent.to_string())
            .execute(&mut *connection)
            .await?;
        record_certificate_in(connection, &enrolment.certificate).await?;
        if replaced.is_some() {
            let serial = &enrolment.certificate.serial;
            trust_only_in(connection, enrolment.agent, serial, now).await?;
        }
        let event = NewEvent::new(EventKind::AgentEnrolled, Subject::agent(enrolment.agent))
            .detail(serde_json::json!({ "agent": name, "replaced": replaced.is_some() }));
        self.event_in(connection, event).await?;
        let entry = NewAudit::ok(
            Actor::Agent(enrolment.agent),
            "agent.enrol",
            &enrolment.agent,
        )
        .detail(serde_json::json!({
            "name": name,
            "hostname": enrolment.hostname,
            "replaced": replaced.is_some(),
            "token": id,
            "serial": enrolment.certificate.serial,
        }));
        self.audit_in(connection, entry).await?;
        Ok(agent_in(connection, enrolment.agent).await?)
    }
}

/// A token that admits an agent now.
async fn good_token_in(
    connection: &mut AnyConnection,
    id: &str,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<JoinToken, RedeemError> {
    let token = match token_in(connection, id).await? {
        Some((token, hash)) if hash == *secret => token,
        _ => return Err(RedeemError::Unknown),
    };
    match token.state {
        JoinTokenState::Used { at, by } => Err(RedeemError::Used { at, by }),
        JoinTokenState::Revoked { at } => Err(RedeemError::Revoked { at }),
        JoinTokenState::Open if token.expires_at <= now => Err(RedeemError::Expired {
            at: token.expires_at,
        }),
        JoinTokenState::Open => Ok(token),
    }
}

/// The agent whose place is taken: it is revoked by nobody meanwhile.
async fn replaced_in(
    connection: &mut AnyConnection,
    token: &JoinToken,
) -> Result<Option<Agent>, CatalogError> {
    let Some(id) = token.replaces else {
        return Ok(None);
    };
    let agent = agent_in(connection, id).await?;
    Ok(Some(agent).filter(Agent::is_active))
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
