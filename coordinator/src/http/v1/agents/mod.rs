//! Agents and invitations.

pub mod invitation;
pub mod invite;
pub mod label;
pub mod list;
pub mod revoke;
pub mod show;
pub mod trust;

use strongroom_wire::session;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        dto::{Agent, AgentState, Connection, Consent, Contest, Database, Fact, Holder, Server},
        presence::Presence,
        problem::Problem,
        state::{ApiState, SharedState},
    },
    model,
};

pub(super) fn routes() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_agents))
        .routes(routes!(invite::invite_agent))
        .routes(routes!(invitation::show_invitation))
        .routes(routes!(show::show_agent))
        .routes(routes!(label::label_agent))
        .routes(routes!(revoke::revoke_agent))
        .routes(routes!(trust::trust_agent))
}

/// As the API shows an agent.
async fn shape(state: &ApiState, agent: model::Agent) -> Result<Agent, Problem> {
    let connections = state.catalog.connections(agent.id).await?;
    let connections = connections.into_iter().map(connection).collect();
    Ok(Agent {
        connections,
        ..outline(state, &state.presence().await?, agent).await?
    })
}

/// As it stands in a list: without what it finds at its connections.
async fn outline(
    state: &ApiState,
    presence: &Presence<'_>,
    agent: model::Agent,
) -> Result<Agent, Problem> {
    let last_seen_at = presence.last_seen(&agent);
    let certificates = state.catalog.certificates(agent.id).await?;
    let (agent_state, revoked_at) = match agent.state {
        model::AgentState::Revoked { at } => (AgentState::Revoked, Some(at)),
        model::AgentState::Active if agent.contest.is_some() => (AgentState::Contested, None),
        model::AgentState::Active if presence.is_connected(agent.id) => {
            (AgentState::Connected, None)
        }
        model::AgentState::Active => (AgentState::Away, None),
    };
    Ok(Agent {
        id: agent.id.to_string(),
        name: agent.name,
        labels: agent.labels,
        state: agent_state,
        contest: agent.contest.map(contest),
        hostname: agent.facts.hostname,
        os: agent.facts.os,
        architecture: agent.facts.architecture,
        version: agent.facts.version,
        enrolled_at: agent.enrolled_at,
        last_seen_at,
        clock_skew_seconds: state.live.skew(agent.id).map(|skew| skew.0.as_secs()),
        certificate_expires_at: certificates
            .iter()
            .filter(|it| it.ended.is_none())
            .map(|it| it.not_after)
            .max(),
        revoked_at,
        consent: agent.facts.consent.map(|consent| Consent {
            sources: consent.sources,
            read_paths: consent.read_paths,
            restore_paths: consent.restore_paths,
            commands: consent.commands,
        }),
        connections: Vec::new(),
    })
}

pub(super) fn contest(contest: model::Contest) -> Contest {
    Contest {
        at: contest.at,
        sign: contest.sign.to_string(),
        holders: contest
            .holders
            .into_iter()
            .map(|holder| Holder {
                address: holder.address.to_string(),
                serial: holder.serial,
                boot: holder.boot.map(|boot| boot.to_string()),
                version: holder.version,
            })
            .collect(),
    }
}

fn connection(connection: session::Connection) -> Connection {
    let (server, problem) = match connection.state {
        Ok(server) => (Some(server), None),
        Err(problem) => (None, Some(problem)),
    };
    Connection {
        kind: connection.kind,
        name: connection.name,
        restore: connection.restore,
        checked_at: connection.checked_at,
        server: server.map(|server| Server {
            product: server.product,
            version: server.version,
            role: server.role,
            databases: server.databases.into_iter().map(database).collect(),
            facts: server.facts.into_iter().map(fact).collect(),
        }),
        problem,
    }
}

fn database(database: session::Database) -> Database {
    let known = |number: u64| (number > 0).then_some(number);
    Database {
        name: database.name,
        bytes: known(database.bytes),
        keys: known(database.keys),
        closed: database.closed,
    }
}

fn fact(fact: session::Fact) -> Fact {
    Fact {
        name: fact.name,
        value: fact.value,
    }
}
