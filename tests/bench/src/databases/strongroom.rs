//! Our side: a coordinator, an agent, and an operator at the command line.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use strongroom_tests::{
    agent::Agent,
    coordinator::Coordinator,
    operator::{only, text},
    scratch::Scratch,
};

use crate::measure::Usage;

/// What the agent is called.
const AGENT: &str = "db-1";
/// `USER_HZ`, the same on every Linux: see time(7).
const TICKS_PER_SECOND: f64 = 100.0;
/// The only policy.
const POLICY: &str = "bench";

/// A running deployment with one policy.
pub(crate) struct Strongroom {
    coordinator: Coordinator,
    agent: Agent,
    restores: PathBuf,
}

impl Strongroom {
    /// `connections` stands in `agent.toml`, `source` in the policy.
    pub(crate) fn start(scratch: &Scratch, connections: &str, source: &str) -> Self {
        let restores = scratch.dir("restores");
        // Clusters are restored for the user that runs them.
        strongroom_tests::cluster::directory_for_postgres(&restores);
        let coordinator = Coordinator::start(scratch);
        let mut agent = Agent::prepare(scratch, AGENT)
            .allow(scratch.path(), &restores)
            .extra(connections);
        agent.enroll(coordinator.agents_address(), &coordinator.invite(AGENT));
        agent.start();
        coordinator.operator().apply(&format!(
            "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\nsource = {source}\n"
        ));
        Self {
            coordinator,
            agent,
            restores,
        }
    }

    /// Backs up; gives what it used and the snapshot.
    pub(crate) fn backup(&self) -> Result<(Usage, Value)> {
        self.measured(&["run", POLICY, "--wait"])
    }

    /// Restores into a directory of its own; gives what it used and the job.
    pub(crate) fn restore(
        &self,
        snapshot: &str,
        name: &str,
        more: &[&str],
    ) -> Result<(Usage, Value, PathBuf)> {
        let target = self.restores.join(name);
        let into = target.to_str().context("a UTF-8 path")?;
        let mut arguments = vec!["restore", snapshot, "--agent", AGENT, "--target", into];
        arguments.extend(more);
        arguments.push("--wait");
        let (usage, job) = self.measured(&arguments)?;
        Ok((usage, job, target))
    }

    fn measured(&self, arguments: &[&str]) -> Result<(Usage, Value)> {
        let before = self.cpu()?;
        let begin = Instant::now();
        let answer = self.coordinator.operator().run(
            arguments
                .iter()
                .copied()
                .chain(["--output", "json"])
                .collect::<Vec<_>>(),
        );
        let wall = begin.elapsed().as_secs_f64();
        ensure!(matches!(answer.code, 0 | 3), "{arguments:?}: {answer:#?}");
        let job = only(&answer.json()["jobs"]);
        let usage = Usage {
            wall,
            cpu: self.cpu()? - before,
            peak: job["peak_resident_bytes"].as_u64().unwrap_or(0),
        };
        Ok((usage, job))
    }

    /// Seconds that the agent and what it has started took so far.
    fn cpu(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.agent.program().pid());
        let stat = fs::read_to_string(path)?;
        let (_, fields) = stat.rsplit_once(')').context("no process")?;
        // utime, stime, cutime, cstime: see proc(5).
        let ticks = fields.split_whitespace().skip(11).take(4);
        let ticks: u64 = ticks.map(|field| field.parse().unwrap_or(0)).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }
}

/// The snapshot that a backup made.
pub(crate) fn snapshot(job: &Value) -> String {
    text(&job["snapshot"])
}
