//! What a coordinator writes of itself and its sessions.

use jiff::Timestamp;
use strongroom_layout::{AgentId, AttemptRef};
use strongroom_spec::FailureCode;
use strongroom_wire::session::Progress;
use uuid::Uuid;

use super::{
    Fixture, contract,
    fixture::{BOOT, failure},
};
use crate::{
    catalog::{Catalog, Lives, PresenceChange},
    model::{NotedProgress, Session},
};

contract!(
    sessions_begin_and_end_and_programs_are_told,
    of_an_agents_sessions_the_newest_counts,
    a_coordinator_that_starts_again_ends_what_it_left,
    a_coordinator_that_is_silent_for_long_is_gone,
    a_coordinator_that_ends_leaves_nothing,
    progress_is_noted_while_its_attempt_is_at_work,
);

const DIRECTORY: Uuid = Uuid::from_u128(0xd1);

fn session(agent: AgentId, number: u128, since: Timestamp) -> Session {
    Session {
        agent,
        id: Uuid::from_u128(number),
        boot: BOOT,
        since,
    }
}

fn begun(session: &Session) -> PresenceChange {
    PresenceChange {
        begun: vec![session.clone()],
        told: vec![(session.agent, true)],
        ..PresenceChange::default()
    }
}

fn ended(session: &Session, at: Timestamp) -> PresenceChange {
    PresenceChange {
        ended: vec![(session.clone(), at)],
        told: vec![(session.agent, false)],
        ..PresenceChange::default()
    }
}

/// Kinds of events behind a number.
async fn told(fixture: &Fixture, after: u64) -> Vec<String> {
    let events = fixture.catalog.events_after(after, 99).await.unwrap();
    events.events.into_iter().map(|it| it.kind).collect()
}

async fn last(fixture: &Fixture) -> u64 {
    fixture.catalog.newest_events(1).await.unwrap().last
}

/// The sessions in the table, each with its coordinator.
async fn sessions(catalog: &Catalog) -> Vec<(String, String)> {
    sqlx::query_as("SELECT session, instance FROM sessions ORDER BY session")
        .fetch_all(catalog.pool())
        .await
        .unwrap()
}

/// Another coordinator of which the catalog knows, with a session of the agent.
async fn other(fixture: &Fixture, directory: Uuid, agent: AgentId) -> Uuid {
    let instance = Uuid::new_v4();
    for sql in [
        "INSERT INTO coordinators (instance, directory, started_at, heard_at)
         VALUES ($1, $2, $3, $3)",
        "INSERT INTO sessions (agent_id, session, instance, boot_id, since)
         VALUES ($4, $1, $1, $2, $3)",
    ] {
        let query = sqlx::query(sql)
            .bind(instance.to_string())
            .bind(directory.to_string())
            .bind(fixture.now().as_microsecond());
        let query = if sql.contains("$4") {
            query.bind(agent.to_string())
        } else {
            query
        };
        query.execute(fixture.catalog.writers()).await.unwrap();
    }
    instance
}

async fn sessions_begin_and_end_and_programs_are_told(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    catalog.coordinator_starts(DIRECTORY).await.unwrap();
    let begin = last(&fixture).await;
    let first = session(agent.id, 1, fixture.now());
    catalog.write_presence(&begun(&first)).await.unwrap();
    let own = catalog.instance().to_string();
    assert_eq!(sessions(catalog).await, [(first.id.to_string(), own)]);
    assert_eq!(
        lives(catalog, &[]).await.sessions,
        std::slice::from_ref(&first)
    );
    // Its own are not elsewhere.
    assert_eq!(catalog.sessions_elsewhere().await.unwrap(), []);

    fixture.advance(60);
    let heard = fixture.in_seconds(-20);
    catalog.write_presence(&ended(&first, heard)).await.unwrap();
    assert_eq!(sessions(catalog).await, []);
    let seen = catalog.agent(agent.id).await.unwrap().last_seen;
    assert_eq!(seen, Some(heard));
    assert_eq!(
        told(&fixture, begin).await,
        ["agent.connected", "agent.disconnected"]
    );
    // What is known to be later stays.
    let change = ended(&first, fixture.in_seconds(-40));
    catalog.write_presence(&change).await.unwrap();
    let seen = catalog.agent(agent.id).await.unwrap().last_seen;
    assert_eq!(seen, Some(heard));
}

async fn of_an_agents_sessions_the_newest_counts(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    catalog.coordinator_starts(DIRECTORY).await.unwrap();
    let first = session(agent.id, 1, fixture.now());
    let second = session(agent.id, 2, fixture.in_seconds(5));
    for it in [&first, &second, &first] {
        catalog.write_presence(&begun(it)).await.unwrap();
    }
    let own = catalog.instance().to_string();
    let newest = [(second.id.to_string(), own)];
    assert_eq!(sessions(catalog).await, newest);
    let begin = last(&fixture).await;
    let change = ended(&first, fixture.now());
    catalog.write_presence(&change).await.unwrap();
    assert_eq!(sessions(catalog).await, newest);
    assert_eq!(told(&fixture, begin).await, [""; 0], "it is still there");
}

async fn a_coordinator_that_starts_again_ends_what_it_left(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    let foreign = fixture.agent("web-2").await;
    other(&fixture, DIRECTORY, agent.id).await;
    let heard = fixture.now();
    let living = other(&fixture, Uuid::from_u128(0xd2), foreign.id).await;
    fixture.advance(60);
    let begin = last(&fixture).await;
    catalog.coordinator_starts(DIRECTORY).await.unwrap();
    let seen = catalog.agent(agent.id).await.unwrap().last_seen;
    assert_eq!(seen, Some(heard));
    if fixture.directory().is_some() {
        // There can be no other on the same file.
        assert_eq!(sessions(catalog).await, []);
        return;
    }
    assert_eq!(
        told(&fixture, begin).await,
        ["coordinator.stopped", "coordinator.started"]
    );
    let elsewhere = catalog.sessions_elsewhere().await.unwrap();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].session.agent, foreign.id);
    assert_eq!(elsewhere[0].instance, living);
    assert_eq!(elsewhere[0].heard_at, heard);
}

async fn a_coordinator_that_is_silent_for_long_is_gone(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    catalog.coordinator_starts(DIRECTORY).await.unwrap();
    let silent = other(&fixture, Uuid::from_u128(0xd2), agent.id).await;
    let heard = fixture.now();
    let gone = [(silent, heard)];
    assert_eq!(catalog.other_coordinators().await.unwrap(), gone);
    let shown = usize::from(fixture.directory().is_none());
    assert_eq!(catalog.sessions_elsewhere().await.unwrap().len(), shown);
    fixture.advance(91);
    assert_eq!(catalog.sessions_elsewhere().await.unwrap(), []);
    assert!(lives(catalog, &[]).await.known);
    assert_eq!(sessions(catalog).await.len(), 1, "it may come back");
    let earlier = [(silent, fixture.in_seconds(-1))];
    lives(catalog, &earlier).await;
    assert_eq!(sessions(catalog).await.len(), 1, "it has come back");
    let begin = last(&fixture).await;
    lives(catalog, &gone).await;
    assert_eq!(sessions(catalog).await, []);
    assert_eq!(told(&fixture, begin).await, ["coordinator.stopped"]);
    let seen = catalog.agent(agent.id).await.unwrap().last_seen;
    assert_eq!(seen, Some(heard));
}

async fn a_coordinator_that_ends_leaves_nothing(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    catalog.coordinator_starts(DIRECTORY).await.unwrap();
    let only = session(agent.id, 1, fixture.now());
    catalog.write_presence(&begun(&only)).await.unwrap();
    fixture.advance(20);
    let heard = fixture.in_seconds(-3);
    let stopped = catalog.coordinator_stops(&[(agent.id, heard)]).await;
    stopped.unwrap();
    assert_eq!(sessions(catalog).await, []);
    let seen = catalog.agent(agent.id).await.unwrap().last_seen;
    assert_eq!(seen, Some(heard));
    // Whoever was taken for gone, and is not, is entered again, and programs are told.
    let begin = last(&fixture).await;
    let back = lives(catalog, &[]).await;
    assert_eq!((back.known, back.sessions.len()), (false, 0));
    assert_eq!(told(&fixture, begin).await, ["coordinator.started"]);
    catalog.write_presence(&begun(&only)).await.unwrap();
    let again = lives(catalog, &[]).await;
    assert_eq!((again.known, again.sessions.len()), (true, 1));
}

async fn lives(catalog: &Catalog, gone: &[(Uuid, Timestamp)]) -> Lives {
    catalog.coordinator_lives(DIRECTORY, gone).await.unwrap()
}

fn progress(attempt: AttemptRef, at: Timestamp, files: u64) -> NotedProgress {
    NotedProgress {
        at,
        progress: Progress {
            attempt,
            stage: "reading".into(),
            files,
            bytes: 10,
            total_files: Some(100),
            total_bytes: None,
            bytes_stored: 5,
            warnings: 1,
        },
    }
}

async fn progress_is_noted_while_its_attempt_is_at_work(fixture: Fixture) {
    let catalog = &fixture.catalog;
    let agent = fixture.agent("web-1").await;
    fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "web").await;
    let older = AttemptRef {
        attempt: attempt.attempt + 1,
        ..attempt
    };
    for files in [7, 8] {
        let all = [
            progress(attempt, fixture.now(), files),
            progress(older, fixture.now(), files),
        ];
        catalog.write_progress(&all).await.unwrap();
    }
    let noted = catalog.noted_progress(&[attempt, older]).await.unwrap();
    assert_eq!(noted.len(), 1, "no other attempt is at work");
    assert_eq!(noted[&attempt], progress(attempt, fixture.now(), 8));

    let broken = failure(FailureCode::Store, true);
    fixture.finish(&agent, attempt, Err(broken)).await;
    let late = progress(attempt, fixture.now(), 9);
    catalog.write_progress(&[late]).await.unwrap();
    let noted = catalog.noted_progress(&[attempt]).await.unwrap();
    assert!(noted.is_empty(), "{noted:?}");
}
