//! Who is let in, and how.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use strongroom_postgres::connection::{Host, ServerError, SslMode};
use strongroom_tests::redis::Certificates;

use super::*;

/// Has these rules come before all others.
fn rule(cluster: &mut Cluster, rules: &str) {
    let hba = cluster.data().join("pg_hba.conf");
    let before = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("{rules}\n{before}")).unwrap();
    cluster.stop();
    cluster.start_again();
}

async fn refused(connection: &Connection) -> ServerError {
    let opened = ReplicationSession::open(connection).await;
    opened.map(|_| panic!("let in")).unwrap_err()
}

async fn let_in(connection: &Connection) {
    let session = ReplicationSession::open(connection).await;
    let identity = session.unwrap().identify().await.unwrap();
    assert_eq!(identity.timeline, INITIAL);
}

#[tokio::test]
async fn passwords_are_given_as_they_are_asked_for() {
    let scratch = Scratch::new("passwords");
    let mut cluster = Cluster::start(&scratch, "cluster");
    for (role, encryption) in [("md5", "md5"), ("scram", "scram-sha-256"), ("clear", "md5")] {
        cluster.sql(&format!(
            "SET password_encryption = '{encryption}'; \
             CREATE ROLE {role} REPLICATION LOGIN PASSWORD 'h\u{fc}sh'"
        ));
    }
    cluster.sql("CREATE ROLE nobody REPLICATION LOGIN; CREATE ROLE sleeper REPLICATION");
    rule(
        &mut cluster,
        "host replication md5 all md5\nhost replication scram all scram-sha-256\n\
         host replication clear all password\nhost replication nobody all reject\n\
         host replication postgres all trust\n",
    );
    for role in ["md5", "scram", "clear"] {
        let_in(&as_role(&cluster, role, Some("h\u{fc}sh"))).await;
        let error = refused(&as_role(&cluster, role, Some("wrong"))).await;
        assert!(matches!(error, ServerError::Password { .. }), "{error}");
        says(&error, &["password_file", role]);
        assert!(!error.is_retryable() && !error.to_string().contains("wrong"));
        let error = refused(&as_role(&cluster, role, None)).await;
        assert!(matches!(error, ServerError::NoPassword { .. }), "{error}");
    }
    // Nobody asks for it.
    let_in(&as_role(&cluster, "postgres", Some("unused"))).await;
    for (role, wanted) in [
        ("nobody", "replication connection"),
        ("sleeper", "not permitted"),
    ] {
        let error = refused(&as_role(&cluster, role, Some("x"))).await;
        assert!(matches!(error, ServerError::Refused { .. }), "{error}");
        says(&error, &["pg_hba.conf", wanted]);
    }
}

#[tokio::test]
async fn a_role_without_the_right_is_told_what_to_run() {
    let scratch = Scratch::new("right");
    let cluster = Cluster::start(&scratch, "cluster");
    cluster.sql("CREATE ROLE \"The \"\"least\" LOGIN");
    let least = as_role(&cluster, "The \"least", None);
    let error = refused(&least).await;
    says(&error, &["ALTER ROLE \"The \"\"least\" REPLICATION"]);
    let error = ReplicationError::from(error);
    assert!(
        matches!(error, ReplicationError::Privilege { .. }),
        "{error}"
    );
    assert!(!error.is_transient());
    let session = Session::open(&least, None).await.unwrap();
    let error = slot::create(&session, "s").await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::Privilege { .. }),
        "{error}"
    );
    says(&error, &["make a replication slot", "ALTER ROLE"]);
}

#[tokio::test]
async fn a_server_takes_so_many_senders() {
    let scratch = Scratch::new("senders");
    let cluster = Cluster::with(&scratch, "cluster", "max_wal_senders = 1");
    let first = replication(&cluster).await;
    let error = refused(&connection(&cluster)).await;
    assert!(matches!(error, ServerError::TooMany { .. }), "{error}");
    says(&error, &["max_wal_senders"]);
    assert!(error.is_retryable());
    first.close().await;
    soon(
        "room for another",
        async || match ReplicationSession::open(&connection(&cluster)).await {
            Ok(session) => Some(session),
            Err(error) => {
                assert!(matches!(error, ServerError::TooMany { .. }), "{error}");
                None
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_socket_is_never_encrypted() {
    let scratch = Scratch::new("socket");
    // Paths of sockets are short.
    let sockets = tempfile::tempdir().unwrap();
    fs::set_permissions(sockets.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let settings = format!("unix_socket_directories = '{}'", sockets.path().display());
    let cluster = Cluster::with(&scratch, "cluster", &settings);
    let mut connection = connection(&cluster);
    connection.address.host = Host::Unix(sockets.path().into());
    connection.tls.mode = SslMode::VerifyFull;
    let_in(&connection).await;
}

/// For the server alone.
fn give(cluster: &Cluster, from: &Path, name: &str) {
    let to = cluster.data().join(name);
    fs::copy(from, &to).unwrap();
    let owner = cluster.data().metadata().unwrap();
    chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn sslmode_means_what_libpq_means_by_it() {
    let scratch = Scratch::new("tls");
    let mut cluster = Cluster::start(&scratch, "cluster");
    let with = |mode: SslMode, ca: Option<&Path>| {
        let mut connection = as_role(&cluster, "secured", Some("hush"));
        connection.tls.mode = mode;
        connection.tls.ca_file = ca.map(Into::into);
        connection
    };
    let modes = [
        SslMode::Disable,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];
    let certificates = Certificates::make(&scratch);
    let elsewhere = Scratch::new("others");
    let others = Certificates::make(&elsewhere);
    let ca = certificates.ca.as_path();
    let connections = modes.map(|mode| with(mode, mode.needs_ca().then_some(ca)));
    let foreign = [SslMode::VerifyCa, SslMode::VerifyFull].map(|mode| with(mode, Some(&others.ca)));
    let mut any_name = with(SslMode::VerifyCa, Some(ca));
    let mut other_name = with(SslMode::VerifyFull, Some(ca));
    for connection in [&mut any_name, &mut other_name] {
        // As good an address, but not in the certificate.
        connection.address.host = Host::Tcp("127.0.0.2".into());
    }
    cluster.sql(
        "SET password_encryption = 'scram-sha-256'; \
         CREATE ROLE secured REPLICATION LOGIN PASSWORD 'hush'",
    );
    cluster.sql("CREATE ROLE plain REPLICATION LOGIN");
    cluster.sql("ALTER SYSTEM SET listen_addresses = '127.0.0.1, 127.0.0.2'");

    // A server without TLS.
    for connection in &connections[..2] {
        let_in(connection).await;
    }
    for connection in &connections[2..] {
        let error = refused(connection).await;
        assert!(matches!(error, ServerError::Handshake { .. }), "{error}");
        says(&error, &["does not encrypt", "sslmode"]);
    }

    // One that wants it. Its passwords are bound to the channel.
    give(&cluster, &certificates.certificate, "server.crt");
    give(&cluster, &certificates.key, "server.key");
    cluster.sql("ALTER SYSTEM SET ssl = on");
    rule(
        &mut cluster,
        "hostssl replication secured all scram-sha-256\nhostnossl replication secured all reject\n\
         hostssl replication plain all reject\nhostnossl replication plain all trust\n\
         host replication postgres all trust\n",
    );
    for connection in connections[1..].iter().chain([&any_name]) {
        let_in(connection).await;
    }
    let error = refused(&connections[0]).await;
    assert!(matches!(error, ServerError::Refused { .. }), "{error}");
    for connection in foreign.iter().chain([&other_name]) {
        let error = refused(connection).await;
        assert!(matches!(error, ServerError::Handshake { .. }), "{error}");
        says(&error, &["certificate", "ca_file"]);
    }
    let mut wrong = connections[1].clone();
    wrong.password = Some(Zeroizing::new("wrong".into()));
    let error = refused(&wrong).await;
    assert!(matches!(error, ServerError::Password { .. }), "{error}");

    // One that does not want it of this role.
    let mut plain = connections[1].clone();
    plain.address.user = "plain".into();
    let_in(&plain).await;
    plain.tls.mode = SslMode::Require;
    let error = refused(&plain).await;
    assert!(matches!(error, ServerError::Refused { .. }), "{error}");

    // The stream is as good.
    let mut session = ReplicationSession::open(&connections[4]).await.unwrap();
    let end = now(&cluster);
    let start = segment_start(end, SegmentSize::new(16 << 20).unwrap());
    session.stream(None, INITIAL, start).await.unwrap();
    let facts = server_facts(&sql_session(&cluster).await).await.unwrap();
    let layout = layout(&facts, &session);
    Reader::new(session, layout, INITIAL, start)
        .read_to(end)
        .await;
}

/// Whoever answers with these bytes on a port of its own.
fn answering(answer: &'static [u8]) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 1024];
        let _length = stream.read(&mut hello).unwrap();
        // Whoever dials may have gone.
        let _ = stream.write_all(answer);
    });
    Connection {
        address: format!("postgres://u@127.0.0.1:{port}/d").parse().unwrap(),
        password: None,
        tls: Tls {
            mode: SslMode::Disable,
            ..Tls::default()
        },
    }
}

#[tokio::test]
async fn what_is_no_server_or_none_yet_is_told_apart() {
    let starting = b"E\0\0\0\x20SFATAL\0C57P03\0Mstarting up\0\0";
    let error = refused(&answering(starting)).await;
    assert!(matches!(error, ServerError::NotReady { .. }), "{error}");
    assert!(error.is_retryable());
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"R\0\0\0\x08\0\0\0\0d\0\0\0\x04",
        b"Z\0\0\0\x05I",
    ] {
        let error = refused(&answering(answer)).await;
        assert!(matches!(error, ServerError::Unreachable { .. }), "{error}");
    }
    let mut encrypting = answering(b"E");
    encrypting.tls.mode = SslMode::Require;
    let error = refused(&encrypting).await;
    assert!(matches!(error, ServerError::Handshake { .. }), "{error}");
    let gss = refused(&answering(b"R\0\0\0\x08\0\0\0\x07")).await;
    says(&gss, &["not supported", "pg_hba.conf"]);
    let old = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x1aserver_version\x009.6.24\0Z\0\0\0\x05I";
    let error = refused(&answering(old)).await;
    assert!(matches!(error, ServerError::TooOld { .. }), "{error}");
}
