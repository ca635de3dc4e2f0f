//! `agent.toml`: whom this agent serves and what it allows.
//!
//! What stands under `[allow]` and `[commands]` is the host's own consent: the
//! runner refuses everything else, whatever the coordinator says. The sample
//! with all keys is `deploy/agent.toml`; a test parses it.

mod address;
mod cache;
mod limits;
mod path;
mod postgres;
mod redis;
mod wal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de};
use strongroom_runtime::{config::ConfigError, files, telemetry::TelemetryConfig};
use strongroom_spec::SourceKind;
use strongroom_wire::session::Consent;
use tokio::sync::watch;

pub use address::{Address, ParseAddressError};
pub use cache::Cache;
pub use limits::{IoNice, Limits, parse_memory, parse_rate, parse_threads};
pub use path::AbsolutePath;
pub use postgres::{PostgresConnection, PostgresConnectionError};
pub use redis::{RedisConnection, RedisConnectionError, RedisTls};
pub use strongroom_runtime::units::{ByteRate, ByteSize};
pub use wal::{DEFAULT_WAL_SOCKET, Wal};

/// Where `agent.toml` lies when nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/strongroom/agent.toml";
/// Where identity and outbox lie when nobody says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/strongroom-agent";

/// The configuration as it is now: it is read again at SIGHUP.
pub type LiveConfig = watch::Receiver<Arc<AgentConfig>>;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The coordinator's address for agents; absent: the one that this agent
    /// enrolled with.
    pub coordinator: Option<Address>,
    /// Identity (mode 0600) and outbox.
    #[serde(default = "default_state")]
    pub state_dir: PathBuf,
    /// What the coordinator may ask for; nothing by default.
    #[serde(default)]
    pub allow: Allow,
    /// Commands whose output may be backed up, by name.
    #[serde(default, deserialize_with = "commands")]
    pub commands: BTreeMap<String, Command>,
    /// PostgreSQL servers that policies may name.
    #[serde(default, deserialize_with = "postgres::connections")]
    pub postgres: BTreeMap<String, PostgresConnection>,
    /// Redis servers that may be backed up, by name.
    #[serde(default, deserialize_with = "redis::connections")]
    pub redis: BTreeMap<String, RedisConnection>,
    /// What concerns write-ahead logs.
    #[serde(default)]
    pub wal: Wal,
    /// What is kept of repositories.
    #[serde(default)]
    pub cache: Cache,
    /// How much of the host jobs may take.
    #[serde(default)]
    pub limits: Limits,
    /// Traces and logs.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

fn default_state() -> PathBuf {
    DEFAULT_STATE.into()
}

/// The `[allow]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Kinds of sources.
    pub sources: Vec<SourceKind>,
    /// What lies at or below these may be read.
    pub read_paths: Vec<AbsolutePath>,
    /// What lies at or below these may be restored into.
    pub restore_paths: Vec<AbsolutePath>,
}

/// A `[commands.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments; no shell in between.
    #[serde(deserialize_with = "argv")]
    pub argv: Vec<String>,
    /// The file's name in the snapshot; absent: the command's name.
    #[serde(default, deserialize_with = "filename")]
    pub filename: Option<String>,
    /// Whether a failure shows the end of its standard error to operators.
    #[serde(default = "yes")]
    pub report_stderr: bool,
    /// Whether printing nothing is a success.
    #[serde(default)]
    pub allow_empty: bool,
}

impl AgentConfig {
    /// Reads and checks the file, which nobody but its owner may write: whoever can
    /// decides what is read on this host, and which commands run.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::load_with_text(path)?.0)
    }

    /// As [`load`](Self::load), with the text, to compare with a later one.
    pub fn load_with_text(path: &Path) -> Result<(Self, String), ConfigError> {
        let text = files::read_own_text(path)?;
        Ok((strongroom_runtime::config::parse(path, &text)?, text))
    }

    /// Where the cache lies.
    pub fn cache_directory(&self) -> PathBuf {
        let configured = self.cache.directory.as_ref();
        configured.map_or_else(
            || self.state_dir.join("cache"),
            |directory| directory.as_path().to_owned(),
        )
    }

    /// Where servers push their logs to; `None`: there is none that may.
    pub fn wal_socket(&self) -> Option<PathBuf> {
        let may = self.allow.sources.contains(&SourceKind::Postgres) && !self.postgres.is_empty();
        let socket = self.wal.socket.as_ref();
        may.then(|| socket.map_or(DEFAULT_WAL_SOCKET.into(), |it| it.as_path().to_owned()))
    }

    /// Takes over what a running agent goes on with, whatever stands in the file by
    /// now: its state, which is guarded where it lies and holds the key that it has
    /// told, its cache, and where it reports.
    pub fn keep_of(&mut self, running: &Self) {
        self.coordinator.clone_from(&running.coordinator);
        self.state_dir.clone_from(&running.state_dir);
        self.cache.clone_from(&running.cache);
        self.wal.clone_from(&running.wal);
    }

    /// What the operators are shown.
    pub fn consent(&self) -> Consent {
        let paths = |paths: &[AbsolutePath]| paths.iter().map(ToString::to_string).collect();
        Consent {
            sources: self
                .allow
                .sources
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect(),
            read_paths: paths(&self.allow.read_paths),
            restore_paths: paths(&self.allow.restore_paths),
            commands: self.commands.keys().cloned().collect(),
        }
    }
}

fn argv<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let argv = Vec::<String>::deserialize(deserializer)?;
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(de::Error::custom(
            "argv must name a program, as in argv = [\"pg_dump\", \"mydb\"]",
        )),
    }
}

fn yes() -> bool {
    true
}

fn filename<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_file_name(&name) {
        return Ok(Some(name));
    }
    Err(de::Error::custom(format!(
        "filename {name:?} must be a plain file name, without slashes"
    )))
}

fn commands<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Command>, D::Error> {
    let commands = BTreeMap::<String, Command>::deserialize(deserializer)?;
    match commands.keys().find(|name| !is_file_name(name)) {
        None => Ok(commands),
        Some(name) => Err(de::Error::custom(format!(
            "command name {name:?} must be usable as a file name"
        ))),
    }
}

fn is_file_name(name: &str) -> bool {
    !(name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']))
}

#[cfg(test)]
mod tests;
