//! `/uploads`

use axum::{Json, extract::State};
use strongroom_layout::ObjectId;
use strongroom_spec::{UploadFormat, UploadSpec};
use uuid::Uuid;

use crate::{
    http::{
        answer::{Created, Started, location},
        auth::Caller,
        dto::{
            EndedTransfer, FinishUpload, Job, SendPieces, SignedRequests, Upload, UploadProgress,
            UploadRequest,
        },
        extract::{Body, Segment},
        idempotency::IdempotencyKey,
        problem::{Code, Problem},
        state::SharedState,
        v1::jobs,
    },
    jobs::request,
    model::{DatasetName, UPLOAD_POLICY, check_name},
};

/// Begins an upload.
///
/// Its pieces are sealed to the agent's key, sent to the store, and taken as a
/// snapshot.
#[utoipa::path(post, path = "/uploads", tag = "transfers", params(IdempotencyKey),
    request_body = UploadRequest,
    responses(
        (status = 201, body = Upload, description = "The upload"),
))]
pub async fn begin_upload(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<UploadRequest>,
) -> Result<Created<Upload>, Problem> {
    let invalid = |message: String| Problem::new(Code::Invalid, message);
    let agent = state.catalog.find_agent(&request.agent).await?;
    let policy = format!("{}{}", UPLOAD_POLICY, request.name);
    check_name("upload", &policy).map_err(|error| invalid(error.to_string()))?;
    let file = &request.file_name;
    let possible = (1..=255).contains(&file.len()) && !file.contains(['/', '\0']);
    if !possible || file == "." || file == ".." {
        return Err(invalid(format!("{file:?} cannot be the name of a file")));
    }
    let database = match request.format {
        UploadFormat::File => String::new(),
        _ => request.database.unwrap_or(request.name),
    };
    if database.len() > 63 || database.contains('\0') {
        return Err(invalid(format!(
            "{database:?} cannot be the name of a database"
        )));
    }
    let dataset = DatasetName::new(&policy, &agent.name);
    let tags = request::tags(&dataset, "upload");
    let dataset = dataset.to_string();
    let work = UploadSpec {
        dataset: dataset.clone(),
        // Both are set later.
        transfer: Uuid::nil(),
        manifest: ObjectId([0; 32]),
        tags: ["upload".to_owned()].into_iter().chain(tags).collect(),
        file_name: request.file_name,
        format: request.format,
        database,
    };
    let (transfer, key) = state
        .transfers
        .begin_upload(&agent, &request.store, work, caller.actor)
        .await?;
    let id = transfer.id.to_string();
    let at = location("uploads", &id);
    let upload = Upload {
        id,
        dataset,
        public_key: key.to_string(),
    };
    Ok(Created(at, upload))
}

/// How far an upload is.
#[utoipa::path(get, path = "/uploads/{upload}", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    responses(
        (status = 200, body = UploadProgress, description = "The upload"),
))]
pub async fn show_upload(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(upload): Segment,
) -> Result<Json<UploadProgress>, Problem> {
    let id = super::id(&upload)?;
    let transfer = state.transfers.find_upload(id, &caller.actor).await?;
    Ok(Json(UploadProgress {
        id: transfer.id.to_string(),
        dataset: transfer.upload.map(|it| it.dataset).unwrap_or_default(),
        created_at: transfer.created_at,
        job: transfer.job.map(|job| job.to_string()),
        ended_at: transfer.ended_at,
    }))
}

/// Signed requests that send pieces.
#[utoipa::path(post, path = "/uploads/{upload}/pieces", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    request_body = SendPieces,
    responses(
        (status = 200, body = SignedRequests, description = "The signed requests"),
))]
pub async fn send_pieces(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(upload): Segment,
    Body(request): Body<SendPieces>,
) -> Result<Json<SignedRequests>, Problem> {
    let pieces = request.pieces.iter();
    let pieces: Vec<_> = pieces
        .map(|piece| Ok((super::object(&piece.sha256)?, piece.bytes)))
        .collect::<Result<_, Problem>>()?;
    let id = super::id(&upload)?;
    let grants = state.transfers.send(id, &pieces, &caller.actor).await?;
    Ok(Json(super::signed(grants)))
}

/// All pieces are sent: the agent makes a snapshot of them, as a job.
#[utoipa::path(post, path = "/uploads/{upload}/snapshot", tag = "transfers",
    params(IdempotencyKey, ("upload" = String, Path, description = "UUID")),
    request_body = FinishUpload,
    responses(
        (status = 202, body = Job, description = "The job that takes the pieces"),
))]
pub async fn finish_upload(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(upload): Segment,
    Body(request): Body<FinishUpload>,
) -> Result<Started<Job>, Problem> {
    let manifest = super::object(&request.manifest)?;
    let id = super::id(&upload)?;
    let job = state
        .transfers
        .finish_upload(id, manifest, caller.actor)
        .await?;
    Ok(jobs::started(&state, job))
}

/// Gives an upload up and deletes its pieces.
#[utoipa::path(delete, path = "/uploads/{upload}", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    responses(
        (status = 200, body = EndedTransfer, description = "The upload has ended"),
))]
pub async fn end_upload(
    caller: Caller,
    State(state): State<SharedState>,
    Segment(upload): Segment,
) -> Result<Json<EndedTransfer>, Problem> {
    let pieces = state
        .transfers
        .end(super::id(&upload)?, &caller.actor)
        .await?;
    Ok(Json(EndedTransfer { pieces }))
}
