//! A cluster and an agent beside it; a server on what was restored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use strongroom_tests::{
    agent::Agent,
    cluster::{self, Cluster, as_postgres, programs, server_programs, sql, succeed},
    coordinator::Setup,
    operator::only,
    scratch::Scratch,
};

use crate::world::{AGENT, POLICY, World, snapshot_of};

/// A cluster and who backs it up. Parts are dropped in this order.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) cluster: Cluster,
    _scratch: Scratch,
}

impl Site {
    pub(crate) fn new(name: &str, settings: &str) -> Self {
        let scratch = Scratch::new(name);
        let cluster = Cluster::with(&scratch, "server", settings);
        Self::of(name, scratch, cluster, |agent| agent)
    }

    /// With a store behind a proxy.
    pub(crate) fn behind_proxy(name: &str, setup: Setup) -> Self {
        let scratch = Scratch::new(name);
        let cluster = Cluster::start(&scratch, "server");
        let connection = connection(&cluster);
        let world = World::behind_proxy_with_agent(name, setup, |agent| agent.extra(&connection));
        Self::with(world, scratch, cluster)
    }

    /// With an agent of that kind.
    pub(crate) fn of(
        name: &str,
        scratch: Scratch,
        cluster: Cluster,
        change: impl FnOnce(Agent) -> Agent,
    ) -> Self {
        let connection = connection(&cluster);
        let world = World::with_agent(name, Setup::default(), |agent| {
            change(agent.extra(&connection))
        });
        Self::with(world, scratch, cluster)
    }

    fn with(world: World, scratch: Scratch, cluster: Cluster) -> Self {
        let site = Self {
            world,
            cluster,
            _scratch: scratch,
        };
        site.apply("limits = { attempts = 1 }");
        site
    }

    pub(crate) fn apply(&self, more: &str) {
        self.world.operator().apply(&format!(
            "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\n{more}\n[policy.source.postgres]\nconnection = \"main\"\n\
             method = \"physical\"\nfast_checkpoint = true\n"
        ));
    }

    /// The figures of a backup that must succeed without warnings.
    pub(crate) fn backup(&self) -> (String, Value) {
        let job = self.world.operator().backup(POLICY);
        (snapshot_of(&job), job["result"]["backup"].clone())
    }

    /// The failure of a backup that must fail.
    pub(crate) fn failure(&self) -> Value {
        let jobs = self
            .world
            .operator()
            .json_with(1, &["run", POLICY, "--wait"]);
        jobs["jobs"][0]["failure"].clone()
    }

    /// Restores to a directory of this name and starts a server; with more
    /// arguments.
    pub(crate) fn start_restored(&self, snapshot: &str, name: &str, more: &[&str]) -> Restored {
        let data = self.world.restores.join(name);
        let job = self.restore(0, snapshot, &data, &[&["--start"], more].concat());
        Restored::of(&job, data)
    }

    pub(crate) fn restore(&self, code: i32, snapshot: &str, data: &Path, more: &[&str]) -> Value {
        let target = data.to_str().expect("UTF-8");
        let arguments = [
            &[
                "restore",
                snapshot,
                "--agent",
                AGENT,
                "--target",
                target,
                "--cluster",
                "--wait",
            ],
            more,
        ]
        .concat();
        only(&self.world.operator().json_with(code, &arguments)["jobs"])
    }

    /// What the manifest of a snapshot says.
    pub(crate) fn manifest(&self, snapshot: &str) -> Value {
        let target = self.world.restores.join(format!("manifest-{snapshot}"));
        let arguments = [
            "restore",
            snapshot,
            "--agent",
            AGENT,
            "--target",
            target.to_str().expect("UTF-8"),
            "--path",
            "/manifest.json",
            "--wait",
        ];
        self.world.operator().json(&arguments);
        let json = fs::read(target.join("manifest.json")).expect("a manifest");
        serde_json::from_slice(&json).expect("JSON")
    }

    /// Replication slots that there are now.
    pub(crate) fn slots(&self) -> String {
        self.cluster
            .sql("SELECT count(*) FROM pg_replication_slots")
    }
}

/// For `agent.toml`.
fn connection(cluster: &Cluster) -> String {
    format!("[postgres.main]\nurl = '{}'", cluster.url())
}

/// A server that the agent has started; stopped at its end.
pub(crate) struct Restored {
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    running: bool,
}

impl Restored {
    pub(crate) fn of(job: &Value, data: PathBuf) -> Self {
        let notes = job["result"]["restore"]["notes"].to_string();
        let port = notes.split("127.0.0.1:").nth(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a port")
        });
        Self::at(port.unwrap_or_else(|| panic!("no port: {job:#}")), data)
    }

    pub(crate) fn at(port: u16, data: PathBuf) -> Self {
        Self {
            port,
            data,
            running: true,
        }
    }

    pub(crate) fn sql(&self, statements: &str) -> String {
        sql(self.port, "postgres", statements)
    }

    /// Every heap and index is sound, and so is every page's checksum.
    pub(crate) fn prove(&mut self) {
        let mut amcheck = as_postgres(programs().join("pg_amcheck"));
        amcheck
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-p",
                &self.port.to_string(),
            ])
            .args(["--all", "--install-missing", "--heapallindexed"]);
        succeed(&mut amcheck);
        self.stop();
        let checksums = server_programs().join("pg_checksums");
        // Installed beside every server but those of other packagers.
        assert!(checksums.is_file() || server_programs() != programs());
        if !checksums.is_file() {
            return;
        }
        let mut checksums = as_postgres(checksums);
        succeed(checksums.arg("--check").arg("-D").arg(&self.data));
    }

    pub(crate) fn stop(&mut self) {
        cluster::stop(&self.data);
        self.running = false;
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if self.running {
            let mut stop = as_postgres(server_programs().join("pg_ctl"));
            let stop = stop.args(["stop", "-s", "-m", "immediate", "-D"]);
            let _stopped = stop.arg(&self.data).output();
        }
    }
}

/// A table whose rows do not compress well, 8 to a page.
pub(crate) fn wide_table(cluster: &Cluster, name: &str, rows: u32) {
    cluster.sql(&format!(
        "CREATE TABLE {name} AS SELECT id, (SELECT string_agg(md5(random()::text || id || part), '') \
         FROM generate_series(1, 29) part) AS pad FROM generate_series(1, {rows}) id"
    ));
    // Nobody sets a hint on its pages later.
    cluster.sql(&format!("VACUUM (FREEZE) {name}"));
}
