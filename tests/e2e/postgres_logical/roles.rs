//! Roles that a restore makes.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use strongroom_tests::{cluster::Cluster, postgres::Server, scratch::Scratch};

use super::{Dumps, connection};

/// Passes everything on to `server`, and breaks the first connection on which a client
/// says `words`.
fn cutting(server: u16, words: String) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let cut = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&cut);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (words, cut) = (words.clone(), Arc::clone(&cut));
            thread::spawn(move || relay(client, server, words.as_bytes(), &cut));
        }
    });
    (port, done)
}

fn relay(mut client: TcpStream, server: u16, words: &[u8], cut: &AtomicBool) -> Option<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let (mut back_from, mut back_to) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let mut said = vec![0; 64 << 10];
    loop {
        let length = client.read(&mut said).ok()?;
        let more = &said[..length];
        let found = more.windows(words.len()).any(|it| it == words);
        if length == 0 || (found && !cut.swap(true, SeqCst)) {
            let _ = client.shutdown(Shutdown::Both);
            return upstream.shutdown(Shutdown::Both).ok();
        }
        upstream.write_all(more).ok()?;
    }
}

#[test]
fn a_role_that_was_made_by_half_when_the_connection_broke_is_made_whole() {
    let scratch = Scratch::new("half");
    let cluster = Cluster::start(&scratch, "cluster");
    let source = Server::shared();
    let name = Server::unique("half");
    let (port, cut) = cutting(cluster.port(), format!("ALTER ROLE \"{name}\" "));
    let target = Server::on(port);
    let passwords = Scratch::new("password");
    let password = source.password().to_owned();
    let toml = [
        connection("source", &source, &passwords, &password, ""),
        connection(
            super::CONNECTION,
            &target,
            &passwords,
            "",
            "allow_restore = true",
        ),
    ]
    .concat();
    let dumps = Dumps::with_connections("roles-half", target, passwords, &toml);
    let make = format!("CREATE ROLE {name} LOGIN CREATEDB CONNECTION LIMIT 7");
    source.sql("postgres", &make);
    source.sql("postgres", &format!("CREATE DATABASE {name}"));
    source.sql(&name, "CREATE TABLE t AS SELECT 1 AS a");
    dumps.policy_of(super::POLICY, "source", &[&name], "");
    let snapshot = dumps.backup();
    dumps.try_restore(&snapshot, &name, &["--roles"]);
    assert!(cut.load(SeqCst), "the connection never broke");
    // Once more, by whom ever.
    dumps.restore(&snapshot, &name, &["--roles", "--as", "again"]);
    let attributes = format!(
        "SELECT rolcanlogin, rolcreatedb, rolconnlimit FROM pg_roles WHERE rolname = '{name}'"
    );
    let direct = Server::on(cluster.port());
    assert_eq!(direct.sql("postgres", &attributes), "t|t|7");
}
