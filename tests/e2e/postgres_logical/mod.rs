//! Databases as dumps, and back again, on real servers.

mod backups;
mod connections;
mod errors;
mod lends;
mod locks;
mod names;
mod partial;
mod replaces;
mod restores;
mod rights;
mod roles;
mod secrets;
mod selection;
mod survives;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use strongroom_tests::{
    cluster::programs,
    coordinator::Setup,
    operator::{Answer, text},
    postgres::Server,
    scratch::Scratch,
};

use crate::world::{AGENT, World, snapshot_of};

/// What `agent.toml` calls the server.
const CONNECTION: &str = "db";
/// The policy.
const POLICY: &str = "dumps";

/// An agent with a connection to a server.
struct Dumps {
    world: World,
    server: Server,
    _passwords: Scratch,
}

impl Dumps {
    /// With the server of `tests/run`, and `more` in the connection's table.
    fn new(name: &str, more: &str) -> Self {
        Self::with(name, Server::shared(), more)
    }

    fn with(name: &str, server: Server, more: &str) -> Self {
        let passwords = Scratch::new("password");
        let keys = connection(CONNECTION, &server, &passwords, server.password(), more);
        Self::with_connections(name, server, passwords, &keys)
    }

    fn with_connections(name: &str, server: Server, passwords: Scratch, toml: &str) -> Self {
        let world = World::with_agent(name, Setup::default(), |agent| agent.extra(toml));
        Self {
            world,
            server,
            _passwords: passwords,
        }
    }

    /// Applies a policy for these databases.
    fn policy(&self, databases: &[&str], more: &str) {
        self.policy_of(POLICY, CONNECTION, databases, more);
    }

    fn policy_of(&self, policy: &str, connection: &str, databases: &[&str], more: &str) {
        self.world.operator().apply(&format!(
            "[[policy]]\nname = \"{policy}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\nlimits = {{ attempts = 1 }}\n\
             [policy.source.postgres]\nconnection = \"{connection}\"\nmethod = \"logical\"\n\
             databases = {databases:?}\n{more}\n"
        ));
    }

    /// Backs up and gives the snapshot.
    fn backup(&self) -> String {
        snapshot_of(&self.world.operator().backup(POLICY))
    }

    /// The manifest of a snapshot.
    fn manifest(&self, snapshot: &str) -> Value {
        let target = self.world.restores.join(format!("files-{snapshot}"));
        if !target.exists() {
            self.world.operator().restore(snapshot, AGENT, &target);
        }
        let json = fs::read(target.join("manifest.json")).expect("a manifest");
        serde_json::from_slice(&json).expect("JSON")
    }

    fn try_restore(&self, snapshot: &str, database: &str, more: &[&str]) -> Answer {
        let restore = [
            "restore",
            snapshot,
            "--agent",
            AGENT,
            "--postgres",
            CONNECTION,
            "--database",
            database,
            "--wait",
            "--output",
            "json",
        ];
        self.world.operator().run([&restore, more].concat())
    }

    /// Restores, and gives the restore's job, which must have succeeded.
    fn restore(&self, snapshot: &str, database: &str, more: &[&str]) -> Value {
        let answer = self.try_restore(snapshot, database, more);
        let job = last_job(&answer);
        assert_eq!(job["state"], "succeeded", "{answer:#?}");
        job
    }

    /// Restores, which must fail, and gives the message.
    fn refused(&self, snapshot: &str, database: &str, more: &[&str]) -> String {
        let answer = self.try_restore(snapshot, database, more);
        let job = last_job(&answer);
        assert_eq!(job["state"], "failed", "{answer:#?}");
        text(&job["failure"]["message"])
    }

    /// Runs a policy, which must fail, and gives the failure.
    fn fails(&self, policy: &str) -> (String, String) {
        let jobs = self
            .world
            .operator()
            .json_with(1, &["run", policy, "--wait"]);
        let job = &jobs["jobs"][0];
        assert_eq!(job["state"], "failed", "{job:#}");
        let failure = &job["failure"];
        (text(&failure["code"]), text(&failure["message"]))
    }
}

/// The restore itself, after a safety backup if there was one.
fn last_job(answer: &Answer) -> Value {
    let jobs = answer.json();
    let jobs = jobs["jobs"].as_array().expect("jobs");
    jobs.last().expect("a job").clone()
}

/// What a restore says besides its figures.
fn notes(job: &Value) -> String {
    let notes = job["result"]["restore"]["notes"].as_array();
    let notes = notes.expect("notes").iter().map(text);
    notes.collect::<Vec<_>>().join("\n")
}

/// A `[postgres.NAME]` table whose password lies in a file.
fn connection(
    name: &str,
    server: &Server,
    scratch: &Scratch,
    password: &str,
    more: &str,
) -> String {
    let file = scratch.file(&format!("password-{name}"), password);
    private(&file);
    format!(
        "[postgres.{name}]\nurl = \"{}\"\npassword_file = '{}'\n{more}\n",
        server.url(),
        file.display()
    )
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("a mode can be set");
}

/// A directory with the server's programs, of which some are scripts instead.
/// `REAL` in a script is the program itself, `PSQL` psql; `--version` is
/// answered by the program.
fn bin_dir(scratch: &Scratch, scripts: &[(&str, &str)]) -> PathBuf {
    let directory = scratch.dir("bin");
    for program in ["pg_dump", "pg_dumpall", "pg_restore", "psql"] {
        let real = programs().join(program);
        let path = directory.join(program);
        let Some((_, script)) = scripts.iter().find(|(name, _)| *name == program) else {
            std::os::unix::fs::symlink(real, path).expect("a symlink");
            continue;
        };
        let script = script
            .replace("REAL", real.to_str().expect("UTF-8"))
            .replace("PSQL", programs().join("psql").to_str().expect("UTF-8"));
        write_script(
            &path,
            &format!(
                "#!/bin/sh\n[ \"$1\" = --version ] && exec {} --version\n{script}\n",
                real.display()
            ),
        );
    }
    directory
}

/// Written by a process of its own: a file that this one has open for writing
/// cannot be run, nor while a child of another test has inherited it.
fn write_script(path: &Path, text: &str) {
    let status = Command::new("sh")
        .args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .arg(text)
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("sh runs").success());
}

/// Creates a database with every kind of object; the name of the role in it is
/// the database's with `_role`.
fn everything(server: &Server, database: &str) {
    server.sql("postgres", &format!("CREATE DATABASE \"{database}\""));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/postgres_logical/everything.sql");
    let mut command = server.program("psql", database);
    command
        .args(["-Xq", "-v", "ON_ERROR_STOP=1"])
        .args(["-v", &format!("role={database}_role")])
        .arg("-f")
        .arg(script);
    strongroom_tests::cluster::succeed(&mut command);
}
