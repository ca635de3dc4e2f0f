//! The OpenAPI document, made from the endpoints' own annotations.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::v1;

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Strongroom",
        description = "The coordinator's REST API: the only way in for operators. Every request \
                       bears an operator's token. Whatever is no success is a problem with a \
                       stable code, a message and a hint.",
    ),
    paths(
        v1::agents::invite::handler,
        v1::agents::label::handler,
        v1::agents::list::handler,
        v1::agents::revoke::handler,
        v1::agents::show::handler,
        v1::agents::trust::handler,
        v1::audit::handler,
        v1::jobs::cancel::handler,
        v1::jobs::list::handler,
        v1::jobs::log::handler,
        v1::jobs::show::handler,
        v1::operators::create::handler,
        v1::operators::list::handler,
        v1::operators::renew::handler,
        v1::operators::revoke::handler,
        v1::policies::apply::handler,
        v1::policies::delete::handler,
        v1::policies::list::handler,
        v1::policies::run::handler,
        v1::policies::show::handler,
        v1::repositories::list::handler,
        v1::repositories::losses::accept,
        v1::repositories::losses::compare,
        v1::repositories::losses::show,
        v1::repositories::password::handler,
        v1::restores::handler,
        v1::snapshots::list::handler,
        v1::snapshots::ls::handler,
        v1::snapshots::pin::pin,
        v1::snapshots::pin::unpin,
        v1::snapshots::show::handler,
        v1::status::handler,
        v1::stores::check::handler,
        v1::stores::list::handler,
        v1::stores::show::handler,
        v1::transfers::download::begin,
        v1::transfers::download::end,
        v1::transfers::download::pieces,
        v1::transfers::upload::begin,
        v1::transfers::upload::end,
        v1::transfers::upload::finish,
        v1::transfers::upload::pieces,
    ),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
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

/// The document.
pub fn document() -> openapi::OpenApi {
    Document::openapi()
}

/// `GET /api/v1/openapi.json`
pub(super) async fn handler() -> Json<openapi::OpenApi> {
    Json(document())
}
