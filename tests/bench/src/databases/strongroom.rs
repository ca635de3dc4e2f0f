//! Our side: a coordinator, an agent, and an operator at the command line.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use strongroom_layout::position::Lsn;
use strongroom_tests::{
    agent::Agent,
    coordinator::Coordinator,
    now,
    operator::{eventually, only, text},
    scratch::Scratch,
};

use crate::measure::Usage;

/// What the agent is called.
const AGENT: &str = "db-1";
/// `USER_HZ`, the same on every Linux: see time(7).
const TICKS_PER_SECOND: f64 = 100.0;
/// What the agent's log says when a job enters a stage.
const STAGE: &str = "entered a stage";
/// The only policy.
const POLICY: &str = "bench";

/// A part of a job.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) seconds: f64,
}

/// A running deployment with one policy.
pub(crate) struct Strongroom {
    coordinator: Coordinator,
    agent: Agent,
    restores: PathBuf,
}

impl Strongroom {
    /// `connections` stands in `agent.toml`, `policy` in the policy.
    pub(crate) fn start(scratch: &Scratch, connections: &str, policy: &str) -> Self {
        let restores = scratch.dir("restores");
        // Clusters are restored for the user that runs them.
        strongroom_tests::cluster::directory_for_postgres(&restores);
        let coordinator = Coordinator::start(scratch);
        let mut agent = Agent::prepare(scratch, AGENT)
            .allow(scratch.path(), &restores)
            .extra(connections)
            .extra("[telemetry]\nlog_level = \"info,strongroom_agent::monitor=debug\"");
        agent.enroll(coordinator.agents_address(), &coordinator.invite(AGENT));
        agent.start();
        coordinator.operator().apply(&format!(
            "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             store = \"primary\"\n{policy}\n"
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

    /// Brings the cluster up as it was last, in a directory of its own; gives
    /// what it used, and the seconds that each stage took.
    pub(crate) fn recover(&self, name: &str) -> Result<(Usage, Vec<Stage>, PathBuf)> {
        let target = self.restores.join(name);
        let into = target.to_str().context("a UTF-8 path")?;
        let before = self.stages()?.len();
        let begin = now();
        let (usage, _) = self.measured(&[
            "restore",
            "--dataset",
            POLICY,
            "--agent",
            AGENT,
            "--target",
            into,
            "--start",
            "--wait",
        ])?;
        let end = now();
        let entered = self.stages()?.split_off(before);
        let starts = entered.iter().map(|(at, _)| *at);
        let ends = starts.clone().chain([end]);
        let names = entered.iter().map(|(_, name)| name.clone());
        let names = ["from the command to the agent".to_owned()]
            .into_iter()
            .chain(names);
        let stages = [begin].into_iter().chain(starts).zip(ends).zip(names);
        let stages = stages.map(|((from, to), name)| Stage {
            name,
            seconds: to.duration_since(from).as_secs_f64(),
        });
        Ok((usage, stages.collect(), target))
    }

    /// When the agent entered which stage of its jobs, as its log says.
    fn stages(&self) -> Result<Vec<(Timestamp, String)>> {
        let log = self.agent.program().log();
        let lines = log.lines().filter(|line| line.contains(STAGE));
        let read = |line: &str| {
            let (at, _) = line.split_once(' ').context("no time")?;
            let (_, name) = line.split_once("stage=\"").context("no stage")?;
            let name = name.trim_end_matches('"').to_owned();
            Ok((at.parse()?, name))
        };
        lines.map(read).collect()
    }

    /// Waits until the log of the only policy is archived up to a position.
    pub(crate) fn wait_for_log(&self, lsn: &str) {
        let wanted: Lsn = lsn.parse().expect("a position");
        eventually(&format!("the log up to {lsn}"), || {
            let status = self.coordinator.operator().json(&["status"]);
            let archived = status["recovery"][0]["archiving"]["lsn"].as_str()?;
            (archived.parse::<Lsn>().ok()? >= wanted).then_some(())
        });
    }

    /// Waits until a job archives.
    pub(crate) fn wait_for_archiving(&self) {
        eventually("a job that archives", || {
            let operator = self.coordinator.operator();
            let jobs = operator.json(&["jobs", "list", "--kind", "wal"]);
            (jobs["jobs"][0]["state"] == "running").then_some(())
        });
    }

    /// The agent; for whoever kills it.
    pub(crate) fn agent(&mut self) -> &mut Agent {
        &mut self.agent
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
