//! `strongroom-agent enroll`

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use strongroom_runtime::printable::{self, Line};
use strongroom_wire::identity::JoinToken;
use zeroize::Zeroizing;

use super::EnrollArgs;
use crate::{
    config::{AgentConfig, DEFAULT_CONFIG, DEFAULT_STATE},
    enrol::{self, Enrolment, Identity},
};

pub(super) fn main(args: EnrollArgs) -> anyhow::Result<ExitCode> {
    let token = read_token(args.token)?;
    let config = load_config(args.config.as_deref())?;
    let coordinator = args
        .coordinator
        .or_else(|| config.as_ref()?.coordinator.clone())
        .context(
            "which coordinator? Say --coordinator HOST:7443, or set it in the configuration file",
        )?;
    let state_dir = args
        .state
        .or_else(|| Some(config.as_ref()?.state_dir.clone()))
        .unwrap_or_else(|| DEFAULT_STATE.into());
    let enrolment = Enrolment {
        coordinator,
        token,
        state_dir: state_dir.clone(),
        force: args.force,
        hostname: crate::host::hostname(),
    };
    let identity = super::runtime()?.block_on(enrol::enrol(enrolment))?;
    printable::out(&format!(
        "Enrolled with {} as {} ({}).\nThe identity is in {}; what this host allows is up to \
         agent.toml. Next: strongroom-agent run\n",
        identity.coordinator,
        Line(&identity.agent_name),
        identity.agent_id,
        Identity::path(&state_dir).display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn read_token(given: String) -> anyhow::Result<JoinToken> {
    let given = Zeroizing::new(given);
    if *given != "-" {
        return Ok(given.parse()?);
    }
    let mut text = Zeroizing::new(String::with_capacity(1024));
    std::io::stdin()
        .take(1024)
        .read_to_string(&mut text)
        .context("cannot read the join token from standard input")?;
    Ok(text.parse()?)
}

/// A file that was named must be there; the usual one may be.
fn load_config(named: Option<&Path>) -> anyhow::Result<Option<AgentConfig>> {
    let usual = PathBuf::from(DEFAULT_CONFIG);
    match named {
        Some(path) => Ok(Some(AgentConfig::load(path)?)),
        None if usual.exists() => Ok(Some(AgentConfig::load(&usual)?)),
        None => Ok(None),
    }
}
