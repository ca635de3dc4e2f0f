use strongroom_redis::{
    glob::Pattern,
    restore::{keys, whole},
};
use strongroom_tests::{
    redis::{Server, assert_same, contents, fill},
    scratch::Scratch,
};
use tokio::sync::{Notify, mpsc};

use super::*;

async fn filled(scratch: &Scratch) -> (Server, Vec<u8>) {
    let source = Server::start(scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();
    (source, rdb)
}

#[tokio::test]
async fn a_target_holds_exactly_the_snapshot_afterwards() {
    let scratch = Scratch::new("whole");
    let (source, rdb) = filled(&scratch).await;
    // Expired since it was taken: a replica keeps it, a primary drops it.
    for (name, configuration) in [
        ("target", ""),
        ("append-only", "appendonly yes"),
        (
            "swaps",
            "repl-diskless-load swapdb\nreplica-serve-stale-data no",
        ),
        ("guarded", "masterauth its-own-secret"),
    ] {
        let target = Server::with(&scratch, name, configuration);
        target.run(&["SET", "old", "value"]);
        let sent = restore(&connection(&target), &rdb).await.unwrap();
        assert_eq!(sent, rdb.len() as u64);
        assert_eq!(target.info("role"), "master");
        assert_same(&contents(&source), &contents(&target));
        // It takes writes again.
        target.run(&["SET", "new", "value"]);
        if name == "guarded" {
            let kept = target.run(&["CONFIG", "GET", "masterauth"]).array();
            assert_eq!(kept[1].clone().text(), "its-own-secret");
        }
    }
    let target = Server::start(&scratch, "socket");
    restore(&to(&target.socket_url()), &rdb).await.unwrap();
    assert_same(&contents(&source), &contents(&target));
}

#[tokio::test]
async fn an_empty_snapshot_empties_the_target() {
    let scratch = Scratch::new("empty");
    let source = Server::start(&scratch, "source");
    let rdb = back_up(&connection(&source)).await.unwrap();
    let target = Server::start(&scratch, "target");
    fill(&target);
    restore(&connection(&target), &rdb).await.unwrap();
    assert!(contents(&target).keys.is_empty());
}

/// The source of the data waits for ever; then the restore is cancelled.
#[tokio::test]
async fn a_cancelled_restore_leaves_a_primary_with_its_old_data() {
    struct Stuck<'a>(Option<Vec<u8>>, &'a Notify);
    impl Chunks for Stuck<'_> {
        async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
            if let Some(first) = self.0.take() {
                return Ok(Some(first));
            }
            self.1.notify_one();
            std::future::pending().await
        }
    }
    let scratch = Scratch::new("cancelled");
    let (_source, rdb) = filled(&scratch).await;
    let target = Server::start(&scratch, "target");
    target.run(&["SET", "kept", "value"]);
    let (stuck, cancel) = (Notify::new(), CancellationToken::new());
    let mut chunks = Stuck(Some(rdb[..1000].to_vec()), &stuck);
    let connection = connection(&target);
    let request = whole::Request {
        connection: &connection,
        data: &dataset(&rdb),
        length: rdb.len() as u64,
        allow_replicas: false,
        attach: &|_| Ok(()),
        sent: &|_| {},
        loaded: &|| {},
        cancel: &cancel,
    };
    let (outcome, ()) = tokio::join!(whole::run(&request, &mut chunks), async {
        stuck.notified().await;
        assert_eq!(target.info("role"), "slave");
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(RedisError::Cancelled)), "{outcome:?}");
    assert_eq!(target.info("role"), "master");
    assert_eq!(target.run(&["GET", "kept"]).text(), "value");
    target.run(&["SET", "new", "value"]);
}

/// What comes is no RDB: the target drops it, or has emptied itself.
#[tokio::test]
async fn a_target_that_cannot_load_is_a_primary_again() {
    let scratch = Scratch::new("damaged");
    let (_source, rdb) = filled(&scratch).await;
    let target = Server::start(&scratch, "target");
    let data = dataset(&rdb);
    let mut damaged = rdb.clone();
    damaged[..5].copy_from_slice(b"WRONG");
    let connection = connection(&target);
    let request = whole::Request {
        connection: &connection,
        data: &data,
        length: rdb.len() as u64,
        allow_replicas: false,
        attach: &|_| Ok(()),
        sent: &|_| {},
        loaded: &|| {},
        cancel: &CancellationToken::new(),
    };
    let error = whole::run(&request, &mut Pieces::of(&damaged))
        .await
        .unwrap_err();
    assert!(matches!(error, RedisError::NotTaken { .. }), "{error}");
    assert_eq!(target.info("role"), "master");
}

/// As after an agent that was killed in the middle of a restore.
#[tokio::test]
async fn a_server_that_was_left_behind_is_detached_and_no_other() {
    let scratch = Scratch::new("left");
    let target = Server::start(&scratch, "target");
    let connection = connection(&target);
    let at = "127.0.0.1:9".parse().unwrap();
    assert!(!whole::detach_if_left(&connection, at).await.unwrap());
    target.run(&["REPLICAOF", "127.0.0.1", "9"]);
    let other = "127.0.0.1:10".parse().unwrap();
    assert!(!whole::detach_if_left(&connection, other).await.unwrap());
    assert_eq!(target.info("role"), "slave");
    assert!(whole::detach_if_left(&connection, at).await.unwrap());
    assert_eq!(target.info("role"), "master");
}

async fn restore_keys(
    target: &Server,
    rdb: &[u8],
    patterns: &[&str],
    now: i64,
) -> Result<(keys::Found, keys::Written), RedisError> {
    let connection = connection(target);
    let (mut client, _) = keys::prepare(&connection, &dataset(rdb)).await?;
    let (sender, mut receiver) = mpsc::channel(keys::AHEAD);
    let patterns: Vec<Pattern> = patterns.iter().map(Pattern::new).collect();
    let rdb = rdb.to_vec();
    let scan = tokio::task::spawn_blocking(move || {
        keys::scan(rdb.as_slice(), &patterns, &|| now, Some(&sender))
    });
    let written = keys::write(&mut client, &mut receiver, &|_| {}).await;
    drop(receiver);
    let (found, _) = scan.await.unwrap().expect("the RDB is whole");
    Ok((found, written?))
}

#[tokio::test]
async fn keys_that_match_come_back_and_all_others_stay() {
    let scratch = Scratch::new("keys");
    let (source, rdb) = filled(&scratch).await;
    let wanted = contents(&source);
    // Every key by itself, into a server that has some of them otherwise.
    let target = Server::start(&scratch, "target");
    target.run(&["SET", "mine", "value"]);
    target.run(&["RPUSH", "string:text", "not", "a", "string"]);
    let patterns = ["string:*", "ttl:?[a-z]*", "stream:events"];
    let (found, written) = restore_keys(&target, &rdb, &patterns, 0).await.unwrap();
    assert_eq!((written.restored, written.failed), (found.total(), 0));
    let mut now = contents(&target);
    assert_eq!(now.keys.len() as u64, found.total() + 1);
    now.functions.clone_from(&wanted.functions);
    for prefix in ["string:", "ttl:", "stream:events"] {
        let wanted = wanted.clone().beginning(prefix);
        assert_same(&wanted, &now.clone().beginning(prefix));
    }
    assert_eq!(target.run(&["GET", "mine"]).text(), "value");

    let everything = Server::start(&scratch, "everything");
    restore_keys(&everything, &rdb, &["*"], 0).await.unwrap();
    let mut everything = contents(&everything);
    everything.functions.clone_from(&wanted.functions);
    assert_same(&wanted, &everything);

    // At the end of time, what expires has expired, and is left alone.
    let later = Server::start(&scratch, "later");
    later.run(&["SET", "ttl:string", "still here"]);
    let (found, written) = restore_keys(&later, &rdb, &["ttl:*"], i64::MAX)
        .await
        .unwrap();
    assert_eq!((found.total(), written.restored), (0, 0));
    assert_eq!(found.expired, 6 * 3);
    assert_eq!(later.run(&["GET", "ttl:string"]).text(), "still here");
}

#[tokio::test]
async fn keys_that_a_server_does_not_take_are_named() {
    let scratch = Scratch::new("keys-refused");
    let (_source, rdb) = filled(&scratch).await;
    let full = Server::with(&scratch, "full", "maxmemory 1\nmaxmemory-policy noeviction");
    let (_, written) = restore_keys(&full, &rdb, &["string:t*"], 0).await.unwrap();
    assert_eq!((written.restored, written.failed), (0, 3));
    assert_eq!(written.failures[0].0, b"string:text");
    assert!(written.failures[0].1.contains("OOM"), "{written:?}");

    let forbidding = Server::with(
        &scratch,
        "forbidding",
        "user default on nopass ~* &* +@all -restore",
    );
    let error = restore_keys(&forbidding, &rdb, &["*"], 0)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("+restore"), "{error}");
}
