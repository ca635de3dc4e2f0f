//! `/downloads`

use axum::{Json, extract::State};
use strongroom_spec::DownloadSpec;

use crate::{
    http::{
        answer::Started,
        auth::Caller,
        dto::{DownloadRequest, EndedTransfer, FetchPieces, Job, SignedRequests},
        extract::{Body, Segment},
        idempotency::IdempotencyKey,
        problem::{Code, Problem},
        state::SharedState,
        v1::jobs,
    },
    jobs::request,
    restores,
};

/// Has an agent seal a file or directory of a snapshot to a public key, as a job.
///
/// When it has succeeded, its result names the manifest of the pieces.
#[utoipa::path(post, path = "/downloads", tag = "transfers", params(IdempotencyKey),
    request_body = DownloadRequest,
    responses(
        (status = 202, body = Job, description = "The job that seals the pieces"),
))]
pub async fn begin_download(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<DownloadRequest>,
) -> Result<Started<Job>, Problem> {
    let invalid = |message: String| Problem::new(Code::Invalid, message);
    let reader = request
        .public_key
        .parse()
        .map_err(|error| invalid(format!("`public_key`: {error}")))?;
    if !request.path.starts_with('/') {
        return Err(invalid(format!("{:?} does not begin with /", request.path))
            .hint("paths count from the snapshot's root: `strongroom snapshots ls` shows them"));
    }
    let snapshot = restores::readable(&state.catalog, &request.snapshot).await?;
    let agent = match &request.agent {
        Some(agent) => state.catalog.find_agent(agent).await?,
        None => state.catalog.agent(snapshot.agent).await?,
    };
    let store = state.catalog.repository(&snapshot.repository).await?.store;
    let spec = DownloadSpec {
        snapshot: snapshot.id,
        path: request.path,
        reader,
    };
    let job = request::download(&snapshot, &store, &agent, spec, caller.actor);
    let job = state.transfers.begin_download(&job).await?;
    Ok(jobs::started(&state, job))
}

/// Signed requests that fetch pieces of a finished download.
///
/// Audited.
#[utoipa::path(post, path = "/downloads/{download}/pieces", tag = "transfers",
    params(("download" = String, Path, description = "The job's id")),
    request_body = FetchPieces,
    responses(
        (status = 200, body = SignedRequests, description = "The signed requests"),
))]
pub async fn fetch_pieces(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(download): Segment,
    Body(request): Body<FetchPieces>,
) -> Result<Json<SignedRequests>, Problem> {
    let pieces = request.pieces.iter().map(|piece| super::object(piece));
    let pieces: Vec<_> = pieces.collect::<Result<_, _>>()?;
    let id = super::id(&download)?;
    let grants = state.transfers.fetch(id, &pieces, &caller.actor).await?;
    Ok(Json(super::signed(grants)))
}

/// Ends a download and deletes its pieces.
#[utoipa::path(delete, path = "/downloads/{download}", tag = "transfers",
    params(("download" = String, Path, description = "The job's id")),
    responses(
        (status = 200, body = EndedTransfer, description = "The download has ended"),
))]
pub async fn end_download(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(download): Segment,
) -> Result<Json<EndedTransfer>, Problem> {
    let pieces = state
        .transfers
        .end(super::id(&download)?, &caller.actor)
        .await?;
    Ok(Json(EndedTransfer { pieces }))
}
