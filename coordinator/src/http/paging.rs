//! Lists come in pages, all alike: newest first, as many as `limit` says, from
//! `since` on and before `until`; `next_before` of one page is `before` of the
//! next, which the header `Link` names as well.

use std::{cmp::Reverse, fmt::Display, str::FromStr};

use axum::{
    Json,
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{
    extract::Parameters,
    guard::NextPage,
    problem::{Code, Problem},
};

/// Most items of one page.
const MAX_LIMIT: u32 = 1_000;

/// Which part of a list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most.
    #[param(minimum = 1, maximum = 1_000, default = 50)]
    pub limit: u32,
    /// Only from this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Only what stands behind this place: `next_before` of the page before.
    before: Option<String>,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self {
            limit: 50,
            since: None,
            until: None,
            before: None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Parameters(page) = Parameters::<Self>::from_request_parts(parts, state).await?;
        check_limit(page.limit, MAX_LIMIT)?;
        Ok(page)
    }
}

/// Refuses pages of no items, and of more than one answer holds.
pub(super) fn check_limit(limit: u32, most: u32) -> Result<(), Problem> {
    if (1..=most).contains(&limit) {
        return Ok(());
    }
    let problem = format!("{limit} items are no page: take 1 to {most}");
    Err(Problem::new(Code::Invalid, problem)
        .hint("give another `limit`, and page through the rest"))
}

impl PageQuery {
    /// Behind which place, if any.
    pub fn before<C: FromStr<Err: Display>>(&self) -> Result<Option<C>, Problem> {
        let place = self.before.as_deref().map(str::parse).transpose();
        place.map_err(|error| {
            Problem::new(
                Code::Invalid,
                format!("`before` is no place in this list: {error}"),
            )
            .hint("give `next_before` of the page before")
        })
    }

    /// Cuts the page out of a list that was read whole. `place` gives an item's
    /// time and what tells it from others of that time.
    pub fn cut<T>(
        &self,
        all: Vec<T>,
        place: impl Fn(&T) -> (Timestamp, String),
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let before = self.before::<Place>()?;
        let mut placed: Vec<_> = all.into_iter().map(|item| (place(&item), item)).collect();
        placed.retain(|((time, name), _)| {
            self.since.is_none_or(|since| *time >= since)
                && self.until.is_none_or(|until| *time < until)
                && before.as_ref().is_none_or(|it| it.is_before(*time, name))
        });
        placed.sort_by(|(one, _), (other, _)| {
            (Reverse(one.0), &one.1).cmp(&(Reverse(other.0), &other.1))
        });
        let more = placed.len() > self.limit as usize;
        placed.truncate(self.limit as usize);
        let next = placed.last().filter(|_| more);
        let next = next.map(|((time, name), _)| format!("{time}~{name}"));
        Ok((placed.into_iter().map(|(_, item)| item).collect(), next))
    }
}

/// A place in a list: a time, or a time and a name with `~` between them; a time
/// alone stands before all items of that time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    time: Timestamp,
    name: Option<String>,
}

impl Place {
    /// Whether an item stands behind it.
    fn is_before(&self, time: Timestamp, name: &str) -> bool {
        let behind = self.name.as_deref().is_some_and(|it| it < name);
        time < self.time || (time == self.time && behind)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (time, name) = match text.split_once('~') {
            Some((time, name)) => (time, Some(name.to_owned())),
            None => (text, None),
        };
        let time = time.parse().map_err(|_| format!("{text:?}"))?;
        Ok(Self { time, name })
    }
}

/// A page, and the place of the next one.
#[derive(Debug)]
pub struct Page<T>(pub T, pub Option<String>);

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let key = "before";
        let next = self.1.map(|value| NextPage { key, value });
        page(self.0, next)
    }
}

pub(super) fn page(body: impl Serialize, next: Option<NextPage>) -> Response {
    let mut response = Json(body).into_response();
    if let Some(next) = next {
        response.extensions_mut().insert(next);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The list that all pages make, two items each.
    fn walk(all: &[(i64, &str)], query: &PageQuery) -> Vec<String> {
        let mut seen = Vec::new();
        let mut query = PageQuery {
            limit: 2,
            ..query.clone()
        };
        loop {
            let (items, next) = query
                .cut(all.to_vec(), |it| (at(it.0), it.1.to_owned()))
                .unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|it| it.1.to_owned()));
            match next {
                Some(next) => query.before = Some(next),
                None => return seen,
            }
        }
    }

    #[test]
    fn pages_make_up_the_list_newest_first() {
        let all = [(1, "d"), (3, "b"), (3, "a"), (3, "c"), (2, "e")];
        let query = PageQuery::default();
        assert_eq!(walk(&all, &query), ["a", "b", "c", "e", "d"]);
        let query = PageQuery {
            since: Some(at(2)),
            until: Some(at(3)),
            ..PageQuery::default()
        };
        assert_eq!(walk(&all, &query), ["e"]);
        let query = PageQuery {
            before: Some(at(3).to_string()),
            ..PageQuery::default()
        };
        assert_eq!(walk(&all, &query), ["e", "d"]);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for before in ["", "x", "~a", "2026-13-01T00:00:00Z~a"] {
            let query = PageQuery {
                before: Some(before.to_owned()),
                ..PageQuery::default()
            };
            let refused = query.cut(vec![()], |()| (at(1), String::new()));
            assert_eq!(refused.unwrap_err().code, Code::Invalid, "{before:?}");
        }
    }
}
