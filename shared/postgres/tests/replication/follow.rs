//! Everything that happens arrives, and is understood.

use strongroom_tests::cluster::{as_postgres, server_programs, succeed};

use super::*;

const SETTINGS: &str = "track_commit_timestamp = on\nmax_prepared_transactions = 5\n";

#[tokio::test]
async fn a_server_says_who_it_is() {
    let scratch = Scratch::new("identity");
    let cluster = Cluster::with(&scratch, "cluster", "max_slot_wal_keep_size = 100MB");
    let mut session = replication(&cluster).await;
    let identity = session.identify().await.unwrap();
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    assert_eq!(identity.system_identifier, facts.system_identifier);
    assert_eq!(identity.timeline, INITIAL);
    assert!(identity.flushed <= now(&cluster));
    assert!(!facts.in_recovery);
    assert_eq!(facts.wal_level, "replica");
    assert_eq!(facts.max_slot_wal_keep_size, Some(100 << 20));
    assert_eq!(facts.wal_segment_size.bytes(), 16 << 20);
    assert_eq!(facts.wal_block_size, 8192);
    assert_eq!(facts.max_wal_senders, 10);
    let version: i32 = cluster.sql("SHOW server_version_num").parse().unwrap();
    assert_eq!(session.version().0, version);
    session.close().await;
    cluster.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1");
    cluster.sql("SELECT pg_reload_conf()");
    strongroom_tests::operator::eventually("a setting", || {
        (cluster.sql("SHOW max_slot_wal_keep_size") == "-1").then_some(())
    });
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    assert_eq!(facts.max_slot_wal_keep_size, None);
}

/// Commits rows, and everything else that ends transactions; gives the restore
/// points as the server says where they are.
async fn work(session: &Session, from: u32) -> Vec<(String, Lsn)> {
    let mut points = Vec::new();
    let run = async |statements: &str| session.run_foreign("run", statements).await.unwrap();
    run("SET search_path = public").await;
    for n in from..from + 120 {
        run(&format!("INSERT INTO rows (n) VALUES ({n})")).await;
        match n % 20 {
            3 => run("BEGIN; INSERT INTO rows (n) VALUES (-1); ROLLBACK").await,
            5 => {
                let name = format!("point {n} \u{fc}");
                let point = session
                    .query_one(
                        "SELECT pg_catalog.pg_create_restore_point($1)::pg_catalog.text",
                        &[&name],
                    )
                    .await
                    .unwrap();
                points.push((name, lsn(point.get(0))));
            }
            7 => {
                run(&format!(
                    "BEGIN; INSERT INTO rows (n) VALUES ({n} + 1000000); \
                     PREPARE TRANSACTION 'one'"
                ))
                .await;
                run("COMMIT PREPARED 'one'").await;
            }
            9 => {
                run("BEGIN; INSERT INTO rows (n) VALUES (-2); PREPARE TRANSACTION 'two'").await;
                run("ROLLBACK PREPARED 'two'").await;
            }
            11 => {
                // A commit with subtransactions, files and invalidations.
                run(&format!(
                    "BEGIN; INSERT INTO rows (n) VALUES ({n} + 2000000); \
                     CREATE TABLE t{n} (a text UNIQUE); \
                     DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN \
                     INSERT INTO t{n} VALUES (i); EXCEPTION WHEN others THEN NULL; END; \
                     END LOOP; END $$; \
                     DROP TABLE t{n}; PREPARE TRANSACTION 'three'"
                ))
                .await;
                run("COMMIT PREPARED 'three'").await;
            }
            13 => {
                // Records over many pages.
                run(&format!(
                    "SELECT pg_logical_emit_message(true, 'big', repeat('x', {}))",
                    n * 10_000
                ))
                .await;
            }
            17 => run("SELECT pg_switch_wal()").await,
            _ => {}
        }
    }
    points
}

/// `(commit, xid)` as `pg_waldump` reads them.
fn dumped(cluster: &Cluster, from: Lsn, to: Lsn) -> Vec<(bool, u32, Lsn)> {
    let mut command = as_postgres(server_programs().join("pg_waldump"));
    command
        .args(["-r", "Transaction", "-p"])
        .arg(cluster.data().join("pg_wal"))
        .args(["-s", &from.to_string(), "-e", &to.to_string()]);
    let output = succeed(&mut command).stdout;
    let text = String::from_utf8_lossy(&output).into_owned();
    let endings = text.lines().filter_map(|line| {
        let behind = |word: &str| {
            let (_, rest) = line.split_once(word)?;
            let end = rest.find([',', ':', ' ']).unwrap_or(rest.len());
            Some(rest[..end].to_owned())
        };
        let commit = match behind("desc: ")?.as_str() {
            "COMMIT" | "COMMIT_PREPARED" => true,
            "ABORT" | "ABORT_PREPARED" => false,
            _ => return None,
        };
        let prepared = behind("_PREPARED ");
        let xid = prepared.or_else(|| Some(behind("tx:")?.trim().to_owned()));
        let xid = xid.filter(|xid| !xid.is_empty());
        let xid = xid.or_else(|| {
            let (_, rest) = line.split_once("tx:")?;
            Some(rest.trim_start().split(',').next()?.to_owned())
        })?;
        Some((commit, xid.parse().ok()?, lsn(&behind("lsn: ")?)))
    });
    endings.collect()
}

#[tokio::test]
async fn all_that_is_committed_arrives_and_nothing_else() {
    let scratch = Scratch::new("follow");
    let cluster = Cluster::with(&scratch, "cluster", SETTINGS);
    let session = sql_session(&cluster).await;
    slot::create(&session, "follower").await.unwrap();
    cluster.sql("CREATE TABLE rows (n int, xid xid8 DEFAULT pg_current_xact_id())");
    let facts = server_facts(&session).await.unwrap();
    let state = slot::look(&session, "follower").await.unwrap().unwrap();
    let start = segment_start(state.restart_lsn.unwrap(), facts.wal_segment_size);

    let mut stream = replication(&cluster).await;
    stream
        .stream(Some("follower"), INITIAL, start)
        .await
        .unwrap();
    let layout = layout(&facts, &stream);
    let mut reader = Reader::new(stream, layout, INITIAL, start);
    // While it is read, it is written.
    let target = async {
        let mut points = work(&session, 0).await;
        // In the middle of it the connection is lost.
        points.extend(work(&session, 200).await);
        (points, now(&cluster))
    };
    tokio::pin!(target);
    let mut reconnected = false;
    let (points, end) = loop {
        tokio::select! {
            done = &mut target => break done,
            event = reader.step() => {
                event.unwrap();
                reader.confirm().await.unwrap();
            }
        }
        if !reconnected && reader.found.len() > 100 {
            reconnected = true;
            drop(reader.session);
            let position = reader.scanner.position();
            reader.session = stream_again(&cluster, Some("follower"), position).await;
        }
    };
    assert!(reconnected);
    reader.read_to(end).await;
    // The server may have written more by itself.
    assert!(reader.scanner.end_of_records() >= Some(end));
    assert!(!reader.scanner.end_reached());

    // Every row's transaction, at the time that the server remembers.
    let rows = cluster.sql(
        "SELECT xid, (extract(epoch FROM pg_xact_commit_timestamp(xid::xid)) * 1000000)::int8 \
         FROM rows WHERE n >= 0 ORDER BY n",
    );
    assert!(rows.lines().count() > 250);
    for row in rows.lines() {
        let (xid, at) = row.split_once('|').unwrap();
        let (xid, at): (u32, i64) = (xid.parse().unwrap(), at.parse().unwrap());
        let found = reader.found.iter().any(
            |found| matches!(found, Found::Commit { xid: x, at: a, .. } if (*x, *a) == (xid, at)),
        );
        assert!(found, "transaction {xid} at {at}");
    }
    // Every restore point, where the server said.
    let found = reader.found.iter().filter_map(|found| match found {
        Found::RestorePoint { end, name, .. } => Some((name.clone(), *end)),
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), points);
    // And nothing that PostgreSQL's own reader does not see.
    let endings: Vec<(bool, u32, Lsn)> = reader
        .found
        .iter()
        .filter_map(|found| match found {
            Found::Commit { end, xid, .. } => Some((true, *xid, *end)),
            Found::Abort { end, xid, .. } => Some((false, *xid, *end)),
            Found::RestorePoint { .. } | Found::Tablespace(_) => None,
        })
        .collect();
    let dumped = dumped(&cluster, start, end);
    let kinds = |endings: &[(bool, u32, Lsn)]| -> Vec<(bool, u32)> {
        endings
            .iter()
            .map(|(commit, xid, _)| (*commit, *xid))
            .collect()
    };
    assert_eq!(kinds(&endings), kinds(&dumped));
    for (index, (_, _, end)) in endings.iter().enumerate() {
        assert!(*end > dumped[index].2, "{end}");
        assert!(
            dumped.get(index + 1).is_none_or(|next| *end <= next.2),
            "{end}"
        );
    }
    assert!(endings.iter().any(|(commit, ..)| !commit));
}

#[tokio::test]
async fn a_stream_can_be_stopped_and_begun_again() {
    let scratch = Scratch::new("stop");
    let cluster = Cluster::start(&scratch, "cluster");
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    let mut session = replication(&cluster).await;
    let flushed = session.identify().await.unwrap().flushed;
    let start = segment_start(flushed, facts.wal_segment_size);
    for _ in 0..3 {
        session.stream(None, INITIAL, start).await.unwrap();
        // With data under way, and with a status that nobody waits for.
        session.confirm(start, start).await.unwrap();
        session.stop().await.unwrap();
        assert!(matches!(session.next().await, Err(ReplicationError::Idle)));
        assert_eq!(session.identify().await.unwrap().timeline, INITIAL);
    }
    session.stream(None, INITIAL, start).await.unwrap();
    let mut reader = Reader::new(
        session,
        layout(&facts, &replication(&cluster).await),
        INITIAL,
        start,
    );
    let end = now(&cluster);
    reader.read_to(end).await;
    reader.session.close().await;
    strongroom_tests::operator::eventually("end of the server's process", || {
        let senders = "SELECT count(*) FROM pg_stat_replication";
        (cluster.sql(senders) == "0").then_some(())
    });
}

#[tokio::test]
async fn what_is_confirmed_is_seen_by_the_server() {
    let scratch = Scratch::new("confirm");
    let cluster = Cluster::start(&scratch, "cluster");
    let session = sql_session(&cluster).await;
    slot::create(&session, "s").await.unwrap();
    let restart = slot::look(&session, "s").await.unwrap().unwrap();
    let start = segment_start(
        restart.restart_lsn.unwrap(),
        SegmentSize::new(16 << 20).unwrap(),
    );
    cluster.sql("CREATE TABLE t ()");
    let end = now(&cluster);
    let mut stream = replication(&cluster).await;
    stream.stream(Some("s"), INITIAL, start).await.unwrap();
    let facts = server_facts(&session).await.unwrap();
    let layout = layout(&facts, &stream);
    let mut reader = Reader::new(stream, layout, INITIAL, start);
    reader.read_to(end).await;
    let safe = Lsn(end.0 - 8);
    reader.session.confirm(end, safe).await.unwrap();
    strongroom_tests::operator::eventually("news at the server", || {
        let row = cluster.sql(
            "SELECT write_lsn, flush_lsn, replay_lsn IS NULL, application_name, \
             reply_time > now() - interval '1 minute', restart_lsn \
             FROM pg_stat_replication, pg_replication_slots",
        );
        (row == format!("{end}|{safe}|t|strongroom|t|{safe}")).then_some(())
    });
    let state = slot::look(&session, "s").await.unwrap().unwrap();
    assert_eq!(state.restart_lsn, Some(safe));
    assert!(state.active && state.physical && state.active_pid.is_some());
    assert_eq!(state.wal_status, Some(slot::WalStatus::Reserved));
    assert!(
        state.held_back.is_some_and(|bytes| bytes < 1 << 20),
        "{state:?}"
    );
}
