//! What lies where in the data directory.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use strongroom_runtime::{
    files,
    telemetry::{LogFormat, TelemetryConfig},
};

use crate::{
    config::{
        AgentsConfig, ApiConfig, CatalogConfig, Config, EmbeddedConfig, LimitsConfig,
        SessionsConfig,
    },
    policy::Span,
};

/// The agent's name.
pub(super) const AGENT: &str = "dev";
/// The policy's name.
pub(super) const POLICY: &str = "dev";
/// The embedded store's name.
pub(super) const STORE: &str = "local";
/// How long the agent's certificate lasts: it is not renewed while nothing
/// runs.
const CERTIFICATE_DAYS: u64 = 90;

/// What is backed up, and where everything lies.
#[derive(Debug)]
pub(super) struct Place {
    /// Absolute, without symbolic links.
    pub(super) source: PathBuf,
    /// Absolute, without symbolic links.
    pub(super) data: PathBuf,
}

/// Ports on loopback; 0: any that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) agents: u16,
    pub(super) api: u16,
    pub(super) store: u16,
}

impl Ports {
    /// Any.
    pub(super) const FREE: Self = Self {
        agents: 0,
        api: 0,
        store: 0,
    };
}

impl Place {
    /// Finds the source and makes the data directory. Refuses to put itself
    /// among files that are somebody else's.
    pub(super) fn open(source: &Path, data: &Path) -> anyhow::Result<Self> {
        let source = source
            .canonicalize()
            .with_context(|| format!("cannot back up {}", source.display()))?;
        ensure!(
            source.to_str().is_some(),
            "the path {} is not UTF-8, as policies must be: name a directory above it",
            source.display()
        );
        if let Ok(mut entries) = fs::read_dir(data)
            && !data.join("VERSION").exists()
            && entries.next().is_some()
        {
            bail!(
                "{} is not empty and no data directory of strongroom: name another with --data",
                data.display()
            );
        }
        files::create_private_dir(data)?;
        let data = data
            .canonicalize()
            .with_context(|| format!("cannot use {}", data.display()))?;
        ensure!(
            data.to_str().is_some(),
            "the path {} is not UTF-8: name another with --data",
            data.display()
        );
        ensure!(
            !source.starts_with(&data),
            "{} lies in the data directory {}: name another with --data",
            source.display(),
            data.display()
        );
        Ok(Self { source, data })
    }

    /// The agent's configuration and state.
    pub(super) fn agent_directory(&self) -> PathBuf {
        self.data.join("agent")
    }

    /// Where the restored tree is compared.
    pub(super) fn scratch(&self) -> PathBuf {
        self.data.join("scratch")
    }

    /// The restored source, below a restore's target.
    pub(super) fn restored(&self) -> PathBuf {
        let below = self.source.strip_prefix("/").unwrap_or(&self.source);
        self.scratch().join(below)
    }

    /// The ports of last time.
    pub(super) fn ports(&self) -> anyhow::Result<Ports> {
        let path = self.ports_file();
        match files::read_text(&path) {
            Ok(text) => toml::from_str(&text)
                .with_context(|| format!("{} is damaged: delete it", path.display())),
            Err(error) if error.is_not_found() => Ok(Ports::FREE),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the ports for the next time.
    pub(super) fn remember(&self, ports: Ports) -> anyhow::Result<()> {
        let text = toml::to_string(&ports)?;
        files::write_atomic(&self.ports_file(), text.as_bytes(), files::PUBLIC)?;
        Ok(())
    }

    fn ports_file(&self) -> PathBuf {
        self.data.join("ports.toml")
    }

    /// A coordinator on loopback, with an embedded store.
    pub(super) fn coordinator_config(&self, ports: Ports) -> Config {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Config {
            data_directory: self.data.clone(),
            agents: AgentsConfig {
                listen: loopback(ports.agents),
                public_names: vec![Ipv4Addr::LOCALHOST.to_string()],
                certificate_lifetime: Span::from_seconds(CERTIFICATE_DAYS * 86_400)
                    .expect("90 days are a span"),
                ..AgentsConfig::default()
            },
            api: ApiConfig {
                listen: loopback(ports.api),
                ..ApiConfig::default()
            },
            catalog: CatalogConfig::default(),
            stores: [].into(),
            embedded: Some(EmbeddedConfig {
                name: STORE.into(),
                directory: self.data.join("store"),
                listen: loopback(ports.store),
                tls: false,
                ..EmbeddedConfig::default()
            }),
            limits: LimitsConfig::default(),
            sessions: SessionsConfig {
                heartbeat_seconds: 1,
                ..SessionsConfig::default()
            },
            telemetry: telemetry(),
        }
    }

    /// The policy for the source; the data directory is not backed up.
    pub(super) fn policy(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            policy: [Policy<'a>; 1],
        }
        #[derive(Serialize)]
        struct Policy<'a> {
            name: &'a str,
            store: &'a str,
            schedule: &'a str,
            agents: Agents<'a>,
            source: Source<'a>,
        }
        #[derive(Serialize)]
        struct Agents<'a> {
            names: [&'a str; 1],
        }
        #[derive(Serialize)]
        struct Source<'a> {
            files: Files<'a>,
        }
        #[derive(Serialize)]
        struct Files<'a> {
            paths: [&'a Path; 1],
            exclude: [String; 1],
        }
        let file = File {
            policy: [Policy {
                name: POLICY,
                store: STORE,
                schedule: "hourly",
                agents: Agents { names: [AGENT] },
                source: Source {
                    files: Files {
                        paths: [&self.source],
                        exclude: [literal_glob(&self.data)],
                    },
                },
            }],
        };
        toml::to_string(&file).expect("texts become TOML")
    }

    /// What the agent is allowed: to read the source, to write the scratch.
    pub(super) fn agent_config(&self, coordinator: SocketAddr) -> String {
        #[derive(Serialize)]
        struct Agent<'a> {
            coordinator: String,
            state_dir: &'a Path,
            allow: Allow<'a>,
            telemetry: Telemetry,
        }
        #[derive(Serialize)]
        struct Allow<'a> {
            sources: [&'a str; 1],
            read_paths: [&'a Path; 1],
            restore_paths: [&'a Path; 1],
        }
        #[derive(Serialize)]
        struct Telemetry {
            #[serde(skip_serializing_if = "Option::is_none")]
            otlp_endpoint: Option<String>,
        }
        let config = Agent {
            coordinator: coordinator.to_string(),
            state_dir: &self.agent_directory(),
            allow: Allow {
                sources: ["files"],
                read_paths: [&self.source],
                restore_paths: [&self.scratch()],
            },
            telemetry: Telemetry {
                otlp_endpoint: telemetry().otlp_endpoint,
            },
        };
        toml::to_string(&config).expect("texts become TOML")
    }
}

/// Traces go where the environment says, as with any OpenTelemetry program.
pub(super) fn telemetry() -> TelemetryConfig {
    TelemetryConfig {
        otlp_endpoint: env::var("OTEL_EXPORTER_OTLP_ENDPOINT")
            .ok()
            .filter(|endpoint| !endpoint.is_empty()),
        log_format: LogFormat::Text,
        log_level: "info".into(),
    }
}

/// A glob that matches this path alone.
fn literal_glob(path: &Path) -> String {
    let mut glob = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(
            character,
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',' | '!'
        ) {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "/tmp/a 'b' \"c\" [d]*\\{e}\n$f";

    #[test]
    fn odd_paths_survive_in_policy_and_consent() {
        let place = Place {
            source: "/tmp".into(),
            data: ODD.into(),
        };
        let policies = crate::policy::parse("p", &place.policy(), &[STORE.into()]).unwrap();
        let strongroom_spec::Source::Files(files) = &policies[0].source else {
            panic!("not files");
        };
        assert_eq!(files.paths, ["/tmp"]);
        assert_eq!(
            files.exclude,
            ["/tmp/a 'b' \"c\" \\[d\\]\\*\\\\\\{e\\}\n$f"]
        );
        let agent: toml::Table = place
            .agent_config(SocketAddr::from(([127, 0, 0, 1], 1)))
            .parse()
            .unwrap();
        let restore = &agent["allow"]["restore_paths"][0];
        assert_eq!(restore.as_str().unwrap(), format!("{ODD}/scratch"));
    }

    #[test]
    fn refuses_a_directory_that_is_somebody_elses() {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("thesis.txt"), "x").unwrap();
        let error = Place::open(scratch.path(), &data).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
    }

    #[test]
    fn refuses_a_source_within_the_data_and_one_that_is_not_there() {
        let scratch = tempfile::tempdir().unwrap();
        let error = Place::open(scratch.path(), scratch.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("--data"), "{error}");
        let missing = scratch.path().join("missing");
        let error = Place::open(&missing, scratch.path()).unwrap_err();
        assert!(error.to_string().contains("cannot back up"), "{error}");
    }

    #[test]
    fn ports_are_remembered() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::open(Path::new("/"), scratch.path()).unwrap();
        assert_eq!(place.ports().unwrap(), Ports::FREE);
        let ports = Ports {
            agents: 1,
            api: 2,
            store: 3,
        };
        place.remember(ports).unwrap();
        assert_eq!(place.ports().unwrap(), ports);
    }
}
