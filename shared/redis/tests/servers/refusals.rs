//! What cannot be done is said, and how it could be.

use strongroom_redis::Password;
use strongroom_tests::{
    redis::{Certificates, Server, contents, fill},
    scratch::Scratch,
};

use super::*;

#[track_caller]
fn says(error: &RedisError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}

#[tokio::test]
async fn a_backup_without_the_right_to_it_names_what_is_missing() {
    let scratch = Scratch::new("rights");
    let server = Server::with(
        &scratch,
        "redis",
        "requirepass open-sesame\n\
         user least on >least-secret +ping +info +replconf +psync\n\
         user lesser on >lesser-secret +ping +info +replconf\n",
    )
    .password("open-sesame");
    server.run(&["SET", "a", "b"]);
    let with = |user: Option<&str>, password: &str| {
        let mut connection = connection(&server);
        connection.username = user.map(Into::into);
        connection.password = Some(Password::new(password));
        connection
    };
    let error = back_up(&connection(&server)).await.unwrap_err();
    says(&error, &["NOAUTH", "password_file"]);
    let error = back_up(&with(None, "wrong-secret")).await.unwrap_err();
    says(&error, &["refuses AUTH", "password_file"]);
    assert!(!error.to_string().contains("wrong-secret") && !error.is_retryable());
    let error = back_up(&with(Some("lesser"), "lesser-secret"))
        .await
        .unwrap_err();
    says(&error, &["PSYNC", "ACL SETUSER lesser +psync"]);
    // All that is missing at once.
    server.run(&["ACL", "SETUSER", "lesser", "-info", "-replconf"]);
    let error = back_up(&with(Some("lesser"), "lesser-secret"))
        .await
        .unwrap_err();
    says(
        &error,
        &[
            "user lesser may not run INFO, REPLCONF;",
            "ACL SETUSER lesser +ping +info +replconf +psync",
        ],
    );
    for (user, password) in [(None, "open-sesame"), (Some("least"), "least-secret")] {
        let rdb = back_up(&with(user, password)).await.unwrap();
        assert_eq!(verified(&rdb).summary.databases[&0].keys, 1);
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_named() {
    let scratch = Scratch::new("down");
    let mut server = Server::start(&scratch, "redis");
    server.kill();
    for url in [server.url(), server.socket_url()] {
        let error = back_up(&to(&url)).await.unwrap_err();
        says(&error, &["cannot connect", &url]);
        assert!(error.is_retryable());
    }
}

/// Each key takes it a second to load: it is never done.
#[tokio::test]
async fn a_server_that_loads_is_left_alone() {
    let scratch = Scratch::new("loading");
    let source = Server::start(&scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let configuration = "key-load-delay 1000000\nloading-process-events-interval-bytes 1024\n";
    let mut target = Server::prepare(&scratch, "target", configuration);
    std::fs::write(target.directory().join("dump.rdb"), &rdb).unwrap();
    target
        .spawn()
        .wait_for_line("its loading", |line| line.contains("RDB age"));
    let error = back_up(&connection(&target)).await.unwrap_err();
    says(&error, &["loading", "before it is done"]);
    let error = restore(&connection(&target), &rdb).await.unwrap_err();
    says(&error, &["loading"]);
    target.kill();
}

/// Each of these would lose data, or end the server, if it were tried.
#[tokio::test]
async fn targets_that_cannot_take_the_data_are_left_alone() {
    let scratch = Scratch::new("targets");
    let source = Server::start(&scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();

    let cases = [
        ("cluster-enabled yes", "cluster"),
        ("databases 8", "no database 15"),
        (
            "user default on nopass ~* &* +@all -replicaof",
            "ACL SETUSER default +replicaof",
        ),
    ];
    for (at, (configuration, wanted)) in cases.into_iter().enumerate() {
        let target = Server::with(&scratch, &format!("target-{at}"), configuration);
        let clustered = configuration.starts_with("cluster");
        if !clustered {
            target.run(&["SET", "kept", "value"]);
        }
        let error = restore(&connection(&target), &rdb).await.unwrap_err();
        says(&error, &[wanted]);
        assert_eq!(target.info("role"), "master");
        if !clustered {
            assert_eq!(target.run(&["GET", "kept"]).text(), "value");
        }
    }

    let replica = Server::start(&scratch, "replica");
    replica.follow(&source);
    let error = restore(&connection(&replica), &rdb).await.unwrap_err();
    says(&error, &["is a replica of 127.0.0.1", "primary"]);
    assert_eq!(replica.info("master_link_status"), "up");
}

#[tokio::test]
async fn a_target_that_wants_tls_of_its_primary_keeps_its_data() {
    let scratch = Scratch::new("tls-replication");
    let source = Server::start(&scratch, "source");
    source.run(&["SET", "new", "value"]);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let certificates = Certificates::make(&scratch);
    let configuration = certificates.configuration() + "tls-replication yes\n";
    let target = Server::with(&scratch, "target", &configuration);
    target.run(&["SET", "kept", "value"]);
    let error = restore(&to(&target.socket_url()), &rdb).await.unwrap_err();
    says(&error, &["tls-replication no"]);
    assert_eq!(target.info("role"), "master");
    assert_eq!(contents(&target).keys.len(), 1);
    assert_eq!(target.run(&["GET", "kept"]).text(), "value");
}

/// Before anything begins, and with one statement for all.
#[tokio::test]
async fn rights_that_a_restore_lacks_are_named_before_it_begins() {
    let scratch = Scratch::new("lacks");
    let source = Server::start(&scratch, "source");
    fill(&source);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let target = Server::with(&scratch, "target", "user few on >few-secret ~* +ping +info");
    let mut few = connection(&target);
    few.username = Some("few".into());
    few.password = Some(Password::new("few-secret"));
    let prepare = |data: Dataset| {
        let few = &few;
        async move {
            strongroom_redis::restore::whole::prepare(few, &data, false)
                .await
                .map(drop)
        }
    };
    let error = prepare(dataset(&rdb)).await.unwrap_err();
    says(
        &error,
        &[
            "may not run REPLICAOF, SELECT, PUBSUB|NUMSUB, CONFIG|GET, BGSAVE;",
            "ACL SETUSER few +replicaof +select +pubsub|numsub +config|get +bgsave",
        ],
    );
    assert!(!error.is_retryable());
    let keys = strongroom_redis::restore::keys::prepare(&few, &dataset(&rdb)).await;
    says(
        &keys.unwrap_err(),
        &[
            "may not run SELECT, RESTORE;",
            "ACL SETUSER few +select +restore",
        ],
    );
    // The statement is all that it takes.
    let said = error.to_string();
    let (_, statement) = said.split_once("allow it: ").unwrap();
    let words: Vec<&str> = statement.split(' ').collect();
    target.run(&words);
    prepare(dataset(&rdb)).await.unwrap();
    // Which keys it may touch is seen at each key.
    target.run(&["ACL", "SETUSER", "few", "resetkeys", "~app:*", "+restore"]);
    strongroom_redis::restore::keys::prepare(&few, &dataset(&rdb))
        .await
        .unwrap();
}
