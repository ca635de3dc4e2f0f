//! `/uploads`

use axum::{
    Json,
    extract::{Path, State},
};
use strongroom_layout::ObjectId;
use strongroom_wire::job::{self as wire, UploadWork};
use uuid::Uuid;

use crate::{
    http::{
        auth::Caller,
        extract::Body,
        problem::{Code, Problem},
        shape::{
            EndedTransfer, FinishUpload, Job, SendPieces, SignedRequests, Upload, UploadFormat,
            UploadRequest,
        },
        state::SharedState,
        v1::jobs,
    },
    jobs::request,
    model::{DatasetName, UPLOAD_POLICY, check_name},
};

/// Begins an upload: its pieces are sealed to the agent's key, sent to the
/// store, and taken as a snapshot.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "transfers",
    request_body = UploadRequest,
    responses(
        (status = 200, body = Upload),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn begin(
    caller: Caller,
    State(state): State<SharedState>,
    Body(request): Body<UploadRequest>,
) -> Result<Json<Upload>, Problem> {
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
    let work = UploadWork {
        dataset: dataset.clone(),
        // Both are set later.
        transfer: Uuid::nil(),
        manifest: ObjectId([0; 32]),
        tags: ["upload".to_owned()].into_iter().chain(tags).collect(),
        file_name: request.file_name,
        format: match request.format {
            UploadFormat::File => wire::UploadFormat::File,
            UploadFormat::Sql => wire::UploadFormat::Sql,
            UploadFormat::SqlGzip => wire::UploadFormat::SqlGzip,
            UploadFormat::Custom => wire::UploadFormat::Custom,
        },
        database,
    };
    let (transfer, key) = state
        .transfers
        .begin_upload(&agent, &request.store, work, caller.actor)
        .await?;
    Ok(Json(Upload {
        id: transfer.id.to_string(),
        dataset,
        public_key: key.to_string(),
    }))
}

/// Signed requests that send pieces.
#[utoipa::path(post, path = "/api/v1/uploads/{upload}/pieces", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    request_body = SendPieces,
    responses(
        (status = 200, body = SignedRequests),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn pieces(
    caller: Caller,
    State(state): State<SharedState>,
    Path(upload): Path<String>,
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
#[utoipa::path(post, path = "/api/v1/uploads/{upload}/snapshot", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    request_body = FinishUpload,
    responses(
        (status = 200, body = Job),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn finish(
    caller: Caller,
    State(state): State<SharedState>,
    Path(upload): Path<String>,
    Body(request): Body<FinishUpload>,
) -> Result<Json<Job>, Problem> {
    let manifest = super::object(&request.manifest)?;
    let id = super::id(&upload)?;
    let job = state
        .transfers
        .finish_upload(id, manifest, caller.actor)
        .await?;
    Ok(Json(jobs::brief(&state, job)))
}

/// Gives an upload up and deletes its pieces.
#[utoipa::path(delete, path = "/api/v1/uploads/{upload}", tag = "transfers",
    params(("upload" = String, Path, description = "UUID")),
    responses(
        (status = 200, body = EndedTransfer),
        (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn end(
    caller: Caller,
    State(state): State<SharedState>,
    Path(upload): Path<String>,
) -> Result<Json<EndedTransfer>, Problem> {
    let pieces = state
        .transfers
        .end(super::id(&upload)?, &caller.actor)
        .await?;
    Ok(Json(EndedTransfer { pieces }))
}
