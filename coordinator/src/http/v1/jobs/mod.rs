//! Jobs.

pub mod cancel;
mod convert;
pub mod list;
pub mod log;
pub mod show;
mod waits;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::convert::{brief, detailed, listed, listing, made, started, warning, word};
use self::waits::waits_for;

use crate::http::state::SharedState;

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_jobs))
        .routes(routes!(show::show_job))
        .routes(routes!(cancel::cancel_job))
        .routes(routes!(log::show_job_log))
}
