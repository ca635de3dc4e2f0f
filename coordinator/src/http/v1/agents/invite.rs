//! `POST /agents/invite`

use std::time::Duration;

use axum::extract::State;
use jiff::SignedDuration;
use strongroom_runtime::files;
use strongroom_wire::identity::JoinToken;
use zeroize::Zeroizing;

use crate::{
    http::{
        answer::{Created, location},
        auth::Caller,
        dto::{Invitation, InviteRequest},
        extract::Body,
        idempotency::{IdempotencyKey, Secret},
        problem::{Code, Problem},
        state::SharedState,
    },
    model::{NewJoinToken, SecretHash},
};

/// A token may be used for this long at most.
const MAX_TTL: Duration = Duration::from_hours(30 * 24);

/// Makes a one-time token with which one agent may enrol.
///
/// It is shown this once.
#[utoipa::path(post, path = "/agents/invite", tag = "agents", params(IdempotencyKey),
    request_body = InviteRequest,
    responses(
        (status = 201, body = Invitation, description = "The invitation, with its token"),
))]
pub async fn invite_agent(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<InviteRequest>,
) -> Result<Secret<Created<Invitation>>, Problem> {
    let ttl = Duration::from_secs(request.ttl_seconds);
    if ttl.is_zero() || ttl > MAX_TTL {
        return Err(
            Problem::new(Code::Invalid, "a token may be used for 1 second to 30 days")
                .hint("give another --ttl, such as 1h"),
        );
    }
    let random = |error: std::io::Error| Problem::internal(&error);
    let id = hex::<8>().map_err(random)?.to_string();
    let secret = hex::<32>().map_err(random)?;
    let now = state.catalog.clock().now();
    let new = NewJoinToken {
        id: id.clone(),
        secret: SecretHash::of(&secret),
        labels: request.labels,
        agent_name: request.name,
        expires_at: now
            .saturating_add(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::ZERO))
            .unwrap_or(now),
    };
    let entered = state.catalog.create_join_token(&new, &caller.actor).await?;
    let token = JoinToken {
        id,
        secret,
        ca_fingerprint: state.ca_fingerprint,
    };
    let at = location("invitations", &entered.id);
    let invitation = Invitation {
        token_id: entered.id,
        token: token.to_string(),
        coordinator: state.agents_address.clone(),
        ca_fingerprint: data_encoding::HEXLOWER.encode(&state.ca_fingerprint),
        name: entered.agent_name,
        replaces: entered.replaces.map(|agent| agent.to_string()),
        labels: entered.labels,
        expires_at: entered.expires_at,
    };
    Ok(Secret(Created(at, invitation)))
}

/// `N` random bytes as letters and digits, as join tokens have them.
fn hex<const N: usize>() -> std::io::Result<Zeroizing<String>> {
    let bytes = files::random_bytes::<N>()?;
    Ok(Zeroizing::new(
        data_encoding::HEXLOWER.encode(bytes.as_ref()),
    ))
}
