//! What the agents that a policy chooses have already said they will refuse: pure.
//!
//! An agent tells in its hello what its `agent.toml` allows, and later what it finds at
//! its connections. It decides by itself when a job comes; here is only foretold what
//! it would say, so that nobody learns it from tonight's failed backup.

use std::{
    collections::HashMap,
    path::{Component, Path},
};

use strongroom_layout::AgentId;
use strongroom_spec::{PostgresLogical, PostgresSource, Source};
use strongroom_wire::session::{Connection, Consent};

use super::Policy;
use crate::model::Agent;

/// What each agent last found at its connections; agents that never told are missing.
pub type Connections = HashMap<AgentId, Vec<Connection>>;

/// A sentence for each thing that an agent would refuse, or that is wrong there now.
pub(super) fn foretold(policy: &Policy, agent: &Agent, connections: &Connections) -> Vec<String> {
    // It has never connected.
    let Some(consent) = &agent.facts.consent else {
        return Vec::new();
    };
    let known = connections.get(&agent.id).map(Vec::as_slice);
    let refused = refusals(&policy.source, consent, known);
    let (name, agent) = (&policy.name, &agent.name);
    let said = |what| format!("policy {name} will fail on {agent}: {what}");
    refused.into_iter().map(said).collect()
}

fn refusals(source: &Source, consent: &Consent, known: Option<&[Connection]>) -> Vec<String> {
    let kind = source.kind().as_str();
    if !consent.sources.iter().any(|it| it == kind) {
        return vec![format!(
            "it does not allow sources of kind {kind:?}: add it to allow.sources in its agent.toml"
        )];
    }
    match source {
        Source::Files(files) => {
            let outside = files.paths.iter().filter(|it| !may_read(consent, it));
            let refused = outside.map(|path| {
                format!(
                    "it does not allow reading {path}: add it, or a directory above it, to \
                     allow.read_paths in its agent.toml"
                )
            });
            refused.collect()
        }
        Source::Command(command) => {
            let defined = consent.commands.contains(&command.name);
            let name = &command.name;
            let missing = (!defined).then(|| {
                format!(
                    "it has no command {name:?}: define it as [commands.{name}] in its agent.toml"
                )
            });
            missing.into_iter().collect()
        }
        Source::Postgres(PostgresSource::Logical(logical)) => {
            let mut refused = connection(kind, &logical.connection, known);
            refused.extend(closed(logical, known));
            refused
        }
        other => other
            .named()
            .map(|(_, name)| connection(kind, name, known))
            .unwrap_or_default(),
    }
}

fn connection(kind: &str, name: &str, known: Option<&[Connection]>) -> Vec<String> {
    let Some(known) = known else {
        return Vec::new();
    };
    let found = known.iter().find(|it| it.kind == kind && it.name == name);
    let problem = match found.map(|it| &it.state) {
        None => Some(format!(
            "it has no {kind} connection {name:?}: define it as [{kind}.{name}] in its agent.toml"
        )),
        Some(Err(problem)) => Some(format!(
            "its {kind} connection {name:?} cannot be used: {problem}"
        )),
        Some(Ok(_)) => None,
    };
    problem.into_iter().collect()
}

/// Databases that the policy has by name, and that nothing can read.
fn closed(logical: &PostgresLogical, known: Option<&[Connection]>) -> Vec<String> {
    let known = known.unwrap_or_default().iter();
    let mut found = known.filter(|it| it.kind == "postgres" && it.name == logical.connection);
    let Some(Ok(server)) = found.next().map(|it| &it.state) else {
        return Vec::new();
    };
    let databases = server.databases.iter();
    let closed = databases.filter(|it| it.closed && logical.databases.contains(&it.name));
    closed
        .map(|it| {
            let (name, quoted) = (&it.name, it.name.replace('"', "\"\""));
            format!(
                "the database {name:?} of its postgres connection {:?} allows no connections: ALTER \
                 DATABASE \"{quoted}\" ALLOW_CONNECTIONS true, or leave it out of databases",
                logical.connection
            )
        })
        .collect()
}

/// As it is spelled: where links lead, only the host knows.
fn may_read(consent: &Consent, path: &str) -> bool {
    let parts = |path: &'_ str| -> Vec<_> {
        let parts = Path::new(path).components();
        let parts = parts.filter(|it| !matches!(it, Component::CurDir));
        parts.map(|it| it.as_os_str().to_owned()).collect()
    };
    let wanted = parts(path);
    let mut allowed = consent.read_paths.iter();
    allowed.any(|prefix| wanted.starts_with(&parts(prefix)))
}

#[cfg(test)]
mod tests {
    use strongroom_wire::session::{Database, Server};

    use super::*;
    use crate::model::agent::testing;

    fn agent() -> Agent {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let mut agent = testing::agent("db-1", 1, &[]);
        agent.facts.consent = Some(Consent {
            sources: words(&["files", "command", "postgres"]),
            read_paths: words(&["/srv", "/etc/app/"]),
            restore_paths: Vec::new(),
            commands: words(&["dump"]),
        });
        agent
    }

    fn policy(source: &str) -> Policy {
        serde_json::from_str(&format!(
            r#"{{"name": "p", "agents": {{"names": ["db-1"]}}, "store": "s", "source": {source}}}"#
        ))
        .unwrap()
    }

    fn connections(state: Result<Server, String>) -> Connections {
        let connection = Connection {
            kind: "postgres".into(),
            name: "orders".into(),
            restore: false,
            checked_at: jiff::Timestamp::UNIX_EPOCH,
            state,
        };
        Connections::from([(agent().id, vec![connection])])
    }

    #[test]
    fn what_an_agent_allows_is_no_warning() {
        let known = connections(Ok(Server::default()));
        for source in [
            r#"{"files": {"paths": ["/srv", "/srv/./a", "/etc/app", "/etc//app/x"]}}"#,
            r#"{"command": {"name": "dump"}}"#,
            r#"{"postgres": {"connection": "orders", "method": "logical"}}"#,
        ] {
            let foretold = foretold(&policy(source), &agent(), &known);
            assert_eq!(foretold, [""; 0], "{source}");
        }
    }

    #[test]
    fn what_an_agent_would_refuse_is_said_with_the_key() {
        let known = connections(Err("no answer".into()));
        for (source, expected) in [
            (
                r#"{"files": {"paths": ["/srv", "/srvx", "/"]}}"#,
                &["/srvx", "reading /:"][..],
            ),
            (r#"{"command": {"name": "other"}}"#, &["[commands.other]"]),
            (r#"{"redis": {"connection": "a"}}"#, &["allow.sources"]),
            (
                r#"{"postgres": {"connection": "other", "method": "logical"}}"#,
                &["[postgres.other]"],
            ),
            (
                r#"{"postgres": {"connection": "orders", "method": "logical"}}"#,
                &["no answer"],
            ),
        ] {
            let foretold = foretold(&policy(source), &agent(), &known);
            assert_eq!(foretold.len(), expected.len(), "{foretold:?}");
            for (said, expected) in foretold.iter().zip(expected) {
                assert!(said.contains(expected), "{said}");
                assert!(said.starts_with("policy p will fail on db-1: "), "{said}");
            }
        }
    }

    #[test]
    fn a_database_that_nothing_can_read_is_foretold_where_it_is_named() {
        let database = |name: &str, closed| Database {
            name: name.into(),
            bytes: 0,
            keys: 0,
            closed,
        };
        let known = connections(Ok(Server {
            databases: vec![database("shop", false), database("shut", true)],
            ..Server::default()
        }));
        let foretold = |databases: &str| {
            let source = format!(
                r#"{{"postgres": {{"connection": "orders", "method": "logical", "databases": {databases}}}}}"#
            );
            foretold(&policy(&source), &agent(), &known)
        };
        assert_eq!(foretold(r#"["shop", "s*"]"#), [""; 0]);
        let said = foretold(r#"["shop", "shut"]"#).concat();
        let statement = "ALTER DATABASE \"shut\" ALLOW_CONNECTIONS true";
        assert!(said.contains(statement), "{said}");
    }

    #[test]
    fn of_an_agent_that_never_told_nothing_is_foretold() {
        let mut silent = agent();
        let unknown = policy(r#"{"postgres": {"connection": "other", "method": "logical"}}"#);
        assert_eq!(foretold(&unknown, &silent, &Connections::new()), [""; 0]);
        silent.facts.consent = None;
        let outside = policy(r#"{"files": {"paths": ["/"]}}"#);
        assert_eq!(foretold(&outside, &silent, &Connections::new()), [""; 0]);
    }
}
