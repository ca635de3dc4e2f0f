//! `GET /events`

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    catalog,
    http::{
        auth::Caller,
        dto::{Event, Events},
        extract::Parameters,
        guard::NextPage,
        paging,
        problem::{Code, Problem},
        state::{ApiState, SharedState},
        waiting::{Waiting, patience},
    },
    model,
};

/// Events of one answer at most.
const MAX_EVENTS: u32 = 1_000;

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(follow_events))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only those behind this number; without it, the newest ones.
    #[param(minimum = 0)]
    after: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1_000, default = 50)]
    limit: u32,
    /// How long to wait for an event behind `after` when there is none: seconds, up to
    /// 60.
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: u64,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self {
            after: None,
            limit: 50,
            wait: 0,
        }
    }
}

/// What changed, oldest first.
///
/// To follow it, ask for what comes behind `next_after` of the answer before, with
/// `wait`: nobody needs to ask again and again, and no event is missed. Events are kept
/// for thirty days.
#[utoipa::path(get, path = "/events", tag = "events", params(EventsQuery), responses(
    (status = 200, body = Events, description = "Some events"),
))]
pub async fn follow_events(
    _caller: Caller,
    State(state): State<SharedState>,
    Parameters(query): Parameters<EventsQuery>,
) -> Result<Response, Problem> {
    paging::check_limit(query.limit, MAX_EVENTS)?;
    check_number(query.after)?;
    let mut waiting = Waiting::new(&state, patience(query.wait)?);
    let mut found = read(&state, &query).await?;
    while query.after.is_some() && found.events.is_empty() && !found.gap && waiting.again().await {
        found = read(&state, &query).await?;
    }
    let goes_on = found.next_after < found.last;
    let next = goes_on.then(|| NextPage {
        key: "after",
        value: found.next_after.to_string(),
    });
    Ok(paging::page(shape(found), next))
}

/// Refuses what is no number of an event, in this catalog or any other.
fn check_number(after: Option<u64>) -> Result<(), Problem> {
    if after.is_none_or(|after| i64::try_from(after).is_ok()) {
        return Ok(());
    }
    Err(
        Problem::new(Code::Invalid, "`after` is greater than any event's number")
            .hint("give `next_after` of the answer before"),
    )
}

async fn read(state: &ApiState, query: &EventsQuery) -> Result<catalog::Events, Problem> {
    Ok(match query.after {
        Some(after) => state.catalog.events_after(after, query.limit).await?,
        None => state.catalog.newest_events(query.limit).await?,
    })
}

fn shape(found: catalog::Events) -> Events {
    Events {
        events: found.events.into_iter().map(event).collect(),
        next_after: found.next_after,
        last: found.last,
        gap: found.gap,
    }
}

fn event(event: model::Event) -> Event {
    let subject = event.subject;
    Event {
        seq: event.seq,
        at: event.at,
        kind: event.kind,
        job: subject.job.map(|id| id.to_string()),
        agent: subject.agent.map(|id| id.to_string()),
        dataset: subject.dataset.map(|dataset| dataset.to_string()),
        policy: subject.policy,
        repository: subject.repository,
        snapshot: subject.snapshot.map(|id| id.to_string()),
        trace_id: event.trace_id,
        detail: event.detail,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::header::LINK;
    use serde_json::{Value, json};

    use crate::http::testing::TestApi;

    async fn enrol(api: &TestApi, names: &[&str]) {
        for name in names {
            api.agent(name).await;
        }
    }

    fn seqs(answer: &Value) -> Vec<u64> {
        let events = answer["events"].as_array().unwrap();
        events
            .iter()
            .map(|it| it["seq"].as_u64().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn events_are_followed_page_by_page() {
        let api = TestApi::new().await;
        let none = api.get("/events").await;
        assert_eq!(
            none,
            json!({ "events": [], "next_after": 0, "last": 0, "gap": false })
        );
        enrol(&api, &["a", "b", "c"]).await;
        let request = TestApi::request(api.token(), "GET", "/events?after=0&limit=2", &Value::Null);
        let response = api.answer(request).await;
        let link = response.headers()[LINK].to_str().unwrap().to_owned();
        assert_eq!(link, "</api/v1/events?limit=2&after=2>; rel=\"next\"");
        let second = api.get("/events?limit=2&after=2").await;
        assert_eq!(seqs(&second), [3]);
        assert_eq!(
            (&second["next_after"], &second["last"]),
            (&json!(3), &json!(3))
        );
        assert_eq!(second["events"][0]["kind"], "agent.enrolled");
        assert_eq!(second["events"][0]["detail"]["agent"], "c");
        assert_eq!(second["events"][0]["job"], Value::Null);
        let newest = api.get("/events?limit=1").await;
        assert_eq!(seqs(&newest), [3]);
        let beyond = api.get("/events?after=9&wait=60").await;
        assert_eq!(beyond["gap"], true, "it is answered at once");
        let beyond_all = "after=9223372036854775808";
        for query in ["limit=0", "limit=1001", "wait=61", "after=-1", beyond_all] {
            api.refused("invalid", "GET", &format!("/events?{query}"), Value::Null)
                .await;
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_an_event_is_told_of_the_next() {
        let api = TestApi::new().await;
        enrol(&api, &["a"]).await;
        let begun = Instant::now();
        let at_once = api.get("/events?after=0&wait=60").await;
        assert_eq!(seqs(&at_once), [1]);
        let (next, ()) = tokio::join!(api.get("/events?after=1&wait=60"), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            enrol(&api, &["b"]).await;
        });
        assert_eq!(seqs(&next), [2]);
        assert!(begun.elapsed() < Duration::from_secs(30));
        let (ended, ()) = tokio::join!(api.get("/events?after=2&wait=60"), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            api.shutdown.cancel();
        });
        assert_eq!(seqs(&ended), [0; 0]);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
