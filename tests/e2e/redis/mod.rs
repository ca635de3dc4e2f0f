//! Redis servers as snapshots, and back again, on real servers.

mod backups;
mod crashes;
mod errors;
mod restores;
mod watched;

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;
use strongroom_tests::{
    coordinator::Setup,
    operator::{Answer, text},
    redis::Server,
    scratch::Scratch,
};

use crate::world::{AGENT, World, snapshot_of};

/// What `agent.toml` calls the server that is backed up, and its policy.
const SOURCE: &str = "sessions";
/// What it calls the one that is restored into.
const TARGET: &str = "spare";
/// What a backup needs, and nothing more.
const LEAST: &str = "user backup on >least-secret +ping +info +replconf +psync\n";
/// What a restore of any kind needs besides.
const MORE: &str = "user restore on >more-secret ~* +ping +info +replicaof +select +restore \
                    +config|get +bgsave +pubsub|numsub\n";

/// An agent beside two servers.
struct Pair {
    source: Server,
    target: Server,
    world: World,
    /// Of the servers.
    _directories: Scratch,
}

impl Pair {
    fn new(name: &str) -> Self {
        Self::with(name, "", "", "")
    }

    /// With more lines for the configurations of source, target and agent.
    fn with(name: &str, source: &str, target: &str, agent: &str) -> Self {
        let scratch = Scratch::new("servers");
        let source = Server::with(&scratch, "source", &format!("{LEAST}{source}"));
        let target = Server::with(&scratch, "target", &format!("{MORE}{target}"));
        let password = |name: &str, text: &str| {
            let file = scratch.file(name, text);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
            file
        };
        let toml = format!(
            "[redis.{SOURCE}]\nurl = '{}'\nusername = 'backup'\npassword_file = '{}'\n\
             [redis.{TARGET}]\nurl = '{}'\nusername = 'restore'\npassword_file = '{}'\n\
             allow_restore = true\n{agent}\n",
            source.url(),
            password("least", "least-secret\n").display(),
            target.socket_url(),
            password("more", "more-secret").display(),
        );
        let world = World::with_agent(name, Setup::default(), |agent| agent.extra(&toml));
        let pair = Self {
            source,
            target,
            world,
            _directories: scratch,
        };
        pair.policy(SOURCE);
        pair
    }

    /// Applies a policy for a connection, of its name.
    fn policy(&self, connection: &str) {
        self.world.operator().apply(&format!(
            "[[policy]]\nname = \"{connection}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             source = {{ redis = {{ connection = \"{connection}\" }} }}\nstore = \"primary\"\n\
             limits = {{ attempts = 1 }}\n"
        ));
    }

    fn backup(&self) -> String {
        snapshot_of(&self.world.operator().backup(SOURCE))
    }

    /// Runs a policy, which must fail: its failure's code and message.
    fn fails(&self, policy: &str) -> (String, String) {
        let jobs = self
            .world
            .operator()
            .json_with(1, &["run", policy, "--wait"]);
        failure(&jobs["jobs"][0])
    }

    fn try_restore(&self, snapshot: &str, more: &[&str]) -> Answer {
        let restore = [
            "restore", snapshot, "--agent", AGENT, "--redis", TARGET, "--wait", "--output", "json",
        ];
        self.world.operator().run([&restore, more].concat())
    }

    /// Restores without a safety backup and gives the job.
    fn restore(&self, snapshot: &str, more: &[&str]) -> Value {
        let confirmed = ["--confirm", TARGET, "--no-safety-backup"];
        let answer = self.try_restore(snapshot, &[&confirmed, more].concat());
        let job = last_job(&answer);
        assert_eq!(job["state"], "succeeded", "{answer:#?}");
        job
    }

    /// The same, which must fail: its failure's code and message.
    fn restore_fails(&self, snapshot: &str, more: &[&str]) -> (String, String) {
        let confirmed = ["--confirm", TARGET, "--no-safety-backup"];
        let answer = self.try_restore(snapshot, &[&confirmed, more].concat());
        failure(&last_job(&answer))
    }
}

/// The restore itself, after a safety backup if there was one.
fn last_job(answer: &Answer) -> Value {
    let jobs = answer.json();
    let jobs = jobs["jobs"].as_array().expect("jobs");
    jobs.last().expect("a job").clone()
}

fn failure(job: &Value) -> (String, String) {
    assert_eq!(job["state"], "failed", "{job:#}");
    let failure = &job["failure"];
    (text(&failure["code"]), text(&failure["message"]))
}

/// What a restore says besides its figures.
fn notes(job: &Value) -> String {
    let notes = job["result"]["restore"]["notes"].as_array();
    let notes = notes.expect("notes").iter().map(text);
    notes.collect::<Vec<_>>().join("\n")
}
