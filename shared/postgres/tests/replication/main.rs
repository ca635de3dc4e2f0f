//! Against real servers: PostgreSQL's programs must be installed, `tests/run`
//! does it.

mod follow;
mod letting_in;
mod refusals;
mod slots;
mod timelines;

use std::time::Duration;

use strongroom_postgres::{
    connection::{Connection, Session, Tls},
    physical::{Lsn, SegmentSize, TimelineId},
    replication::{Event, ReplicationError, ReplicationSession, ServerFacts, server_facts, slot},
    wal::{Found, Layout, Scanner},
};
use strongroom_tests::{cluster::Cluster, program::PATIENCE, scratch::Scratch};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// Of every new cluster.
const INITIAL: TimelineId = TimelineId(1);

fn connection(cluster: &Cluster) -> Connection {
    Connection {
        address: cluster.url().parse().expect("a URL"),
        password: None,
        tls: Tls::default(),
    }
}

fn as_role(cluster: &Cluster, role: &str, password: Option<&str>) -> Connection {
    let mut connection = connection(cluster);
    connection.address.user = role.into();
    connection.password = password.map(|password| Zeroizing::new(password.into()));
    connection
}

async fn sql_session(cluster: &Cluster) -> Session {
    let session = Session::open(&connection(cluster), None).await;
    session.expect("the server lets us in")
}

async fn replication(cluster: &Cluster) -> ReplicationSession {
    let session = ReplicationSession::open(&connection(cluster)).await;
    session.expect("the server lets us in")
}

fn layout(facts: &ServerFacts, session: &ReplicationSession) -> Layout {
    Layout {
        major: session.version().major(),
        system_identifier: facts.system_identifier,
        segment_size: facts.wal_segment_size,
        block_size: facts.wal_block_size,
    }
}

/// The start of the segment that `lsn` is in.
fn segment_start(lsn: Lsn, size: SegmentSize) -> Lsn {
    Lsn(size.segment_of(lsn) * size.bytes())
}

/// Where the server has its log now, all of it flushed.
fn now(cluster: &Cluster) -> Lsn {
    // Not every function that writes the log waits for it.
    let flush = "DO $$ BEGIN PERFORM pg_logical_emit_message(true, 'now', ''); END $$";
    cluster.sql(flush);
    lsn(&cluster.sql("SELECT pg_current_wal_flush_lsn()"))
}

fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position")
}

/// A stream, and what is found in it.
struct Reader {
    session: ReplicationSession,
    scanner: Scanner,
    found: Vec<Found>,
}

impl Reader {
    fn new(session: ReplicationSession, layout: Layout, timeline: TimelineId, from: Lsn) -> Self {
        let scanner = Scanner::new(layout, timeline, from);
        Self {
            session,
            scanner: scanner.expect("a segment begins there"),
            found: Vec::new(),
        }
    }

    /// Reads one event.
    async fn step(&mut self) -> Result<Event, ReplicationError> {
        // Given up again and again, as by whoever waits for more than this.
        let event = loop {
            let moment = Duration::from_micros(300);
            if let Ok(event) = tokio::time::timeout(moment, self.session.next()).await {
                break event?;
            }
        };
        match &event {
            Event::Data { bytes, .. } => {
                let fed = self.scanner.feed(bytes, &mut self.found);
                fed.expect("the log is valid");
            }
            Event::Keepalive { reply_wanted, .. } => {
                if *reply_wanted {
                    self.confirm().await?;
                }
            }
            Event::Ended { .. } => {}
        }
        Ok(event)
    }

    /// Everything that has come is safe.
    async fn confirm(&mut self) -> Result<(), ReplicationError> {
        let position = self.scanner.position();
        self.session.confirm(position, position).await
    }

    /// Reads up to a position.
    async fn read_to(&mut self, end: Lsn) {
        while self.scanner.position() < end {
            let event = self.step().await.expect("the stream goes on");
            assert!(!matches!(event, Event::Ended { .. }), "{event:?}");
        }
    }

    /// Reads until the stream fails.
    async fn fail(&mut self) -> ReplicationError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }
}

/// Asks again and again until there is an answer: for what there is no event
/// for.
async fn soon<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Streams once what kept us from it has passed, which must be transient.
async fn stream_again(cluster: &Cluster, slot: Option<&str>, from: Lsn) -> ReplicationSession {
    soon("stream", async || {
        let attempt = async {
            let mut session = ReplicationSession::open(&connection(cluster)).await?;
            session.stream(slot, INITIAL, from).await?;
            Ok::<_, ReplicationError>(session)
        };
        match attempt.await {
            Ok(session) => Some(session),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                None
            }
        }
    })
    .await
}

#[track_caller]
fn says(error: &impl std::fmt::Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}
