//! Sessions with a server played by the test: what a real one does seldom.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{login::LoggedIn, wire::Wire, *};
use crate::{
    physical::{Lsn, TimelineId},
    version::ServerVersion,
    wal::POSTGRES_EPOCH,
};

const READY: &[u8] = b"Z\0\0\0\x05I";
const COPY_BOTH: &[u8] = b"W\0\0\0\x07\0\0\0";

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[tag], &length[..], body].concat()
}

fn data(start: u64, bytes: &[u8]) -> Vec<u8> {
    let mut body = b"w".to_vec();
    for number in [start, start + 100, 5] {
        body.extend(number.to_be_bytes());
    }
    message(b'd', &[&body, bytes].concat())
}

fn row(columns: &[&str]) -> Vec<u8> {
    let mut body = (columns.len() as u16).to_be_bytes().to_vec();
    for column in columns {
        body.extend((column.len() as u32).to_be_bytes());
        body.extend(column.as_bytes());
    }
    message(b'D', &body)
}

fn remark(tag: u8, state: &str, text: &str) -> Vec<u8> {
    message(tag, format!("C{state}\0M{text}\0\0").as_bytes())
}

/// What fuzzing begins with: the number of a question, and a server's answers.
pub(crate) fn conversations() -> Vec<Vec<u8>> {
    let keepalive = [b"k", &[0; 16][..], &[1]].concat();
    let refused = remark(
        b'E',
        "58P01",
        "requested WAL segment has already been removed",
    );
    // It is announced, and does not come.
    let claimed = [b'd', 3, 0xff, 0xff, 0xff, b'w'];
    // And so do columns.
    let columns = message(b'D', &[0xff, 0xff]);
    let parts: [&[&[u8]]; 6] = [
        &[&[0], &columns, READY],
        &[&[2], COPY_BOTH, &claimed],
        &[
            &[0],
            &row(&["7412345678901234567", "1", "0/5000028", "x"]),
            READY,
        ],
        &[
            &[1],
            &row(&["00000002.history", "1\t0/3000000\tx\n"]),
            READY,
            &refused,
        ],
        &[
            &[2],
            COPY_BOTH,
            &data(9, b"abc"),
            &message(b'd', &keepalive),
            &remark(b'N', "57P01", "going"),
            &data(12, b"d"),
            &message(b'c', b""),
            &row(&["2", "0/3000000"]),
            &message(b'C', b"START_STREAMING\0"),
            READY,
        ],
        &[
            &[2],
            &message(b'T', &[0, 0]),
            &row(&["2", "0/9"]),
            READY,
            COPY_BOTH,
        ],
    ];
    parts.iter().map(|parts| parts.concat()).collect()
}

/// A session, and the server's end of it.
fn session() -> (ReplicationSession, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let session = ReplicationSession::over(LoggedIn {
        wire: Wire::new(Box::new(ours)),
        version: ServerVersion(150_000),
    });
    (session, theirs)
}

/// The same, streaming from 0/9.
async fn streaming() -> (ReplicationSession, DuplexStream) {
    let (mut session, mut server) = session();
    server.write_all(COPY_BOTH).await.unwrap();
    let (timeline, from) = (TimelineId(1), Lsn(9));
    session.stream(Some("a\"b"), timeline, from).await.unwrap();
    let command = b"START_REPLICATION SLOT \"a\"\"b\" PHYSICAL 0/9 TIMELINE 1\0";
    assert_eq!(
        heard(&mut server, command.len() + 5).await,
        message(b'Q', command)
    );
    (session, server)
}

async fn heard(server: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    server.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn pieces_follow_each_other() {
    let (mut session, mut server) = streaming().await;
    server.write_all(&data(9, b"abc")).await.unwrap();
    server.write_all(&data(12, b"")).await.unwrap();
    server.write_all(&data(12, b"d")).await.unwrap();
    server.write_all(&data(14, b"e")).await.unwrap();
    for (start, bytes) in [(9, &b"abc"[..]), (12, b"d")] {
        let expected = Event::Data {
            start: Lsn(start),
            end_of_wal: Lsn(start + 100),
            sent_at: POSTGRES_EPOCH + 5,
            bytes: bytes.to_vec().into(),
        };
        assert_eq!(session.next().await.unwrap(), expected);
    }
    let error = session.next().await.unwrap_err();
    assert!(
        matches!(
            error,
            ReplicationError::Hole {
                wanted: Lsn(13),
                found: Lsn(14)
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_for_a_sign_of_life_and_then_given_up() {
    let (mut session, mut server) = streaming().await;
    session.confirm(Lsn(9), Lsn(8)).await.unwrap();
    heard(&mut server, 39).await;
    // It is given up again and again, as by whoever waits for more than this.
    let waiting = tokio::spawn(async move {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(7), session.next()).await;
            if let Ok(next) = next {
                return (next, session);
            }
        }
    });
    let ping = heard(&mut server, 39).await;
    assert_eq!((ping[5], ping[38]), (b'r', 1));
    assert_eq!(
        ping[6..22],
        [9_u64.to_be_bytes(), 8_u64.to_be_bytes()].concat()
    );
    let keepalive = [b"k", &[0; 16][..], &[0]].concat();
    server.write_all(&message(b'd', &keepalive)).await.unwrap();
    let (next, mut session) = waiting.await.unwrap();
    assert!(matches!(
        next,
        Ok(Event::Keepalive {
            reply_wanted: false,
            ..
        })
    ));
    let error = session.next().await.unwrap_err();
    assert!(error.to_string().contains("60 seconds"), "{error}");
    assert!(error.is_transient());
    assert_eq!(heard(&mut server, 39).await[38], 1);
}

#[tokio::test]
async fn a_timeline_s_end_names_the_next() {
    let (mut session, mut server) = streaming().await;
    server.write_all(&message(b'c', b"")).await.unwrap();
    server.write_all(&message(b'T', &[0, 0])).await.unwrap();
    server.write_all(&row(&["2", "0/7"])).await.unwrap();
    server
        .write_all(&message(b'C', b"START_STREAMING\0"))
        .await
        .unwrap();
    server.write_all(READY).await.unwrap();
    let next = Some((TimelineId(2), Lsn(7)));
    assert_eq!(session.next().await.unwrap(), Event::Ended { next });
    assert!(matches!(session.next().await, Err(ReplicationError::Idle)));
    let confirmed = session.confirm(Lsn(1), Lsn(1)).await;
    assert!(matches!(confirmed, Err(ReplicationError::Idle)));
    // It ended before it began.
    server.write_all(&message(b'T', &[0, 0])).await.unwrap();
    session.stream(None, TimelineId(1), Lsn(7)).await.unwrap();
    server.write_all(&row(&["2", "0/7"])).await.unwrap();
    server.write_all(READY).await.unwrap();
    assert_eq!(session.next().await.unwrap(), Event::Ended { next });
}

#[tokio::test]
async fn what_a_server_says_before_it_hangs_up_is_the_cause() {
    let (mut session, mut server) = streaming().await;
    let crash = "terminating connection because of crash of another server process";
    let words = remark(b'N', "57P02", crash);
    server.write_all(&words).await.unwrap();
    drop(server);
    let error = session.next().await.unwrap_err();
    assert!(error.to_string().contains(crash), "{error}");
    assert!(error.is_transient());

    let (mut session, mut server) = streaming().await;
    server.write_all(&message(b'C', b"COPY 0\0")).await.unwrap();
    let error = session.next().await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::Terminated { .. }),
        "{error}"
    );

    let (mut session, server) = streaming().await;
    drop(server);
    let error = session.next().await.unwrap_err();
    assert!(matches!(error, ReplicationError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_command_that_was_given_up_is_read_to_its_end() {
    let (mut session, mut server) = session();
    let moment = Duration::from_millis(1);
    let given_up = tokio::time::timeout(moment, session.identify()).await;
    given_up.unwrap_err();
    server.write_all(&row(&["1", "1", "0/1"])).await.unwrap();
    server.write_all(READY).await.unwrap();
    // And so is one that is refused.
    server
        .write_all(&remark(b'E', "XX000", "no"))
        .await
        .unwrap();
    server.write_all(READY).await.unwrap();
    session.identify().await.unwrap_err();
    server.write_all(&row(&["7", "3", "0/9"])).await.unwrap();
    server.write_all(READY).await.unwrap();
    let identity = session.identify().await.unwrap();
    assert_eq!(
        identity,
        Identity {
            system_identifier: 7,
            timeline: TimelineId(3),
            flushed: Lsn(9)
        }
    );
}

#[tokio::test]
async fn histories_are_those_that_were_asked_for() {
    for (answer, wanted) in [
        (row(&["00000003.history", "x"]), "another file"),
        (row(&["00000002.history"]), "missing"),
        (
            row(&["00000002.history", &"x".repeat((1 << 20) + 1)]),
            "longer",
        ),
        (
            remark(b'E', "58P01", "could not open file"),
            "no history of timeline 2",
        ),
        (message(b'D', &[0, 2, 0, 0, 0, 9, b'x']), "torn"),
    ] {
        let (mut session, mut server) = session();
        let answering = tokio::spawn(async move {
            server.write_all(&answer).await.unwrap();
            server.write_all(READY).await.unwrap();
            server
        });
        let error = session
            .history(TimelineId(2))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
        answering.await.unwrap();
    }
}

proptest! {
    #[test]
    fn whatever_comes_ends_in_an_error(
        pieces in vec((prop::sample::select(b"dCcDTENZKSRwk".to_vec()), vec(any::<u8>(), 0..40)), 0..20),
        rest in vec(any::<u8>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut session, mut server) = streaming().await;
            for (tag, body) in pieces {
                server.write_all(&message(tag, &body)).await.unwrap();
            }
            server.write_all(&rest).await.unwrap();
            drop(server);
            while session.next().await.is_ok() {}
            // And of a command, too.
            while session.identify().await.is_ok() {}
        });
    }
}
