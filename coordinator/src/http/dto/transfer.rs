//! Uploads and downloads.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_spec::UploadFormat;
use utoipa::ToSchema;

/// Asks an agent to seal a part of a snapshot to the one who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadRequest {
    /// Id or unique prefix.
    pub snapshot: String,
    /// A file, or a directory, which becomes a tar; `/` for everything.
    #[schema(pattern = r"^/[^\u0000]*$")]
    pub path: String,
    /// The agent that reads it, when the snapshot's own is gone: name or id.
    #[serde(default)]
    pub agent: Option<String>,
    /// X25519, 64 hex digits: to which the pieces are sealed.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub public_key: String,
}

/// Begins an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// The agent that takes it: name or id.
    pub agent: String,
    /// The store of its repository.
    pub store: String,
    /// The dataset becomes `upload-NAME@agent`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,57}$")]
    pub name: String,
    /// What the file is called, without directories: 255 bytes at most.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^/\u0000]*$")]
    pub file_name: String,
    /// What is in it.
    pub format: UploadFormat,
    /// The database that a dump is of: 63 bytes at most; by default the name.
    #[serde(default)]
    #[schema(max_length = 63)]
    pub database: Option<String>,
}

/// An upload that has begun: send its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// UUID.
    pub id: String,
    /// The dataset of the snapshot.
    pub dataset: String,
    /// X25519, 64 hex digits: to which pieces are to be sealed.
    pub public_key: String,
}

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadProgress {
    /// UUID.
    pub id: String,
    /// The dataset of the snapshot.
    pub dataset: String,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The job that takes the pieces; `null` while they still come.
    pub job: Option<String>,
    /// When it was given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// Asks for requests that fetch pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchPieces {
    /// SHA-256 of each: 64 hex digits. At most 64 at once.
    #[schema(max_items = 64)]
    pub pieces: Vec<String>,
}

/// Asks for requests that send pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendPieces {
    /// At most 64 at once.
    #[schema(max_items = 64)]
    pub pieces: Vec<Piece>,
}

/// A piece that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// SHA-256: 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// Its length.
    #[schema(maximum = 8_388_608)]
    pub bytes: u64,
}

/// Signed requests to the store, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedRequests {
    /// To be sent as they are.
    pub requests: Vec<SignedRequest>,
}

/// One signed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedRequest {
    /// `GET` or `PUT`.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Name and value.
    // Generators of clients know no tuples.
    #[schema(value_type = Vec<Vec<String>>)]
    pub headers: Vec<(String, String)>,
    /// How long the store accepts it.
    pub valid_seconds: u32,
}

/// All pieces of an upload are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishUpload {
    /// SHA-256 of the piece that lists the others: 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub manifest: String,
}

/// A transfer has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndedTransfer {
    /// Pieces that were deleted.
    pub pieces: u64,
}
