//! Jobs.

pub mod cancel;
pub mod list;
pub mod log;
mod shape;
pub mod show;
mod waits;

use axum::{
    Router,
    routing::{get, post},
};

pub(super) use self::shape::{brief, detailed, warning, word};
use self::waits::waits_for;
use crate::http::state::SharedState;

pub(super) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/jobs", get(list::handler))
        .route("/jobs/{job}", get(show::handler))
        .route("/jobs/{job}/cancel", post(cancel::handler))
        .route("/jobs/{job}/log", get(log::handler))
}
