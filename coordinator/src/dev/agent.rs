//! The agent's process: enrolled, run, ended with this one.

use std::{
    env,
    fs::File,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process};
use strongroom_runtime::{
    clock::{Clock as _, SystemClock},
    files,
    shutdown::Shutdown,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::data_dir::{AGENT, Place};
use crate::{
    cli::client::{Client, ClientError},
    http::{
        dto::{Agent, AgentState, Invitation, InviteRequest},
        problem::Code,
    },
    serve::Addresses,
};

/// How long the agent may take to end.
const GRACE: Duration = Duration::from_secs(15);
/// A certificate that ends sooner is not started with.
const CERTIFICATE_LEFT: SignedDuration = SignedDuration::from_hours(24);

/// A running agent; killed when dropped.
#[derive(Debug)]
pub(super) struct AgentProcess {
    child: Child,
    log: PathBuf,
}

impl AgentProcess {
    /// Enrols the agent when it has no valid identity yet, and starts it.
    pub(super) async fn start(
        place: &Place,
        addresses: &Addresses,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let directory = place.agent_directory();
        files::create_private_dir(&directory)?;
        let config = directory.join("agent.toml");
        let text = place.agent_config(addresses.agents);
        files::write_atomic(&config, text.as_bytes(), files::PUBLIC)?;
        if !is_enrolled(place, client).await? {
            enrol(place, client).await?;
        }
        let log = directory.join("agent.log");
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = program()?
            .arg("run")
            .arg("--config")
            .arg(&config)
            // Its own end is not enough: this process may be killed.
            .arg("--end-with-parent")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start strongroom-agent")?;
        Ok(Self { child, log })
    }

    /// Waits for an end that nobody asked for, and says how it came.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!(
                "the agent has ended by itself ({status}); its log is {}:\n{}",
                self.log.display(),
                last_lines(&files::read_text(&self.log).unwrap_or_default())
            ),
            Err(error) => anyhow!("the agent cannot be waited for: {error}"),
        }
    }

    /// Asks the agent to end, and kills it when it takes too long.
    pub(super) async fn stop(mut self, shutdown: &Shutdown) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may just have ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        let hard = shutdown.hard();
        let ended: Option<std::io::Result<ExitStatus>> = tokio::select! {
            ended = self.child.wait() => Some(ended),
            () = tokio::time::sleep(GRACE) => None,
            () = hard.cancelled() => None,
        };
        if ended.is_none() {
            tracing::warn!("the agent took too long to end and is killed");
            if let Err(error) = self.child.kill().await {
                tracing::warn!(%error, "the agent cannot be killed");
            }
        }
    }
}

/// Whether the identity in the agent's directory still opens the door.
async fn is_enrolled(place: &Place, client: &Client) -> anyhow::Result<bool> {
    let soon = SystemClock.now().saturating_add(CERTIFICATE_LEFT)?;
    let agent = known_agent(client).await?;
    let valid = agent.is_some_and(|agent| {
        agent.state != AgentState::Revoked
            && agent.certificate_expires_at.is_some_and(|end| end > soon)
    });
    Ok(valid && place.agent_directory().join("identity.json").exists())
}

async fn known_agent(client: &Client) -> anyhow::Result<Option<Agent>> {
    match client.get(&["agents", AGENT], &[]).await {
        Ok(agent) => Ok(Some(agent)),
        Err(ClientError::Problem(problem)) if problem.code == Code::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Invites the agent and lets it enrol. A lost identity is revoked first: the
/// new one takes over its name, and so its repository.
async fn enrol(place: &Place, client: &Client) -> anyhow::Result<()> {
    if let Some(old) = known_agent(client).await?
        && old.state != AgentState::Revoked
    {
        let _: Agent = client.post(&["agents", &old.id, "revoke"], &()).await?;
    }
    let request = InviteRequest {
        name: Some(AGENT.into()),
        labels: [].into(),
        ttl_seconds: 300,
    };
    let invitation: Invitation = client.post_keyed(&["agents", "invite"], &request).await?;
    let mut child = program()?
        .arg("enroll")
        .arg("--coordinator")
        .arg(&invitation.coordinator)
        .arg("--config")
        .arg(place.agent_directory().join("agent.toml"))
        .arg("--force")
        .arg("--token")
        // From standard input: arguments are for all to see.
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start strongroom-agent")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(invitation.token.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "the agent could not enrol ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The agent's binary lies beside this one.
pub(super) fn program() -> anyhow::Result<Command> {
    let own = env::current_exe().context("cannot tell where this program lies")?;
    let path = own.with_file_name("strongroom-agent");
    ensure!(
        path.exists(),
        "there is no {}: `cargo build` makes both binaries; keep them in one directory",
        path.display()
    );
    Ok(Command::new(path))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let start = lines.len().saturating_sub(10);
    lines.get(start..).unwrap_or_default().join("\n")
}
