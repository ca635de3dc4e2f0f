//! Values that parse but make no sense together.

use super::{Config, EmbeddedConfig, StoreConfig, place};

/// Says which key is wrong, why, and what would be right.
pub(super) fn check(config: &Config) -> Result<(), String> {
    sessions(config)?;
    limits(config)?;
    agents(config)?;
    let (agents, api) = (&config.agents, &config.api);
    connections("agents", agents.connections, agents.strangers)?;
    connections("api", api.connections, api.strangers)?;
    if config.catalog.url.is_some() && config.catalog.url_file.is_some() {
        return Err("[catalog] has both url and url_file: keep one".into());
    }
    for (name, store) in &config.stores {
        check_store(name, store)?;
    }
    if let Some(embedded) = &config.embedded {
        check_embedded(config, embedded)?;
    }
    Ok(())
}

fn sessions(config: &Config) -> Result<(), String> {
    let sessions = &config.sessions;
    if sessions.heartbeat_seconds == 0 {
        return Err("[sessions] heartbeat_seconds must be at least 1".into());
    }
    if sessions.lease_seconds < sessions.heartbeat_seconds.saturating_mul(3) {
        return Err(format!(
            "[sessions] lease_seconds is {}: it must be at least three heartbeats ({}), or one \
             lost heartbeat ends a backup",
            sessions.lease_seconds,
            sessions.heartbeat_seconds.saturating_mul(3),
        ));
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), String> {
    let limits = &config.limits;
    for (key, value) in [
        ("global", limits.global),
        ("per_agent", limits.per_agent),
        ("per_store", limits.per_store),
    ] {
        if value == 0 {
            return Err(format!(
                "[limits] {key} is 0: no job would ever run; give at least 1"
            ));
        }
    }
    Ok(())
}

fn agents(config: &Config) -> Result<(), String> {
    for name in &config.agents.public_names {
        if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            return Err(format!(
                "[agents] public_names: {name:?} is neither a DNS name nor an IP address; write \
                 it without a port"
            ));
        }
    }
    if config.agents.listen.port() != 0 && config.agents.listen == config.api.listen {
        return Err(format!(
            "[agents] listen and [api] listen are both {}: give each its own port",
            config.api.listen
        ));
    }
    Ok(())
}

fn connections(section: &str, connections: usize, strangers: usize) -> Result<(), String> {
    if strangers == 0 {
        return Err(format!(
            "[{section}] strangers is 0: nobody could begin a connection; give at least 1"
        ));
    }
    if strangers >= connections {
        return Err(format!(
            "[{section}] strangers is {strangers} of {connections} connections: leave some for \
             callers who are known"
        ));
    }
    Ok(())
}

fn check_store(name: &str, store: &StoreConfig) -> Result<(), String> {
    check_name(name)?;
    place::check(store).map_err(|problem| format!("[store.{name}] {problem}"))?;
    if store.credentials().is_none() {
        return Err(format!(
            "[store.{name}] must name its credentials by exactly one pair: access_key_id_file \
             and secret_access_key_file, or access_key_id_env and secret_access_key_env"
        ));
    }
    Ok(())
}

fn check_embedded(config: &Config, embedded: &EmbeddedConfig) -> Result<(), String> {
    check_name(&embedded.name)?;
    connections("embedded", embedded.connections, embedded.strangers)?;
    if config.stores.contains_key(&embedded.name) {
        return Err(format!(
            "[embedded] name {:?} is also a [store.{}]: give one of them another name",
            embedded.name, embedded.name
        ));
    }
    if !embedded.tls && !embedded.listen.ip().is_loopback() {
        return Err(format!(
            "[embedded] listen {} is open to the network: set tls = true, or listen on 127.0.0.1",
            embedded.listen
        ));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(format!(
            "the store name {name:?} must be 1 to 64 of a–z, 0–9, - and _"
        ));
    }
    Ok(())
}
