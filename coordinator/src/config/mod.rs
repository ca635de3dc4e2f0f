//! `coordinator.toml`: where a coordinator keeps its data, where it listens,
//! and which stores it signs for.
//!
//! Secrets never stand in the file: it names files or environment variables
//! that hold them (see [`store`]). Relative paths are taken from the file's
//! own directory, so that a coordinator may be started from anywhere. Unknown
//! keys are errors.
//!
//! To add a setting: give its section a field with a default, a line in
//! `deploy/coordinator.toml` (a test parses that sample), and a check in
//! [`check`] when not every value makes sense.

mod check;
mod place;
pub mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use strongroom_runtime::{
    config::{self as config_file, ConfigError as FileConfigError},
    files::{self, FileError},
    telemetry::TelemetryConfig,
};

use zeroize::Zeroizing;

pub use self::store::{CredentialsConfig, StoreConfig};
use crate::policy::Span;

/// The whole file, checked, with every path made absolute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of everything that this coordinator keeps.
    pub data_directory: PathBuf,
    /// Where agents connect.
    #[serde(default)]
    pub agents: AgentsConfig,
    /// Where operators connect.
    #[serde(default)]
    pub api: ApiConfig,
    /// Where the catalog lies.
    #[serde(default)]
    pub catalog: CatalogConfig,
    /// Stores by name.
    #[serde(default, rename = "store")]
    pub stores: BTreeMap<String, StoreConfig>,
    /// The S3 endpoint over a local directory; absent: none.
    #[serde(default)]
    pub embedded: Option<EmbeddedConfig>,
    /// How much at once.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Heartbeats and leases.
    #[serde(default)]
    pub sessions: SessionsConfig,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// `[agents]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsConfig {
    /// Address of the gRPC listener.
    pub listen: SocketAddr,
    /// Names and addresses by which agents and operators reach this host:
    /// they stand in the server certificate, the first one in invitations.
    pub public_names: Vec<String>,
    /// How long an agent's certificate is valid.
    pub certificate_lifetime: Span,
    /// Connections, all together.
    pub connections: usize,
    /// Of those, from callers without a certificate at most.
    pub strangers: usize,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            public_names: Vec::new(),
            certificate_lifetime: Span::from_seconds(7 * 86_400).expect("a week is a span"),
            connections: 4096,
            strangers: 512,
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address of the HTTPS listener.
    pub listen: SocketAddr,
    /// Connections, all together.
    pub connections: usize,
    /// Of those, from callers without a valid token at most.
    pub strangers: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7480)),
            connections: 512,
            strangers: 128,
        }
    }
}

/// `[catalog]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    /// `sqlite:PATH` or `postgres://…`. `None`: `catalog.sqlite` in the data
    /// directory.
    pub url: Option<String>,
    /// A file that holds the URL, for one with a password in it.
    pub url_file: Option<PathBuf>,
}

/// `[embedded]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// The store's name in policies.
    pub name: String,
    /// Directory of the objects. Default: `store` in the data directory.
    pub directory: PathBuf,
    /// Address of the S3 listener.
    pub listen: SocketAddr,
    /// Speak TLS with the coordinator's own certificate. Without it, only a
    /// loopback address is accepted.
    pub tls: bool,
    /// Connections, all together.
    pub connections: usize,
    /// Of those, from callers without a signed request at most.
    pub strangers: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            name: "embedded".into(),
            directory: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7490)),
            tls: true,
            connections: 1024,
            strangers: 256,
        }
    }
}

/// `[limits]`: attempts that run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// On all agents together.
    pub global: u32,
    /// On one agent.
    pub per_agent: u32,
    /// Against one store.
    pub per_store: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            global: 64,
            per_agent: 2,
            per_store: 32,
        }
    }
}

/// `[sessions]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// How often an agent gives a sign of life.
    pub heartbeat_seconds: u32,
    /// How long an attempt lives without one.
    pub lease_seconds: u32,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 5,
            lease_seconds: 60,
        }
    }
}

/// A `coordinator.toml` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read or parsed.
    #[error(transparent)]
    File(#[from] FileConfigError),
    /// Its values do not fit together.
    #[error("{path}: {problem}")]
    Check {
        /// The file.
        path: PathBuf,
        /// Which key, what is wrong, what would be right.
        problem: String,
    },
}

impl Config {
    /// Reads, parses and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path).map_err(FileConfigError::from)?;
        Self::parse(path, &text)
    }

    /// Parses and checks the text of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = config_file::parse(path, text)?;
        let base = std::path::absolute(path)
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_default();
        config.resolve(&base);
        check::check(&config).map_err(|problem| ConfigError::Check {
            path: path.to_owned(),
            problem,
        })?;
        Ok(config)
    }

    /// The catalog's URL: as configured, or a SQLite file in the data
    /// directory.
    pub fn catalog_url(&self) -> Result<Zeroizing<String>, FileError> {
        if let Some(file) = &self.catalog.url_file {
            return files::read_secret_text(file);
        }
        Ok(Zeroizing::new(self.catalog.url.clone().unwrap_or_else(
            || {
                let path = self.data_directory.join("catalog.sqlite");
                format!("sqlite:{}", path.display())
            },
        )))
    }

    /// Makes relative paths start at `base` and fills in paths that default to
    /// places in the data directory.
    pub fn resolve(&mut self, base: &Path) {
        self.data_directory = base.join(&self.data_directory);
        if let Some(file) = &mut self.catalog.url_file {
            *file = base.join(&*file);
        }
        if let Some(embedded) = &mut self.embedded {
            embedded.directory = if embedded.directory.as_os_str().is_empty() {
                self.data_directory.join("store")
            } else {
                base.join(&embedded.directory)
            };
        }
        for store in self.stores.values_mut() {
            store.resolve(base);
        }
    }
}
