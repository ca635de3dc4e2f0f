//! `strongroom serve`: one coordinator from configuration to exit code.

use std::{fmt::Write as _, path::Path};

use strongroom_runtime::{
    clock::SystemClock,
    files, printable,
    shutdown::{Ended, Reloads, Shutdown, Signals},
    telemetry,
};

use super::{Addresses, Coordinator, GRACE, OtherKeys, reload::Reload};
use crate::config::Config;

/// Runs a coordinator until SIGINT or SIGTERM. `true`: it ran well and every
/// task came to its end.
pub async fn run(path: &Path, others: OtherKeys) -> anyhow::Result<bool> {
    let started = files::read_text(path)?;
    let config = Config::parse(path, &started)?;
    let telemetry = telemetry::init("strongroom", env!("CARGO_PKG_VERSION"), &config.telemetry)?;
    let signals = Signals::listen()?;
    let reloads = Reloads::listen()?;
    let shutdown = Shutdown::new();
    let coordinator = Coordinator::open(&config, others, SystemClock::shared(), &shutdown).await?;
    let addresses = coordinator.addresses();
    let running = coordinator.run(&shutdown);
    let reload = Reload {
        path: path.to_owned(),
        last: started.clone(),
        started,
        limits: running.limits(),
        level: telemetry.level(),
    };
    shutdown.spawn(reload.run(reloads, shutdown.soft()));
    printable::out(&greeting(&addresses, path))?;
    let ended = shutdown.wait(signals, GRACE).await;
    let well = running.close().await && ended == Ended::Cleanly;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    Ok(well)
}

/// Where it listens and what to do next.
fn greeting(addresses: &Addresses, config: &Path) -> String {
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
    for store in &addresses.stores {
        let _ = writeln!(
            text,
            "  {store}: is tried now, and the log says what came of it"
        );
    }
    let profile = addresses.profile.display();
    let next = if addresses.profile.exists() {
        let _ = writeln!(text, "  profile    {profile}");
        format!("export STRONGROOM_PROFILE={profile}")
    } else {
        let _ = writeln!(text, "  profile    {profile} is not there");
        let config = config.display();
        format!("strongroom operators reset --config {config} # if no other profile is left")
    };
    let _ = write!(
        text,
        "\nNext:\n  {next}\n  strongroom agents invite          # a token for each host\n  \
         strongroom apply -f policies.toml # what to back up, where and when\n  \
         strongroom status\n",
    );
    text
}
