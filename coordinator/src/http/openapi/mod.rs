//! The OpenAPI document, collected from the routes: an operation is in it
//! because it is answered to.
//!
//! What is the same for all operations, [`common`] adds: the problems they may
//! answer with, and the bounds that all texts have.

mod common;
pub use self::common::IDEMPOTENCY_KEY;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Extension, Json};
use serde_json::Value;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{problem, state::SharedState};

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Strongroom",
        description = "The coordinator's REST API: the only way in for operators. Every request \
                       bears an operator's token. Whatever is no success is a problem (RFC 9457) \
                       with a stable code, a detail and a hint. Lists come in pages, newest \
                       first: `next_before` of one page is `before` of the next, and so is the \
                       link `next` of the header `Link`. Times are RFC 3339 in UTC, sizes bytes.",
    ),
    tags(
        (name = "agents", description = "Agents, and invitations for new ones"),
        (name = "audit", description = "Who did what"),
        (name = "coordinator", description = "The coordinator and its API"),
        (name = "events", description = "What changed, for programs that follow"),
        (name = "jobs", description = "Units of work for agents"),
        (name = "operators", description = "People and programs with a token"),
        (name = "policies", description = "What is backed up, when and where to"),
        (name = "repositories", description = "The restic repositories in the stores"),
        (name = "restores", description = "Snapshots, written back"),
        (name = "snapshots", description = "Finished backups, and what is in them"),
        (name = "stores", description = "S3 stores, and whether anything is signed for them"),
        (name = "transfers", description = "Uploads and downloads, past the coordinator"),
    ),
    components(schemas(problem::Problem)),
    modifiers(&BearerToken)
)]
struct Base;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An operator's token, as its profile holds it"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
        document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(
            "token",
            [],
        )]);
    }
}

/// Splits routes into what answers them and the document that describes them.
pub(super) fn split(routes: OpenApiRouter<SharedState>) -> (axum::Router<SharedState>, Arc<Value>) {
    let base = OpenApiRouter::with_openapi(Base::openapi());
    let (router, document) = base.merge(routes).split_for_parts();
    // It consists of maps, lists and texts: nothing in it cannot be JSON.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    common::complete(&mut document);
    (router, Arc::new(document))
}

/// The document.
pub fn document() -> Arc<Value> {
    split(super::routes()).1
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "coordinator", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
pub(super) async fn show_openapi(Extension(document): Extension<Arc<Value>>) -> Json<Arc<Value>> {
    Json(document)
}
