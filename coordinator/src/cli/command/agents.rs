//! `strongroom agents …`

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{SignedDuration, Timestamp};

use super::Context;
use crate::{
    cli::{
        args::{AgentsCommand, InviteArgs, LabelChange},
        error::{CliError, Exit},
        render::{Table, fields, format},
    },
    http::dto::{
        Agent, AgentState, Agents, Connection, Contest, Invitation, InviteRequest, LabelRequest,
        Server, TrustRequest,
    },
    sessions::Skew,
};

pub(super) async fn run(context: &Context, command: AgentsCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        AgentsCommand::Invite(InviteArgs { name, labels, ttl }) => {
            let request = InviteRequest {
                name,
                labels: labels.into_iter().collect(),
                ttl_seconds: ttl.seconds().into(),
            };
            let invitation: Invitation = client.post_keyed(&["agents", "invite"], &request).await?;
            context
                .renderer
                .show(&invitation, |invitation| invited(invitation, now))?;
        }
        AgentsCommand::List { all } => {
            let agents: Agents = client.all(&["agents"]).await?;
            context
                .renderer
                .show(&agents, |agents| list(agents, all, now))?;
        }
        AgentsCommand::Show { agent } => {
            let agent: Agent = client.get(&["agents", &agent], &[]).await?;
            context.renderer.show(&agent, |agent| one(agent, now))?;
        }
        AgentsCommand::Label {
            agent,
            changes,
            yes,
        } => {
            let agent: Agent = if changes.is_empty() {
                client.get(&["agents", &agent], &[]).await?
            } else {
                let mut request = label_request(changes);
                request.confirmed = yes;
                client.post(&["agents", &agent, "label"], &request).await?
            };
            context.renderer.show(&agent, |agent| {
                let name = format::printable(&agent.name);
                let labels = labels(&agent.labels);
                format!("{name} has the labels {}", format::printable(&labels))
            })?;
        }
        AgentsCommand::Trust { agent, serial } => {
            let path = ["agents", &agent, "trust"];
            let agent: Agent = client.post(&path, &TrustRequest { serial }).await?;
            context.renderer.show(&agent, |agent| {
                format!(
                    "{} is served again, under one certificate. If the other holder of its \
                     identity comes back, it is contested anew.",
                    format::printable(&agent.name)
                )
            })?;
        }
        AgentsCommand::Revoke { agent, sure } => {
            sure.ask(&format!(
                "Shut agent {} out for good?",
                format::printable(&agent)
            ))?;
            let agent: Agent = client.post(&["agents", &agent, "revoke"], &()).await?;
            context.renderer.show(&agent, |agent| {
                format!(
                    "{} is revoked: its session has ended and its certificate is refused.\n\
                     To let the host back in, invite it anew.",
                    format::printable(&agent.name)
                )
            })?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn invited(invitation: &Invitation, now: Timestamp) -> String {
    let (place, force) = match (&invitation.replaces, &invitation.name) {
        (Some(_), Some(name)) => (
            format!(
                " There is an agent {}: the host takes its place and keeps its datasets and \
                 labels; certificates that it has now end.",
                format::printable(name)
            ),
            " --force",
        ),
        _ => (String::new(), ""),
    };
    format!(
        "This token is good for one agent and ends {}.{place} On the host to back up:\n\n  \
         strongroom-agent enroll{force} --coordinator {} --token {}\n",
        format::relative(invitation.expires_at, now),
        invitation.coordinator,
        invitation.token,
    )
}

pub(super) fn list(agents: &Agents, all: bool, now: Timestamp) -> String {
    let mut table = Table::new(
        "no agents yet: `strongroom agents invite` makes a token for one",
        &["name", "state", "last seen", "labels", "host", "version"],
    );
    let is_listed = |agent: &&Agent| all || agent.state != AgentState::Revoked;
    for agent in agents.agents.iter().filter(is_listed) {
        table.row(&[
            agent.name.clone(),
            match wrong_clock(agent) {
                None => agent.state.to_string(),
                Some(skew) => format!("{}, its clock {skew}", agent.state),
            },
            match agent.state {
                AgentState::Connected => "now".into(),
                _ => format::distance(agent.last_seen_at, now),
            },
            labels(&agent.labels),
            agent.hostname.clone().unwrap_or_else(format::dash),
            agent.version.clone().unwrap_or_else(format::dash),
        ]);
    }
    let text = table.render();
    let left_out = agents.agents.iter().filter(|it| !is_listed(it)).count();
    match left_out as u64 {
        0 => text,
        left_out => format!(
            "{text}\n{} not listed: --all lists revoked ones, too",
            format::counted(left_out, "agent is", "agents are")
        ),
    }
}

pub(super) fn one(agent: &Agent, now: Timestamp) -> String {
    let platform = match (&agent.os, &agent.architecture) {
        (Some(os), Some(architecture)) => format!("{os} {architecture}"),
        _ => format::dash(),
    };
    let moment = |time| format::moment_and_distance(time, now);
    let mut rows = vec![
        ("name", agent.name.clone()),
        ("id", agent.id.clone()),
        ("state", agent.state.to_string()),
        ("labels", labels(&agent.labels)),
        ("host", agent.hostname.clone().unwrap_or_else(format::dash)),
        ("platform", platform),
        (
            "version",
            agent.version.clone().unwrap_or_else(format::dash),
        ),
        ("enrolled", moment(Some(agent.enrolled_at))),
        ("last seen", moment(agent.last_seen_at)),
        (
            "clock",
            match (agent.clock_skew_seconds, wrong_clock(agent)) {
                (None, _) => format::dash(),
                (Some(_), None) => "as the coordinator's".into(),
                (Some(_), Some(skew)) => skew.to_string(),
            },
        ),
        ("certificate ends", moment(agent.certificate_expires_at)),
    ];
    if agent.revoked_at.is_some() {
        rows.push(("revoked", moment(agent.revoked_at)));
    }
    if let Some(consent) = &agent.consent {
        rows.push(("allows sources", join(&consent.sources)));
        rows.push(("allows reading", join(&consent.read_paths)));
        rows.push(("allows restoring to", join(&consent.restore_paths)));
        rows.push(("allows commands", join(&consent.commands)));
    }
    let mut text = fields(rows);
    if let Some(contest) = &agent.contest {
        let _ = write!(text, "\n{}", contested(&agent.name, contest, now));
    }
    if !agent.connections.is_empty() {
        let _ = write!(text, "\n{}", connections(&agent.connections, now));
    }
    text
}

/// How far its clock is from the coordinator's, where that matters.
fn wrong_clock(agent: &Agent) -> Option<Skew> {
    let skew = Skew(SignedDuration::from_secs(agent.clock_skew_seconds?));
    skew.matters().then_some(skew)
}

/// Who holds a contested identity, and what to do.
pub(super) fn contested(name: &str, contest: &Contest, now: Timestamp) -> String {
    let mut holders = Table::new("nobody", &["address", "certificate", "process", "version"]);
    for holder in &contest.holders {
        holders.row(&[
            holder.address.clone(),
            holder.serial.clone(),
            holder.boot.clone().unwrap_or_else(format::dash),
            holder.version.clone().unwrap_or_else(format::dash),
        ]);
    }
    let name = format::printable(name);
    format!(
        "CONTESTED {}: {}. It is not served.\n\n{}\n\n\
         A host that was copied: stop the copy, then `strongroom agents trust {name}`.\n\
         A host that was restored from its disk's backup: `strongroom agents trust {name} \
         --serial …` with the certificate it has.\n\
         A key that may be stolen: `strongroom agents revoke {name}`, then `strongroom agents \
         invite --name {name}` and enrol the host anew.\n",
        format::relative(contest.at, now),
        format::printable(&contest.sign),
        holders.render(),
    )
}

/// What answers at its connections: a row each, and a row per database.
fn connections(connections: &[Connection], now: Timestamp) -> String {
    let mut table = Table::new(
        "no connections",
        &[
            "connection",
            "kind",
            "server",
            "role",
            "restores",
            "checked",
        ],
    );
    let mut databases = Table::new(
        "no databases",
        &["connection", "database", ">size", ">keys"],
    );
    let mut more = String::new();
    for connection in connections {
        let (server, role) = match &connection.server {
            Some(server) => (
                format!("{} {}", server.product, server.version),
                &*server.role,
            ),
            None => ("cannot be used".into(), "-"),
        };
        table.row(&[
            connection.name.clone(),
            connection.kind.clone(),
            server,
            role.to_owned(),
            if connection.restore {
                "allowed"
            } else {
                "not allowed"
            }
            .into(),
            format::relative(connection.checked_at, now),
        ]);
        if let Some(problem) = &connection.problem {
            let name = format::printable(&connection.name);
            let _ = writeln!(more, "{name}: {}", format::printable(problem));
        }
        if let Some(server) = &connection.server {
            for database in &server.databases {
                let closed = if database.closed {
                    " (allows no connections)"
                } else {
                    ""
                };
                databases.row(&[
                    connection.name.clone(),
                    format!("{}{closed}", database.name),
                    database.bytes.map_or_else(format::dash, format::bytes),
                    database.keys.map_or_else(format::dash, format::count),
                ]);
            }
            let facts: Vec<_> = server
                .facts
                .iter()
                .map(|fact| format!("{} {}", fact.name, fact.value))
                .collect();
            if !facts.is_empty() {
                let name = format::printable(&connection.name);
                let facts = facts.join(", ");
                let _ = writeln!(more, "{name}: {}", format::printable(&facts));
            }
        }
    }
    let mut text = table.render();
    let any = |server: &Server| !server.databases.is_empty();
    if connections
        .iter()
        .filter_map(|it| it.server.as_ref())
        .any(any)
    {
        let _ = write!(text, "\n\n{}", databases.render());
    }
    if !more.is_empty() {
        let _ = write!(text, "\n\n{}", more.trim_end());
    }
    text
}

fn label_request(changes: Vec<LabelChange>) -> LabelRequest {
    let mut request = LabelRequest::default();
    for change in changes {
        match change {
            LabelChange::Set(key, value) => {
                request.set.insert(key, value);
            }
            LabelChange::Remove(key) => {
                request.remove.insert(key);
            }
        }
    }
    request
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return format::dash();
    }
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.join(" ")
}

fn join(words: &[String]) -> String {
    if words.is_empty() {
        "nothing".into()
    } else {
        words.join(", ")
    }
}
