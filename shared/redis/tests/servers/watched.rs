//! Replicas and Sentinels beside the servers that are backed up or restored.

use strongroom_tests::{
    operator::eventually,
    redis::{Sentinel, Server, contents, fill},
    scratch::Scratch,
};

use super::*;

/// The Sentinel looks at the server while the backup follows it.
#[tokio::test]
async fn a_backup_leaves_no_trace_in_a_sentinel() {
    let scratch = Scratch::new("trace");
    let server = Server::start(&scratch, "server");
    let replica = Server::start(&scratch, "replica");
    replica.follow(&server);
    server.run(&["CONFIG", "SET", "rdbcompression", "no"]);
    server.run(&["DEBUG", "POPULATE", "64", "key", "1000000"]);
    let mut client = Client::connect(&connection(&server)).await.unwrap();
    let info = strongroom_redis::replica::check(&mut client).await.unwrap();
    let mut sync = FullSync::begin(client, &info).await.unwrap();
    let mut buffer = vec![0; 4096];
    assert!(sync.read(&mut buffer).await.unwrap() > 0);
    assert_eq!(server.info("connected_slaves"), "2");

    let sentinel = Sentinel::watch(&scratch, &server);
    assert_eq!(sentinel.replicas(), [replica.port()]);
    drop(sync);
}

#[tokio::test]
async fn a_target_with_replicas_is_refused_unless_that_is_meant() {
    let scratch = Scratch::new("replicas");
    let source = Server::start(&scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let target = Server::start(&scratch, "target");
    let replica = Server::start(&scratch, "replica");
    target.run(&["SET", "old", "value"]);
    replica.follow(&target);

    let error = try_restore(&connection(&target), &rdb, false)
        .await
        .unwrap_err();
    let said = error.to_string();
    let name = format!("the replica 127.0.0.1:{}", replica.port());
    for wanted in [&name, "promotes a replica", "--allow-replicas"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(target.run(&["GET", "old"]).text(), "value");

    let outcome = try_restore(&connection(&target), &rdb, true).await.unwrap();
    assert_eq!(outcome.before.watchers.replicas.len(), 1);
    assert!(outcome.appeared.is_empty(), "{:?}", outcome.appeared);
    eventually("the replica's new data", || {
        (contents(&replica) == contents(&target)).then_some(())
    });
}

#[tokio::test]
async fn a_target_that_a_sentinel_watches_is_refused() {
    let scratch = Scratch::new("watched");
    let source = Server::start(&scratch, "source");
    source.run(&["SET", "a", "b"]);
    let rdb = back_up(&connection(&source)).await.unwrap();
    // Others may listen to what they like.
    let target = Server::with(
        &scratch,
        "target",
        "user lesser on nopass ~* &* +@all -pubsub",
    );
    let mut subscriber = target.client();
    subscriber.run(&["SUBSCRIBE", "news"]);
    let outcome = try_restore(&connection(&target), &rdb, false).await;
    assert!(outcome.unwrap().before.watchers.is_empty());

    let _sentinel = Sentinel::watch(&scratch, &target);
    let error = try_restore(&connection(&target), &rdb, false)
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("watched by a Sentinel"), "{said}");

    // Who may not look is told which right it takes.
    let mut lesser = connection(&target);
    lesser.username = Some("lesser".into());
    lesser.password = Some(strongroom_redis::Password::new("any"));
    let error = try_restore(&lesser, &rdb, false).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("ACL SETUSER lesser +pubsub|numsub"), "{said}");
}

/// As a Sentinel does that takes the server for lost.
#[tokio::test]
async fn a_target_that_is_taken_over_meanwhile_is_no_success() {
    struct Taken<'a>(Option<Vec<u8>>, &'a Server, u16);
    impl Chunks for Taken<'_> {
        async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
            if let Some(first) = self.0.take() {
                Ok(Some(first))
            } else {
                let port = self.2.to_string();
                self.1.run(&["REPLICAOF", "127.0.0.1", &port]);
                std::future::pending().await
            }
        }
    }
    let scratch = Scratch::new("taken");
    let source = Server::start(&scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let target = Server::start(&scratch, "target");
    let promoted = Server::start(&scratch, "promoted");
    let cancel = CancellationToken::new();
    let connection = connection(&target);
    let request = strongroom_redis::restore::whole::Request {
        connection: &connection,
        data: &dataset(&rdb),
        length: rdb.len() as u64,
        allow_replicas: false,
        attach: &|_| Ok(()),
        sent: &|_| {},
        loaded: &|| {},
        cancel: &cancel,
    };
    let mut chunks = Taken(Some(rdb[..1000].to_vec()), &target, promoted.port());
    let run = strongroom_redis::restore::whole::run(&request, &mut chunks);
    let (outcome, ()) = tokio::join!(run, async {
        while !follows(&target, &promoted) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        cancel.cancel();
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error, RedisError::TakenOver { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&format!("127.0.0.1:{}", promoted.port())),
        "{said}"
    );
    // It was left to whoever told it so.
    assert!(follows(&target, &promoted));
    assert!(!said.contains("  "), "{said}");
}

fn follows(server: &Server, primary: &Server) -> bool {
    let said = server.run(&["INFO", "replication"]).text();
    said.contains(&format!("master_port:{}\r", primary.port()))
}
