//! `GET /stores`

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::{
    auth::Caller,
    dto::Stores,
    extract::Parameters,
    paging::{self, Page},
    problem::Problem,
    state::SharedState,
};

/// Stores are of the configuration: there are few, and they have no times.
const MAX_LIMIT: u32 = 1_000;

/// Which stores.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct StoresQuery {
    /// How many at most.
    #[param(minimum = 1, maximum = 1_000, default = 50)]
    limit: u32,
    /// Only what stands behind this place: `next_before` of the page before.
    before: Option<String>,
}

impl Default for StoresQuery {
    fn default() -> Self {
        Self {
            limit: 50,
            before: None,
        }
    }
}

/// Stores of the configuration, by name, and what their last checks found.
#[utoipa::path(get, path = "/stores", tag = "stores", params(StoresQuery), responses(
    (status = 200, body = Stores, description = "A page of stores"),
))]
pub async fn list_stores(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<StoresQuery>,
) -> Result<Page<Stores>, Problem> {
    paging::check_limit(query.limit, MAX_LIMIT)?;
    let limit = query.limit as usize;
    let behind = |name: &str| query.before.as_deref().is_none_or(|it| it < name);
    let mut stores: Vec<_> = state
        .checked
        .iter()
        .filter(|(name, _)| behind(name))
        .take(limit + 1)
        .map(|(_, store)| super::shape(store))
        .collect();
    let more = stores.len() > limit;
    stores.truncate(limit);
    let last = stores.last().filter(|_| more);
    let next_before = last.map(|store| store.name.clone());
    let next = next_before.clone();
    Ok(Page(
        Stores {
            stores,
            next_before,
        },
        next,
    ))
}
