//! Uploads and downloads. No byte of them comes through here: who asks gets
//! signed requests to the store.

pub mod download;
pub mod upload;

use strongroom_layout::ObjectId;
use strongroom_wire::grant::Grant;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    http::{
        dto::{SignedRequest, SignedRequests},
        problem::{Code, Problem},
        state::SharedState,
    },
    transfers::TransferError,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(download::begin_download))
        .routes(routes!(download::end_download))
        .routes(routes!(download::fetch_pieces))
        .routes(routes!(upload::begin_upload))
        .routes(routes!(upload::show_upload, upload::end_upload))
        .routes(routes!(upload::send_pieces))
        .routes(routes!(upload::finish_upload))
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        let message = error.to_string();
        match error {
            TransferError::NotYours(_) | TransferError::NoPiece { .. } => {
                Self::new(Code::NotFound, message)
                    .hint("only the operator who began a transfer has a part in it")
            }
            TransferError::State { .. } | TransferError::NoKey(_) => {
                Self::new(Code::Conflict, message)
            }
            TransferError::NoStore(_) => Self::new(Code::NotFound, message),
            TransferError::TooLarge(_) => Self::new(Code::TooLarge, message),
            TransferError::Catalog(error) => error.into(),
            TransferError::Store(_) | TransferError::NotSigned(_) => {
                Self::new(Code::Unavailable, message)
            }
            TransferError::Key(_) | TransferError::Sign(_) => Self::internal(&error),
        }
    }
}

fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse()
        .map_err(|_| Problem::new(Code::NotFound, format!("{text:?} is no transfer's id")))
}

fn object(text: &str) -> Result<ObjectId, Problem> {
    text.parse()
        .map_err(|error| Problem::new(Code::Invalid, format!("{error}")))
}

fn signed(grants: Vec<Grant>) -> SignedRequests {
    let request = |grant: Grant| SignedRequest {
        method: grant.method,
        url: grant.url,
        headers: grant.headers,
        valid_seconds: grant.valid_seconds,
    };
    SignedRequests {
        requests: grants.into_iter().map(request).collect(),
    }
}
