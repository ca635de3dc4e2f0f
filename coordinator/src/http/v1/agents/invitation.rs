//! `GET /invitations/{invitation}`

use axum::{Json, extract::State};

use crate::{
    http::{
        auth::Caller,
        dto::{InvitationState, InvitationStatus},
        extract::Segment,
        problem::Problem,
        state::SharedState,
    },
    model::JoinTokenState,
};

/// What has become of an invitation.
#[utoipa::path(get, path = "/invitations/{invitation}", tag = "agents",
    params(("invitation" = String, Path, description = "Public half of its token")),
    responses(
        (status = 200, body = InvitationStatus, description = "The invitation, without its token"),
))]
pub async fn show_invitation(
    _caller: Caller,
    State(state): State<SharedState>,
    Segment(id): Segment,
) -> Result<Json<InvitationStatus>, Problem> {
    let token = state.catalog.join_token(&id).await?;
    let now = state.catalog.clock().now();
    let (standing, agent) = match token.state {
        JoinTokenState::Used { by, .. } => (InvitationState::Used, Some(by.to_string())),
        JoinTokenState::Revoked { .. } => (InvitationState::Revoked, None),
        JoinTokenState::Open if token.expires_at <= now => (InvitationState::Expired, None),
        JoinTokenState::Open => (InvitationState::Open, None),
    };
    Ok(Json(InvitationStatus {
        token_id: token.id,
        state: standing,
        agent,
        name: token.agent_name,
        labels: token.labels,
        created_at: token.created_at,
        expires_at: token.expires_at,
    }))
}
