//! SIGHUP: the configuration is read again. What can change while the coordinator runs
//! changes; of the rest the log says that it needs a restart. A file that cannot be
//! used changes nothing.

use std::path::PathBuf;

use strongroom_runtime::{config, files, shutdown::Reloads, telemetry::LevelSetter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::concurrency;
use crate::{config::Config, jobs::Concurrency};

/// What a reload can change.
pub(super) struct Reload {
    /// `coordinator.toml`
    pub(super) path: PathBuf,
    /// What stood in it when the coordinator started, …
    pub(super) started: String,
    /// … and at the last reload.
    pub(super) last: String,
    pub(super) limits: watch::Sender<Concurrency>,
    pub(super) level: LevelSetter,
}

impl Reload {
    /// Reads the file at each signal, until `cancel`.
    pub(super) async fn run(mut self, mut signals: Reloads, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = signals.next() => self.once(),
                () = cancel.cancelled() => return,
            }
        }
    }

    fn once(&mut self) {
        let path = self.path.display();
        let read = files::read_text(&self.path).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| match Config::parse(&self.path, &text) {
            Ok(config) => Ok((text, config)),
            Err(error) => Err(error.to_string()),
        });
        let (text, config) = match parsed {
            Ok(parsed) => parsed,
            Err(problem) => {
                tracing::error!(problem, "{path} was not reloaded: all stays as it was");
                return;
            }
        };
        let mut live = config::changed_keys(&self.last, &text);
        live.retain(|key| is_live(key));
        let mut restart = config::changed_keys(&self.started, &text);
        restart.retain(|key| !is_live(key));
        if let Err(error) = self.level.set(&config.telemetry.log_level) {
            tracing::error!(%error, "{path} was not reloaded: all stays as it was");
            return;
        }
        self.limits.send_replace(concurrency(&config));
        self.last = text;
        tracing::info!(
            changed = live.join(", "),
            "{path} was reloaded{}",
            if live.is_empty() {
                ": nothing changed that can change now"
            } else {
                ""
            }
        );
        if !restart.is_empty() {
            let needs = restart.join(", ");
            tracing::warn!(needs, "these keys have changed and need a restart");
        }
    }
}

fn is_live(key: &str) -> bool {
    key.starts_with("limits.") || key == "telemetry.log_level"
}
