//! Keeping: what stays of a keyed request once it is answered.

use std::{future::Future, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    catalog::{Catalog, CatalogError},
    http::problem::Problem,
    model::{KeptAnswer, KeptBody, KeyedRequest},
};

/// The longest answer that is kept, bytes. Of longer ones only status and
/// `Location` are.
const MAX_KEPT: usize = 64 << 10;
/// Between two attempts to note what came of a request.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];

/// An answer with a secret in it: it is not kept.
#[derive(Debug)]
pub struct Secret<R>(pub R);

/// An answer to what has changed nothing, and may as well happen again: it is not
/// kept, and its key is free.
#[derive(Debug)]
pub struct Harmless<R>(pub R);

#[derive(Debug, Clone, Copy)]
struct NotKept;

#[derive(Debug, Clone, Copy)]
struct Forgotten;

impl<R: IntoResponse> IntoResponse for Secret<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(NotKept);
        response
    }
}

impl<R: IntoResponse> IntoResponse for Harmless<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(Forgotten);
        response
    }
}

/// Notes what came of a request, before that is answered.
pub(super) async fn keep(
    catalog: &Catalog,
    request: &KeyedRequest,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    if status.is_client_error() || response.extensions().get::<Forgotten>().is_some() {
        noted(|| catalog.release_request(request)).await;
        return Ok(response);
    }
    if !status.is_success() {
        noted(|| catalog.doubt_request(request, status.as_u16())).await;
        return Ok(response);
    }
    let secret = response.extensions().get::<NotKept>().is_some();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Problem::internal(&error))?;
    let location = parts.headers.get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok());
    let answer = KeptAnswer {
        status: status.as_u16(),
        location: location.map(str::to_owned),
        body: if secret {
            KeptBody::Secret
        } else if body.len() > MAX_KEPT {
            KeptBody::TooLong
        } else {
            KeptBody::Json(String::from_utf8_lossy(&body).into_owned())
        },
    };
    noted(|| catalog.answer_request(request, &answer)).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Writes down what came of a request; when that fails, a few times more. Who sent
/// it is answered all the same, and whoever sends it again is told that it is
/// under way: rather a request too few than one twice.
async fn noted<F: Future<Output = Result<(), CatalogError>>>(write: impl Fn() -> F) {
    let mut pauses = PAUSES.into_iter();
    while let Err(error) = write().await {
        let Some(pause) = pauses.next() else {
            tracing::error!(error = %error, "what came of a keyed request cannot be noted");
            return;
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::check_name;

    #[tokio::test]
    async fn what_cannot_be_noted_is_tried_again_a_few_times() {
        for (failures, attempts) in [(0, 1), (2, 3), (9, 4)] {
            let made = Cell::new(0);
            noted(|| async {
                made.set(made.get() + 1);
                if made.get() > failures {
                    return Ok(());
                }
                Err(check_name("key", "").unwrap_err().into())
            })
            .await;
            assert_eq!(made.get(), attempts);
        }
    }
}
