//! What does not go on says why, and whether to try again.

use super::*;

#[tokio::test]
async fn a_server_that_crashes_is_come_back_to() {
    let scratch = Scratch::new("crash");
    let mut cluster = Cluster::start(&scratch, "cluster");
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    let mut session = replication(&cluster).await;
    let start = segment_start(now(&cluster), facts.wal_segment_size);
    session.stream(None, INITIAL, start).await.unwrap();
    let layout = layout(&facts, &session);
    let mut reader = Reader::new(session, layout, INITIAL, start);
    reader.read_to(now(&cluster)).await;
    cluster.kill();
    let error = reader.fail().await;
    assert!(error.is_transient(), "{error}");
    let error = ReplicationSession::open(&connection(&cluster))
        .await
        .unwrap_err();
    says(&error, &["cannot reach", &cluster.port().to_string()]);
    assert!(error.is_retryable());
    assert!(ReplicationError::from(error).is_transient());
    cluster.start_again();
    let position = reader.scanner.position();
    reader.session = stream_again(&cluster, None, position).await;
    cluster.sql("CREATE TABLE t ()");
    let before = reader.found.len();
    reader.read_to(now(&cluster)).await;
    assert!(reader.found.len() > before);
}

#[tokio::test]
async fn a_server_that_stops_waits_for_us_and_says_so() {
    let scratch = Scratch::new("shutdown");
    let mut cluster = Cluster::start(&scratch, "cluster");
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    let mut session = replication(&cluster).await;
    let start = segment_start(now(&cluster), facts.wal_segment_size);
    session.stream(None, INITIAL, start).await.unwrap();
    let layout = layout(&facts, &session);
    let mut reader = Reader::new(session, layout, INITIAL, start);
    reader.read_to(now(&cluster)).await;
    let stopping = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    });
    let error = loop {
        if let Err(error) = reader.step().await {
            break error;
        }
        reader.confirm().await.unwrap();
    };
    assert!(error.is_transient(), "{error}");
    assert!(
        matches!(error, ReplicationError::Terminated { .. }),
        "{error}"
    );
    let cluster = stopping.await.unwrap();
    // To the last record: that of the checkpoint at the end.
    let control = std::fs::read(cluster.data().join("global/pg_control")).unwrap();
    let control = strongroom_postgres::physical::control::ControlFile::parse(&control).unwrap();
    assert!(reader.scanner.end_of_records() > Some(control.checkpoint));
}

#[tokio::test]
async fn a_connection_that_is_ended_by_an_administrator_may_be_made_again() {
    let scratch = Scratch::new("terminated");
    let cluster = Cluster::start(&scratch, "cluster");
    let mut session = replication(&cluster).await;
    session.stream(None, INITIAL, now(&cluster)).await.unwrap();
    cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    let error = loop {
        if let Err(error) = session.next().await {
            break error;
        }
    };
    assert!(
        matches!(error, ReplicationError::Terminated { .. }),
        "{error}"
    );
    says(&error, &["administrator"]);
    assert!(error.is_transient());
    let error = session.identify().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn what_the_server_s_past_does_not_have_cannot_be_had() {
    let scratch = Scratch::new("past");
    let cluster = Cluster::start(&scratch, "cluster");
    let mut session = replication(&cluster).await;
    let here = now(&cluster);
    let error = session.stream(None, TimelineId(7), here).await.unwrap_err();
    assert!(
        matches!(
            error,
            ReplicationError::Timeline {
                timeline: TimelineId(7),
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_transient());
    let far = Lsn(here.0 + (1 << 40));
    // It only says so when it has begun.
    session.stream(None, INITIAL, far).await.unwrap();
    let error = session.next().await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::Ahead { from, .. } if from == far),
        "{error}"
    );
    assert!(error.is_transient());
    for timeline in [INITIAL, TimelineId(9)] {
        let error = session.history(timeline).await.unwrap_err();
        assert!(
            matches!(error, ReplicationError::NoHistory { .. }),
            "{error}"
        );
    }
    session.stream(None, INITIAL, here).await.unwrap();
}
