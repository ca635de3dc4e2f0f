//! Jobs.

pub mod cancel;
pub mod list;
mod shape;
pub mod show;

use axum::{
    Router,
    routing::{get, post},
};

pub(super) use self::shape::{brief, detailed, word};
use crate::http::state::SharedState;

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/jobs", get(list::handler))
        .route("/jobs/{job}", get(show::handler))
        .route("/jobs/{job}/cancel", post(cancel::handler))
}
