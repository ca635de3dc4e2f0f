//! `strongroom dev`: everything on one machine, proven in one run.
//!
//! A coordinator in this process (SQLite, embedded store, an authority of its
//! own) and an agent in another, enrolled over mTLS as any agent is. They back
//! up a directory, restore it beside, and compare every byte and every piece
//! of metadata. Then they keep the schedule until Ctrl-C.
//!
//! - [`data_dir`]: what lies where in the data directory,
//! - [`agent`]: the agent's process,
//! - [`prove`]: backup, restore, comparison, all by the REST API,
//! - [`verdict`]: what a difference means when files change meanwhile,
//! - [`restic`]: how plain restic opens the repository,
//! - [`scratch`]: the restored tree, and its removal,
//! - [`report`]: what people read.

mod agent;
mod data_dir;
mod prove;
mod report;
mod restic;
mod scratch;
mod verdict;

use strongroom_runtime::{
    clock::SystemClock,
    printable,
    shutdown::{Ended, Shutdown, Signals},
    telemetry::{self, TelemetryConfig},
};

use self::{
    agent::AgentProcess,
    data_dir::{Place, Ports},
};
use crate::{
    cli::{args::DevArgs, client::Client, error::Exit},
    profile::Profile,
    serve::{Addresses, Coordinator, GRACE, OtherKeys, Running, ServeError},
};

/// Runs everything. With `--once` it ends behind the comparison, else with
/// Ctrl-C.
pub(crate) async fn run(args: &DevArgs) -> anyhow::Result<Exit> {
    agent::program()?;
    let place = Place::open(&args.path, &args.data)?;
    let telemetry = telemetry::init(
        "strongroom",
        env!("CARGO_PKG_VERSION"),
        &TelemetryConfig {
            log_level: "warn".into(),
            ..data_dir::telemetry()
        },
    )?;
    let signals = Signals::listen()?;
    let shutdown = Shutdown::new();
    let (running, addresses) = start(&place, &shutdown).await?;
    let work = async {
        let worked = work(&place, &running, &addresses, args.once, &shutdown).await;
        shutdown.request();
        worked
    };
    let (worked, ended) = tokio::join!(work, shutdown.wait(signals, GRACE));
    let well = running.close().await && ended == Ended::Cleanly;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    let exit = worked?;
    Ok(if well { exit } else { exit.worse(Exit::Failed) })
}

/// Starts the coordinator on the ports of last time, or on free ones.
async fn start(place: &Place, shutdown: &Shutdown) -> anyhow::Result<(Running, Addresses)> {
    let open = async |ports: Ports| {
        let config = place.coordinator_config(ports);
        Coordinator::open(&config, OtherKeys::Refuse, SystemClock::shared(), shutdown).await
    };
    let remembered = place.ports()?;
    let coordinator = match open(remembered).await {
        Err(error) if remembered != Ports::FREE && is_port(&error) => open(Ports::FREE).await?,
        opened => opened?,
    };
    let addresses = coordinator.addresses();
    place.remember(Ports {
        agents: addresses.agents.port(),
        api: addresses.api.port(),
        store: addresses.embedded.map_or(0, |address| address.port()),
    })?;
    Ok((coordinator.run(shutdown), addresses))
}

/// Whether an address could not be had: then another may do.
fn is_port(error: &ServeError) -> bool {
    match error {
        ServeError::AgentPort(_) | ServeError::ApiPort { .. } => true,
        ServeError::Stores(error) => error.is_port(),
        _ => false,
    }
}

/// From the agent's enrolment to its end.
async fn work(
    place: &Place,
    running: &Running,
    addresses: &Addresses,
    once: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    printable::out(&report::opening(place, addresses))?;
    let client = Client::new(&Profile::load(&addresses.profile)?)?;
    let mut agent = AgentProcess::start(place, addresses, &client).await?;
    let result = with_agent(place, running, &client, &mut agent, once, shutdown).await;
    agent.stop(shutdown).await;
    result
}

async fn with_agent(
    place: &Place,
    running: &Running,
    client: &Client,
    agent: &mut AgentProcess,
    once: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let stopping = shutdown.soft();
    let exit = tokio::select! {
        exit = prove_and_report(place, running, client) => exit?,
        error = agent.ended() => return Err(error),
        () = stopping.cancelled() => anyhow::bail!("interrupted before the comparison was done"),
    };
    if once {
        return Ok(exit);
    }
    printable::out(&report::staying())?;
    tokio::select! {
        error = agent.ended() => Err(error),
        () = stopping.cancelled() => Ok(exit),
    }
}

async fn prove_and_report(
    place: &Place,
    running: &Running,
    client: &Client,
) -> anyhow::Result<Exit> {
    running.agent_connected(data_dir::AGENT).await?;
    let proof = prove::prove(place, client).await?;
    restic::write_environment(place, client, &proof).await?;
    printable::out(&report::proof(place, &proof))?;
    Ok(proof.exit())
}
