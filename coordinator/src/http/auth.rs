//! Bearer tokens.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use strongroom_runtime::files;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    problem::{Code, Problem},
    state::{ApiState, SharedState},
};
use crate::{
    catalog::Catalog,
    door::Visit,
    identity::{self, Throttle},
    model::{Actor, Operator, SecretHash},
};

/// What a token begins with, so that people and scanners recognise one.
const PREFIX: &str = "sro_";

/// Tokens that were good lately, so that those who have one get in while
/// somebody guesses from their address.
const MAX_REMEMBERED: usize = 1024;

/// Who sends the request: an operator with a valid token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the audit log.
    pub actor: Actor,
}

/// A new token and the hash by which the catalog knows it.
pub fn new_token() -> std::io::Result<(Zeroizing<String>, SecretHash)> {
    let secret = files::random_text::<32>()?;
    let token = Zeroizing::new(format!("{PREFIX}{}", *secret));
    let hash = SecretHash::of(&token);
    Ok((token, hash))
}

/// Sees to it that nobody tries tokens without end, and that whoever tries is
/// audited.
#[derive(Debug, Default)]
pub struct Sentry {
    throttle: Arc<Throttle>,
    good: Mutex<HashSet<SecretHash>>,
}

impl Sentry {
    /// Audits bursts of refused tokens until `cancel`.
    pub fn report(
        &self,
        catalog: Catalog,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        identity::report(
            Arc::clone(&self.throttle),
            "operator.refuse",
            1,
            catalog,
            cancel,
        )
    }

    /// Refuses an address from which too many wrong tokens came, unless this
    /// token was good lately.
    fn check(
        &self,
        address: IpAddr,
        token: Option<&SecretHash>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(wait) = self.throttle.wait(address, now) else {
            return Ok(());
        };
        if token.is_some_and(|token| self.good.lock().contains(token)) {
            return Ok(());
        }
        self.throttle.refused(address, now);
        Err(too_many(wait))
    }

    fn remember(&self, token: SecretHash) {
        let mut good = self.good.lock();
        // Rather forget all than keep an order: they come again.
        if good.len() >= MAX_REMEMBERED && !good.contains(&token) {
            good.clear();
        }
        good.insert(token);
    }

    fn refused(&self, address: IpAddr, token: Option<&SecretHash>, now: Timestamp) {
        if let Some(token) = token {
            self.good.lock().remove(token);
        }
        self.throttle.refused(address, now);
    }
}

fn too_many(wait: SignedDuration) -> Problem {
    let seconds = u64::try_from(wait.as_secs()).unwrap_or(0).max(1);
    Problem::new(
        Code::TooMany,
        "too many wrong tokens came from this address",
    )
    .hint(format!("try again in {seconds} seconds"))
    .retry_after(seconds)
}

impl FromRequestParts<SharedState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &SharedState,
    ) -> Result<Self, Self::Rejection> {
        if let Some(known) = parts.extensions.remove::<Self>() {
            return Ok(known);
        }
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(SecretHash::of);
        let visit = parts.extensions.get::<Visit>();
        let address = visit.map(|visit| visit.address().ip());
        let now = state.catalog.clock().now();
        if let Some(address) = address {
            state.sentry.check(address, token.as_ref(), now)?;
        }
        match identify(token, state, now).await {
            Ok(operator) => {
                if let Some(token) = token {
                    state.sentry.remember(token);
                }
                if let Some(visit) = visit {
                    visit.recognise(&operator.name);
                }
                Ok(Self {
                    actor: Actor::Operator(operator.name),
                })
            }
            Err(problem) => {
                if let Some(address) = address.filter(|_| problem.code == Code::Unauthorised) {
                    tracing::warn!(%address, reason = problem.detail, "refused a request");
                    state.sentry.refused(address, token.as_ref(), now);
                }
                Err(problem)
            }
        }
    }
}

/// Whose token it is. Looked up by its hash: how long that takes says nothing
/// of the token.
async fn identify(
    token: Option<SecretHash>,
    state: &ApiState,
    now: Timestamp,
) -> Result<Operator, Problem> {
    let refused = |message: String| Problem::new(Code::Unauthorised, message);
    let Some(token) = token else {
        return Err(refused("the request bears no token".into())
            .hint("send the header Authorization: Bearer TOKEN"));
    };
    match state.catalog.verify_operator(&token).await? {
        Some(operator) if operator.is_valid(now) => Ok(operator),
        Some(Operator {
            name, expires_at, ..
        }) => {
            let ended = expires_at.map_or_else(String::new, |end| format!(" at {end}"));
            Err(
                refused(format!("the token of {name} expired{ended}")).hint(format!(
                    "ask another operator for a new one: `strongroom operators renew {name}`; when \
                 nobody has one, restart the coordinator: it makes a new profile in its data \
                 directory"
                )),
            )
        }
        None => Err(refused("the token is unknown or revoked".into())
            .hint("ask another operator for a new profile: `strongroom operators create`")),
    }
}
