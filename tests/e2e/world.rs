//! What most tests begin with: a coordinator, an agent, a tree to back up.

use std::path::{Path, PathBuf};

use serde_json::Value;
use strongroom_compare::{CompareOptions, compare};
use strongroom_tests::{
    agent::Agent,
    coordinator::{Coordinator, ExternalStore, Setup},
    operator::{Operator, text},
    proxy::FaultProxy,
    restic::Restic,
    scratch::Scratch,
    tree::Tree,
};

/// Name of the agent.
pub(crate) const AGENT: &str = "web-1";
/// Name of the policy.
pub(crate) const POLICY: &str = "files";

/// Parts are dropped in this order: programs before their directories.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) coordinator: Coordinator,
    /// Between everybody and the store, when there is one.
    pub(crate) proxy: Option<FaultProxy>,
    /// Runs the store, when it is not the coordinator's own.
    pub(crate) store: Option<Coordinator>,
    /// What is backed up; empty at first.
    pub(crate) source: PathBuf,
    /// What may be restored into.
    pub(crate) restores: PathBuf,
    pub(crate) scratch: Scratch,
}

impl World {
    /// A coordinator with its embedded store, and an agent.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, Setup::default())
    }

    /// A coordinator of this setup, and an agent.
    pub(crate) fn with(name: &str, setup: Setup) -> Self {
        Self::with_agent(name, setup, |agent| agent)
    }

    /// A coordinator of this setup, and an agent of that kind.
    pub(crate) fn with_agent(name: &str, setup: Setup, agent: impl FnOnce(Agent) -> Agent) -> Self {
        Self::build(Scratch::new(name), setup, agent)
    }

    /// The store is run by a coordinator of its own, and every request to it
    /// goes through a proxy: it outlives the coordinator under test.
    pub(crate) fn behind_proxy(name: &str, setup: Setup) -> Self {
        Self::behind_proxy_with_agent(name, setup, |agent| agent)
    }

    /// As [`Self::behind_proxy`], with an agent of that kind.
    pub(crate) fn behind_proxy_with_agent(
        name: &str,
        setup: Setup,
        agent: impl FnOnce(Agent) -> Agent,
    ) -> Self {
        let scratch = Scratch::new(name);
        let store = Setup::default().start(&scratch, "store");
        let proxy = FaultProxy::start(store.s3_address());
        let setup = Setup {
            store: Some(store.as_external_store(proxy.endpoint())),
            ..setup
        };
        let world = Self::build(scratch, setup, agent);
        Self {
            proxy: Some(proxy),
            store: Some(store),
            ..world
        }
    }

    /// A store of its own as in [`Self::behind_proxy`], but without a proxy
    /// and not quite as the coordinator's configuration says.
    pub(crate) fn with_store(name: &str, change: impl FnOnce(&mut ExternalStore)) -> Self {
        let scratch = Scratch::new(name);
        let store = Setup::default().start(&scratch, "store");
        let mut external = store.as_external_store(format!("http://{}", store.s3_address()));
        change(&mut external);
        let setup = Setup {
            store: Some(external),
            ..Setup::default()
        };
        let world = Self::build(scratch, setup, |agent| agent);
        Self {
            store: Some(store),
            ..world
        }
    }

    fn build(scratch: Scratch, setup: Setup, change: impl FnOnce(Agent) -> Agent) -> Self {
        let telemetry = setup.otlp_endpoint.clone();
        let coordinator = setup.start(&scratch, "coordinator");
        let (source, restores) = (scratch.dir("source"), scratch.dir("restores"));
        let mut agent = change(Agent::prepare(&scratch, AGENT).allow(&source, &restores));
        if let Some(endpoint) = telemetry {
            agent = agent.extra(&format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n"));
        }
        agent.enroll(coordinator.agents_address(), &coordinator.invite(AGENT));
        agent.start();
        Self {
            agent,
            coordinator,
            proxy: None,
            store: None,
            source,
            restores,
            scratch,
        }
    }

    pub(crate) fn operator(&self) -> &Operator {
        self.coordinator.operator()
    }

    pub(crate) fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().expect("this world has a proxy")
    }

    /// Writes a tree to back up and applies a policy for it.
    pub(crate) fn fill(&self, tree: &Tree) {
        tree.write(&self.source);
        self.operator().apply(&self.policy(""));
    }

    /// A policy for the source, with more keys.
    pub(crate) fn policy(&self, more: &str) -> String {
        format!(
            "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
             source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n{more}\n",
            self.source.display()
        )
    }

    /// Backs up, and returns the snapshot's id.
    pub(crate) fn backup(&self) -> String {
        snapshot_of(&self.operator().backup(POLICY))
    }

    /// Restores a snapshot below `restores` and returns where the source came
    /// back to.
    pub(crate) fn restore(&self, snapshot: &str, name: &str) -> PathBuf {
        let target = self.restores.join(name);
        self.operator().restore(snapshot, AGENT, &target);
        self.below(&target)
    }

    /// Where the source lies below a restore's target.
    pub(crate) fn below(&self, target: &Path) -> PathBuf {
        below(target, &self.source)
    }

    /// Restores a snapshot and compares it with the source as it is now.
    pub(crate) fn prove(&self, snapshot: &str, name: &str) {
        assert_identical(&self.source, &self.restore(snapshot, name));
    }

    /// The repository as it lies on disk, with its password, for restic.
    pub(crate) fn restic(&self) -> Restic {
        let (directory, password) = self.repository();
        Restic::new(directory.to_str().expect("UTF-8"), &password)
    }

    /// Directory of the repository, and a file with its password.
    pub(crate) fn repository(&self) -> (PathBuf, PathBuf) {
        let repositories = self.operator().json(&["repositories", "list"]);
        let prefix = text(&repositories["repositories"][0]["prefix"]);
        let (_, _, password) = self.operator().repository();
        let password = self.scratch.file("repository-password", password);
        let store = self.store.as_ref().unwrap_or(&self.coordinator);
        (store.bucket_directory().join(prefix), password)
    }
}

/// Where `source` lies below a restore's target.
pub(crate) fn below(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").expect("an absolute path"))
}

/// The snapshot that a backup or an upload made.
pub(crate) fn snapshot_of(job: &Value) -> String {
    assert_eq!(job["state"], "succeeded", "{job:#}");
    text(&job["snapshot"])
}

/// Compares every byte and every piece of metadata.
pub(crate) fn assert_identical(source: &Path, restored: &Path) {
    let comparison = compare(source, restored, &CompareOptions::default())
        .unwrap_or_else(|error| panic!("no comparison: {error}"));
    assert!(comparison.entries > 1, "an empty comparison proves nothing");
    assert!(
        comparison.is_identical(),
        "{} differences: {:#?}",
        comparison.difference_count,
        comparison.differences
    );
}

/// Asserts that a message says all of `parts`, whatever the case.
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    let lower = message.to_lowercase();
    for part in parts {
        assert!(
            lower.contains(&part.to_lowercase()),
            "the message does not say {part:?}:\n{message}"
        );
    }
}
