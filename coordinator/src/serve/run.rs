//! `strongroom serve`: one coordinator from configuration to exit code.

use std::{fmt::Write as _, path::Path};

use strongroom_runtime::{
    clock::SystemClock,
    printable,
    shutdown::{Ended, Shutdown, Signals},
    telemetry,
};

use super::{Addresses, Coordinator, GRACE};
use crate::config::Config;

/// Runs a coordinator until SIGINT or SIGTERM. `true`: it ran well and every
/// task came to its end.
pub async fn run(path: &Path) -> anyhow::Result<bool> {
    let config = Config::load(path)?;
    let telemetry = telemetry::init("strongroom", env!("CARGO_PKG_VERSION"), &config.telemetry)?;
    let signals = Signals::listen()?;
    let shutdown = Shutdown::new();
    let coordinator = Coordinator::open(&config, SystemClock::shared(), &shutdown).await?;
    let addresses = coordinator.addresses();
    let running = coordinator.run(&shutdown);
    printable::out(&greeting(&addresses))?;
    let ended = shutdown.wait(signals, GRACE).await;
    let well = running.close().await && ended == Ended::Cleanly;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    Ok(well)
}

/// Where it listens and what to do next.
fn greeting(addresses: &Addresses) -> String {
    let mut text = format!(
        "strongroom {} is serving\n\n  agents     {}, on {}\n  operators  https://{}\n",
        env!("CARGO_PKG_VERSION"),
        addresses.agents_public,
        addresses.agents,
        addresses.api,
    );
    if let Some(embedded) = addresses.embedded {
        let _ = writeln!(text, "  store      {embedded} (embedded)");
    }
    let profile = addresses.profile.display();
    let _ = write!(
        text,
        "  profile    {profile}\n\nNext:\n  export STRONGROOM_PROFILE={profile}\n  \
         strongroom agents invite          # a token for each host\n  \
         strongroom apply -f policies.toml # what to back up, where and when\n  \
         strongroom status\n",
    );
    text
}
