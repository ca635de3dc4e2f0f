use strongroom_redis::{Info, Product, Role, Tls};
use strongroom_tests::{
    redis::{Certificates, Reply, Server, assert_same, contents, fill},
    scratch::Scratch,
};

use super::*;

/// Counts as the server has them.
async fn info(server: &Server) -> Info {
    let mut client = Client::connect(&connection(server)).await.unwrap();
    Info::ask(&mut client).await.unwrap()
}

#[tokio::test]
async fn every_kind_of_primary_sends_all_that_it_holds() {
    for (name, configuration) in [
        ("diskless", "repl-diskless-sync yes"),
        ("disk", "repl-diskless-sync no"),
        (
            "lfu",
            "repl-diskless-sync yes\nmaxmemory 1gb\nmaxmemory-policy allkeys-lfu",
        ),
        ("plain", "repl-diskless-sync yes\nrdbcompression no"),
    ] {
        let scratch = Scratch::new(name);
        let server = Server::with(&scratch, "redis", configuration);
        fill(&server);
        let rdb = back_up(&connection(&server)).await.unwrap();
        let summary = verified(&rdb).summary;
        assert_eq!(summary.databases, info(&server).await.databases, "{name}");
        assert_eq!(summary.databases.len(), 3);
        assert_eq!(summary.functions, server.functions());
        let version = format!("{}-ver", server.product());
        assert_eq!(summary.aux[&version], server.version());
        server.wait_for_no_replicas();
        // Nothing was written to its disk by hand.
        assert!(!server.directory().join("dump.rdb").exists() || name == "disk");
    }
}

#[tokio::test]
async fn sockets_and_tls_serve_as_well() {
    let scratch = Scratch::new("tls");
    let certificates = Certificates::make(&scratch);
    let server = Server::with(&scratch, "redis", &certificates.configuration());
    fill(&server);
    let by_socket = back_up(&to(&server.socket_url())).await.unwrap();

    let mut encrypted = to(&format!("rediss://localhost:{}", server.port()));
    encrypted.tls = Tls {
        ca_file: Some(certificates.ca.clone()),
        identity: Some((certificates.certificate.clone(), certificates.key.clone())),
        server_name: None,
    };
    let by_tls = back_up(&encrypted).await.unwrap();
    assert_eq!(
        verified(&by_tls).summary.databases,
        verified(&by_socket).summary.databases
    );

    // Without a certificate, without trust, and to a port without TLS.
    encrypted.tls.identity = None;
    let error = back_up(&encrypted).await.unwrap_err().to_string();
    assert!(error.contains("tls.certificate_file"), "{error}");
    encrypted.tls.server_name = Some("elsewhere".into());
    let error = back_up(&encrypted).await.unwrap_err().to_string();
    assert!(error.contains("server_name"), "{error}");
    encrypted.tls.ca_file = Some(scratch.join("absent"));
    let error = back_up(&encrypted).await.unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
    let plain = Server::start(&scratch, "plain");
    let mut wrong = to(&format!("rediss://localhost:{}", plain.port()));
    wrong.tls.ca_file = Some(certificates.ca.clone());
    wrong.timeouts.connect = std::time::Duration::from_millis(200);
    let error = back_up(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("tls-port"), "{error}");
}

#[tokio::test]
async fn a_replica_can_be_backed_up_in_its_primary_s_stead() {
    let scratch = Scratch::new("replica");
    let primary = Server::start(&scratch, "primary");
    let mut replica = Server::start(&scratch, "follower");
    fill(&primary);
    replica.follow(&primary);
    let rdb = back_up(&connection(&replica)).await.unwrap();
    let info = info(&replica).await;
    assert!(matches!(info.role, Role::Replica { linked: true, .. }));
    let expected = match replica.product() {
        "valkey" => Product::Valkey,
        _ => Product::Redis,
    };
    assert_eq!(info.product, expected);
    assert_eq!(verified(&rdb).summary.databases, info.databases);
    assert_same(&contents(&primary), &contents(&replica));

    let mut primary = primary;
    primary.kill();
    strongroom_tests::operator::eventually("loss of the link", || {
        (replica.info("master_link_status") == "down").then_some(())
    });
    let error = back_up(&connection(&replica))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("lost its primary"), "{error}");
    replica.kill();
}

/// The server is killed once the transfer is under way, which is held there by
/// nobody reading.
#[tokio::test]
async fn a_server_that_is_killed_meanwhile_ends_the_transfer() {
    for diskless in ["yes", "no"] {
        let scratch = Scratch::new("killed");
        let configuration = format!("repl-diskless-sync {diskless}\nrdbcompression no");
        let mut server = Server::with(&scratch, "redis", &configuration);
        // Far more than sockets hold, as long as it is not compressed.
        server.run(&["DEBUG", "POPULATE", "64", "key", "1000000"]);
        let mut client = Client::connect(&connection(&server)).await.unwrap();
        let info = Info::ask(&mut client).await.unwrap();
        let mut sync = FullSync::begin(client, &info).await.unwrap();
        let mut buffer = vec![0; 4096];
        assert!(sync.read(&mut buffer).await.unwrap() > 0);
        server.kill();
        let error = loop {
            match sync.read(&mut buffer).await {
                Ok(0) => panic!("the RDB is said to be whole"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, RedisError::Cut { .. }), "{error}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains("repl-timeout"), "{error}");
    }
}

/// Valkey 9 and Redis 7.4 have such hashes: each in a format of its own, which
/// Valkey writes for those alone who say that they know it.
#[tokio::test]
async fn hashes_whose_fields_expire_come_back() {
    let scratch = Scratch::new("fields");
    let server = Server::start(&scratch, "redis");
    server.run(&["HSET", "hash", "brief", "1", "lasting", "2"]);
    let expire = ["HEXPIRE", "hash", "5000", "FIELDS", "1", "brief"];
    if matches!(server.client().ask(&expire), Reply::Error(_)) {
        eprintln!("{} knows no fields that expire", server.version());
        return;
    }
    let rdb = back_up(&connection(&server)).await.unwrap();
    assert_eq!(verified(&rdb).summary.databases[&0].keys, 1);
    let target = Server::start(&scratch, "target");
    restore(&connection(&target), &rdb).await.unwrap();
    for (field, lasts) in [("brief", false), ("lasting", true)] {
        let left = ["HTTL", "hash", "FIELDS", "1", field];
        let left = target.run(&left).array()[0].clone().integer();
        assert_eq!(left == -1, lasts, "{field} lasts for {left} s");
    }
}
