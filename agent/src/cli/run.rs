//! `strongroom-agent run`: the composition root.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use strongroom_runtime::{
    clock::SystemClock,
    shutdown::{Ended, Reloads, Shutdown, Signals},
    telemetry::{self, LevelSetter},
};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::RunArgs;
use crate::{
    config::AgentConfig,
    enrol::{Identity, StateLock},
    inventory,
    outbox::Outbox,
    priority,
    reload::Reload,
    restore,
    runner::{Engine, Runner},
    session::{Session, SessionError},
    transfer,
    wal::{self, push::Desks},
};

/// How long running attempts may take to end when the agent is told to.
const GRACE: Duration = Duration::from_secs(20);

/// Starting the agent again does not help.
const DISMISSED: u8 = 3;

pub(super) fn main(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (config, text) = AgentConfig::load_with_text(&args.config)?;
    let identity = Identity::load(&config.state_dir)?;
    let _lock = StateLock::take(&config.state_dir)?;
    if args.end_with_parent {
        end_with_parent()?;
    }
    // Before there are threads: they inherit them.
    let refused = priority::set(&config.limits);

    let runtime = super::runtime()?;
    let code = runtime.block_on(async {
        let telemetry = telemetry::init("strongroom-agent", crate::VERSION, &config.telemetry)?;
        for problem in &refused {
            warn!("{problem}");
        }
        let file = (args.config.clone(), text);
        let code = serve(config, file, telemetry.level(), identity).await;
        let flushed = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
        flushed.context("telemetry did not end in order").and(code)
    });
    // A thread that hangs in a file system must not keep the process.
    runtime.shutdown_background();
    code
}

/// For `strongroom dev`: an agent that outlives it would serve nobody.
fn end_with_parent() -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .context("cannot ask to end with the parent")?;
    // It may have ended in between: then nobody sends the signal any more.
    anyhow::ensure!(
        parent.is_some_and(|it| !it.is_init()) && parent == rustix::process::getppid(),
        "the process that started this one has ended"
    );
    Ok(())
}

async fn serve(
    config: AgentConfig,
    (path, text): (PathBuf, String),
    level: LevelSetter,
    identity: Identity,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let reloads = Reloads::listen().context("cannot listen for signals")?;
    let shutdown = Shutdown::new();
    let coordinator = config
        .coordinator
        .clone()
        .unwrap_or_else(|| identity.coordinator.clone());
    info!(agent = identity.agent_name, id = %identity.agent_id, %coordinator,
        version = crate::VERSION, "strongroom-agent starts");
    let outbox = Outbox::open(&config.state_dir)?;
    let transfer_key = transfer::key::load(&config.state_dir)?.public();
    let (owner, link) = crate::link::link();
    let state_dir = config.state_dir.clone();
    restore::postgres::sweep(&state_dir);
    let (say_consent, consent) = watch::channel(config.consent());
    let hostname = crate::host::hostname();
    let socket = config.wal_socket();
    let (set_live, live) = watch::channel(Arc::new(config));
    let reload = Reload {
        path,
        last: text.clone(),
        started: text,
        live: set_live,
        consent: say_consent,
        level,
    };
    shutdown.spawn(reload.run(reloads, shutdown.soft()));
    let (finder, found) = watch::channel(None);
    shutdown.spawn(inventory::keep(
        live.clone(),
        SystemClock::shared(),
        finder,
        shutdown.soft(),
    ));
    let desks = Desks::default();
    if let Some(socket) = socket {
        let (desks, stop) = (desks.clone(), shutdown.soft());
        shutdown.spawn(async move { wal::push::listen(&socket, desks, stop).await });
    }
    let engine = Engine::new(
        live,
        link,
        identity.ca_pem.clone(),
        hostname.clone(),
        SystemClock::shared(),
        desks,
    );
    let session = Session {
        coordinator,
        state_dir,
        identity,
        consent,
        transfer_key,
        hostname,
        boot_id: Uuid::new_v4(),
        runner: Runner::new(engine, outbox.clone(), shutdown.clone()),
        outbox,
        found,
        link: owner,
        clock: SystemClock::shared(),
    };
    let (result, ended) = oneshot::channel();
    let session_shutdown = shutdown.clone();
    shutdown.spawn(async move {
        let outcome = session.run(session_shutdown.soft()).await;
        let _ = result.send(outcome);
        // Without a session there is nothing left to do.
        session_shutdown.request();
    });
    if shutdown.wait(signals, GRACE).await == Ended::Forced {
        warn!("ended by force; the coordinator will find out by itself");
        return Ok(ExitCode::FAILURE);
    }
    if let Ok(Err(error)) = ended.await {
        error!("{error}");
        return Ok(match error {
            SessionError::Dismissed { .. } | SessionError::Expired { .. } => {
                ExitCode::from(DISMISSED)
            }
            SessionError::Pki(_) => ExitCode::FAILURE,
        });
    }
    info!("strongroom-agent ends");
    Ok(ExitCode::SUCCESS)
}
