//! From a timeline to the next.

use strongroom_postgres::wal::History;
use strongroom_tests::operator::eventually;

use super::*;

/// Waits until a standby has what its primary had.
fn caught_up(standby: &Cluster, end: Lsn) {
    eventually("the log at the standby", || {
        let replayed = standby.sql("SELECT pg_last_wal_replay_lsn()");
        (lsn(&replayed) >= end).then_some(())
    });
}

#[tokio::test]
async fn a_standby_that_is_promoted_leads_to_its_next_timeline() {
    let scratch = Scratch::new("promotion");
    let primary = Cluster::start(&scratch, "primary");
    let standby = primary.standby(&scratch, "standby");
    primary.sql("CREATE TABLE rows (n int)");
    caught_up(&standby, now(&primary));

    // A standby has slots of its own.
    let session = sql_session(&standby).await;
    let facts = server_facts(&session).await.unwrap();
    assert!(facts.in_recovery);
    slot::create(&session, "s").await.unwrap();
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert!(state.held_back.is_some(), "{state:?}");
    let size = facts.wal_segment_size;
    let start = segment_start(state.restart_lsn.unwrap(), size);

    let mut stream = replication(&standby).await;
    assert!(stream.is_read_only().await.unwrap());
    assert_eq!(stream.identify().await.unwrap().timeline, INITIAL);
    stream.stream(Some("s"), INITIAL, start).await.unwrap();
    let layout = layout(&facts, &stream);
    let mut reader = Reader::new(stream, layout, INITIAL, start);
    primary.sql("INSERT INTO rows VALUES (1)");
    reader.read_to(now(&primary)).await;
    let commits = reader.found.len();
    assert!(commits > 0);

    standby.sql("SELECT pg_promote()");
    let (next, switch) = loop {
        if let Event::Ended { next } = reader.step().await.unwrap() {
            break next.expect("a timeline follows");
        }
    };
    assert_eq!(next, TimelineId(2));
    let file = reader.session.history(next).await.unwrap();
    assert_eq!(file.name, "00000002.history");
    let on_disk = std::fs::read(standby.data().join("pg_wal").join(&file.name)).unwrap();
    assert_eq!(file.content, on_disk);
    let history = History::parse(next, &file.content).unwrap();
    assert_eq!(history.span(INITIAL).unwrap().until, Some(switch));

    // The segment of the switch is the next timeline's, too, from its start.
    let start = segment_start(switch, size);
    let mut stream = reader.session;
    stream.stream(Some("s"), next, start).await.unwrap();
    let mut followed = Reader::new(stream, layout, next, start);
    standby.sql("INSERT INTO rows VALUES (2)");
    followed.read_to(now(&standby)).await;
    let again = |found: &&Found| matches!(found, Found::Commit { end, .. } if *end > switch);
    assert_eq!(
        followed.found.iter().filter(again).count(),
        2,
        "{:?}",
        followed.found
    );

    // At the very end of a timeline there is nothing but the way on.
    let mut stream = followed.session;
    stream.stop().await.unwrap();
    stream.stream(None, INITIAL, switch).await.unwrap();
    let ended = Event::Ended {
        next: Some((next, switch)),
    };
    assert_eq!(stream.next().await.unwrap(), ended);
    assert_eq!(stream.identify().await.unwrap().timeline, next);
    assert!(!stream.is_read_only().await.unwrap());
    // Beyond it there is nothing.
    let beyond = Lsn(switch.0 + 8);
    let error = stream.stream(None, INITIAL, beyond).await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::Timeline { .. }),
        "{error}"
    );
    // The old primary knows nothing of it.
    let mut old = replication(&primary).await;
    let error = old.stream(None, next, switch).await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::Timeline { .. }),
        "{error}"
    );
}
