//! Ways to reach a server.

use std::fs;

use strongroom_tests::{
    cluster::{Cluster, directory_for_postgres},
    postgres::Server,
    scratch::Scratch,
};

use super::{Dumps, private};
use crate::world::{assert_says, snapshot_of};

/// An authority, and a certificate of it for 127.0.0.1 and no name.
struct Certificates {
    ca: String,
    certificate: String,
    key: String,
}

impl Certificates {
    fn make() -> Self {
        let make = || -> Result<_, rcgen::Error> {
            let ca_key = rcgen::KeyPair::generate()?;
            let mut ca = rcgen::CertificateParams::new(Vec::new())?;
            ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            // OpenSSL takes a certificate for its own issuer when names agree.
            ca.distinguished_name
                .push(rcgen::DnType::CommonName, "a test's authority");
            let ca_certificate = ca.self_signed(&ca_key)?;
            let issuer = rcgen::Issuer::new(ca, ca_key);
            let key = rcgen::KeyPair::generate()?;
            let names = vec!["127.0.0.1".into()];
            let certificate = rcgen::CertificateParams::new(names)?.signed_by(&key, &issuer)?;
            Ok(Self {
                ca: ca_certificate.pem(),
                certificate: certificate.pem(),
                key: key.serialize_pem(),
            })
        };
        make().expect("certificates can be made")
    }
}

#[test]
fn tls_as_libpq_means_it_and_unix_sockets() {
    let scratch = Scratch::new("tls");
    let certificates = Certificates::make();
    // The path of a socket has a hundred bytes or so.
    let sockets = tempfile::tempdir().expect("a directory");
    let socket_directory = sockets.path().join("s");
    directory_for_postgres(&socket_directory);
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sockets.path(), readable).expect("a mode can be set");
    // Both addresses of that name: whichever is tried last says the same.
    let settings = format!(
        "unix_socket_directories = '{}'\nlisten_addresses = 'localhost'",
        socket_directory.display()
    );
    let cluster = Cluster::with(&scratch, "cluster", &settings);
    // Files of the server's user: written by the server.
    for (name, text) in [
        ("server.crt", &certificates.certificate),
        ("server.key", &certificates.key),
    ] {
        let path = cluster.data().join(name);
        cluster.sql(&format!(
            "COPY (SELECT unnest(string_to_array('{}', E'\\n'))) TO '{}'",
            text.trim(),
            path.display()
        ));
        private(&path);
    }
    cluster.sql("CREATE ROLE secured SUPERUSER LOGIN PASSWORD 'hush'");
    let rules = "hostnossl all secured all reject\nhostssl all secured all scram-sha-256\n";
    let hba = cluster.data().join("pg_hba.conf");
    let before = fs::read_to_string(&hba).expect("pg_hba.conf");
    fs::write(&hba, format!("{rules}{before}")).expect("a file can be written");
    cluster.sql("ALTER SYSTEM SET ssl = on");
    cluster.sql("SELECT pg_reload_conf()");
    let server = Server::on(cluster.port());
    strongroom_tests::operator::eventually("TLS", || {
        let mut command = server.program("psql", "postgres");
        command
            .env("PGSSLMODE", "require")
            .args(["-Xc", "SELECT 1"]);
        command.output().ok()?.status.success().then_some(())
    });

    let file = |name: &str, text: &str| {
        let path = scratch.file(name, text);
        private(&path);
        path
    };
    let ca = file("ca.pem", &certificates.ca);
    let other = file("other.pem", &Certificates::make().ca);
    let password = file("password", "hush");
    let port = cluster.port();
    let table = |name: &str, host: &str, keys: &str| {
        format!(
            "[postgres.{name}]\nurl = 'postgres://secured@{host}:{port}/postgres'\n\
             password_file = '{}'\n{keys}\n",
            password.display()
        )
    };
    let verify = |mode: &str, ca: &std::path::Path| {
        format!("sslmode = '{mode}'\nca_file = '{}'", ca.display())
    };
    let toml = [
        table("prefer", "127.0.0.1", ""),
        table("require", "127.0.0.1", "sslmode = 'require'"),
        table("full", "127.0.0.1", &verify("verify-full", &ca)),
        table("any-name", "localhost", &verify("verify-ca", &ca)),
        table("plain", "127.0.0.1", "sslmode = 'disable'"),
        table("other-ca", "127.0.0.1", &verify("verify-ca", &other)),
        table("other-name", "localhost", &verify("verify-full", &ca)),
        format!(
            "[postgres.socket]\nurl = 'postgres:///postgres?host={}&port={port}&user=postgres'\n",
            socket_directory.display()
        ),
    ]
    .concat();
    let dumps = Dumps::with_connections("dumps-tls", server, scratch, &toml);
    for connection in ["prefer", "require", "full", "any-name", "socket"] {
        dumps.policy_of(connection, connection, &["postgres"], "");
        snapshot_of(&dumps.world.operator().backup(connection));
    }
    for (connection, wanted) in [
        ("plain", &["pg_hba.conf"][..]),
        ("other-ca", &["TLS", "ca_file"]),
        ("other-name", &["TLS", "ca_file"]),
    ] {
        dumps.policy_of(connection, connection, &["postgres"], "");
        let (code, message) = dumps.fails(connection);
        assert_eq!(code, "source", "{message}");
        assert_says(&message, wanted);
    }
}
