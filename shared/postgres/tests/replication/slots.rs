//! Slots, and what becomes of the log without them.

use strongroom_postgres::replication::WalStatus;
use strongroom_tests::operator::eventually;

use super::*;

/// Fills segments and has the server forget what it may.
fn fill(cluster: &Cluster, segments: usize) {
    for _ in 0..segments {
        cluster.sql("SELECT pg_logical_emit_message(false, 'fill', 'x')");
        cluster.sql("SELECT pg_switch_wal()");
    }
    cluster.sql("CHECKPOINT");
}

#[tokio::test]
async fn a_slot_is_made_once_and_dropped_once() {
    let scratch = Scratch::new("slots");
    let cluster = Cluster::with(&scratch, "cluster", "max_replication_slots = 1");
    let session = sql_session(&cluster).await;
    assert_eq!(slot::look(&session, "s").await.unwrap(), None);
    slot::create(&session, "s").await.unwrap();
    let error = slot::create(&session, "s").await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::SlotExists { .. }),
        "{error}"
    );
    let error = slot::create(&session, "t").await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::TooManySlots { .. }),
        "{error}"
    );
    let error = slot::create(&session, "NO!").await.unwrap_err();
    says(&error, &["make a replication slot", "NO!", "42602"]);
    slot::drop(&session, "s").await.unwrap();
    let error = slot::drop(&session, "s").await.unwrap_err();
    assert!(matches!(error, ReplicationError::NoSlot { .. }), "{error}");
    says(&error, &["\"s\"", "base backup"]);
}

#[tokio::test]
async fn a_slot_keeps_the_log_and_nothing_else_does() {
    let scratch = Scratch::new("removed");
    let settings = "wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 48MB";
    let cluster = Cluster::with(&scratch, "cluster", settings);
    let session = sql_session(&cluster).await;
    let facts = server_facts(&session).await.unwrap();
    let start = segment_start(now(&cluster), facts.wal_segment_size);
    slot::create(&session, "s").await.unwrap();
    fill(&cluster, 5);
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert!(
        state.held_back.is_some_and(|bytes| bytes > 64 << 20),
        "{state:?}"
    );
    assert_eq!(state.wal_status, Some(WalStatus::Extended));
    assert_eq!(state.safe_wal_size, None);
    let mut stream = replication(&cluster).await;
    stream.stream(Some("s"), INITIAL, start).await.unwrap();
    assert!(matches!(stream.next().await, Ok(Event::Data { start: first, .. }) if first == start));
    stream.stop().await.unwrap();

    slot::drop(&session, "s").await.unwrap();
    fill(&cluster, 1);
    stream.stream(None, INITIAL, start).await.unwrap();
    let error = loop {
        if let Err(error) = stream.next().await {
            break error;
        }
    };
    assert!(
        matches!(error, ReplicationError::Removed { from, .. } if from == start),
        "{error}"
    );
    says(&error, &["already been removed", "base backup"]);
    assert!(!error.is_transient());
    // The session is of use still.
    assert_eq!(stream.identify().await.unwrap().timeline, INITIAL);
    let flushed = now(&cluster);
    stream.stream(None, INITIAL, flushed).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_holds_back_too_much_is_given_up() {
    let scratch = Scratch::new("lost");
    let settings = "wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 32MB\n\
                    max_slot_wal_keep_size = 16MB";
    let cluster = Cluster::with(&scratch, "cluster", settings);
    let session = sql_session(&cluster).await;
    let facts = server_facts(&session).await.unwrap();
    slot::create(&session, "s").await.unwrap();
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert!(
        state.safe_wal_size.is_some_and(|bytes| bytes > 0),
        "{state:?}"
    );
    let start = segment_start(state.restart_lsn.unwrap(), facts.wal_segment_size);
    fill(&cluster, 5);
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert_eq!(state.wal_status, Some(WalStatus::Lost), "{state:?}");
    assert_eq!(state.held_back, None);
    if session.version().major() >= 17 {
        assert_eq!(state.invalidation_reason.as_deref(), Some("wal_removed"));
    }
    let mut stream = replication(&cluster).await;
    let begun = stream.stream(Some("s"), INITIAL, start).await;
    let error = match begun {
        Err(error) => error,
        Ok(()) => stream.next().await.unwrap_err(),
    };
    // Versions before 18 let a lost slot be used.
    let lost = matches!(error, ReplicationError::SlotLost { .. });
    let removed = matches!(error, ReplicationError::Removed { .. });
    assert!(
        if session.version().major() >= 18 {
            lost
        } else {
            removed
        },
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_slot_has_one_user() {
    let scratch = Scratch::new("taken");
    let cluster = Cluster::start(&scratch, "cluster");
    let session = sql_session(&cluster).await;
    slot::create(&session, "s").await.unwrap();
    let from = now(&cluster);
    let mut first = replication(&cluster).await;
    first.stream(Some("s"), INITIAL, from).await.unwrap();
    let mut second = replication(&cluster).await;
    let error = second.stream(Some("s"), INITIAL, from).await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::SlotBusy { .. }),
        "{error}"
    );
    says(&error, &["\"s\"", "active", "wal_sender_timeout"]);
    assert!(error.is_transient());
    let error = slot::drop(&session, "s").await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::SlotBusy { .. }),
        "{error}"
    );
    first.stop().await.unwrap();
    second.stream(Some("s"), INITIAL, from).await.unwrap();
    second.close().await;
    eventually("end of the slot's use", || {
        let active = "SELECT active FROM pg_replication_slots";
        (cluster.sql(active) == "f").then_some(())
    });
    slot::drop(&session, "s").await.unwrap();
    let error = first.stream(Some("s"), INITIAL, from).await.unwrap_err();
    assert!(matches!(error, ReplicationError::NoSlot { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_logical_slot_is_none_of_ours() {
    let scratch = Scratch::new("logical");
    let cluster = Cluster::with(&scratch, "cluster", "wal_level = logical");
    cluster.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    let session = sql_session(&cluster).await;
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert!(!state.physical);
    let from = now(&cluster);
    let mut stream = replication(&cluster).await;
    let error = stream.stream(Some("s"), INITIAL, from).await.unwrap_err();
    says(&error, &["logical", "55000"]);
}
