//! SIGHUP: `agent.toml` is read again. What it allows and which commands and servers it
//! names holds for jobs that begin from then on; what else has changed is named in the
//! log and needs a restart. A file that cannot be used changes nothing.

use std::{path::PathBuf, sync::Arc};

use strongroom_runtime::{config::changed_keys, shutdown::Reloads, telemetry::LevelSetter};
use strongroom_wire::session::Consent;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::AgentConfig;

/// What a reload changes.
pub(crate) struct Reload {
    /// `agent.toml`
    pub(crate) path: PathBuf,
    /// What stood in it when the agent started, …
    pub(crate) started: String,
    /// … and at the last reload.
    pub(crate) last: String,
    pub(crate) live: watch::Sender<Arc<AgentConfig>>,
    pub(crate) consent: watch::Sender<Consent>,
    pub(crate) level: LevelSetter,
}

impl Reload {
    /// Reads the file at each signal, until `stop` is cancelled.
    pub(crate) async fn run(mut self, mut signals: Reloads, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = signals.next() => self.once(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn once(&mut self) {
        let path = self.path.display();
        let loaded = AgentConfig::load_with_text(&self.path).map_err(|it| it.to_string());
        let level = |config: &AgentConfig| {
            let set = self.level.set(&config.telemetry.log_level);
            set.map_err(|error| error.to_string())
        };
        let loaded = loaded.and_then(|(config, text)| level(&config).map(|()| (config, text)));
        let (mut config, text) = match loaded {
            Ok(loaded) => loaded,
            Err(problem) => {
                error!(problem, "{path} was not reloaded: all stays as it was");
                return;
            }
        };
        let mut changed = changed_keys(&self.last, &text);
        changed.retain(|key| is_live(key));
        let mut restart = changed_keys(&self.started, &text);
        restart.retain(|key| !is_live(key));
        if config.wal_socket() != self.live.borrow().wal_socket() {
            restart.push("the socket that servers push their logs to".into());
        }
        config.keep_of(&self.live.borrow());
        let consent = config.consent();
        self.live.send_replace(Arc::new(config));
        self.consent.send_if_modified(|said| {
            let news = *said != consent;
            *said = consent;
            news
        });
        self.last = text;
        info!(
            changed = changed.join(", "),
            "{path} was reloaded: it holds for jobs that begin from now on"
        );
        if !restart.is_empty() {
            let needs = restart.join(", ");
            warn!(needs, "these have changed and need a restart");
        }
    }
}

/// What can change while the agent runs.
fn is_live(key: &str) -> bool {
    let tables = ["allow.", "commands.", "postgres.", "redis."];
    let limits = ["upload", "download", "read", "threads", "memory"];
    tables.iter().any(|table| key.starts_with(table))
        || key == "telemetry.log_level"
        || key
            .strip_prefix("limits.")
            .is_some_and(|it| limits.contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_process_needs_a_restart() {
        for key in ["allow.read_paths", "postgres.orders.url", "limits.upload"] {
            assert!(is_live(key), "{key}");
        }
        for key in [
            "state_dir",
            "coordinator",
            "limits.nice",
            "cache.size",
            "wal.socket",
        ] {
            assert!(!is_live(key), "{key}");
        }
    }
}
