//! A coordinator: the real program with a configuration of the test's.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    agent::Agent,
    operator::{Operator, text},
    port::Port,
    program::{Program, binary},
    scratch::Scratch,
};

/// A store outside of the coordinator under test.
#[derive(Debug, Clone)]
pub struct ExternalStore {
    /// URL of the S3 service.
    pub endpoint: String,
    /// Its bucket.
    pub bucket: String,
    /// Access key id and secret.
    pub credentials: (String, String),
}

/// How a coordinator is set up. The defaults: SQLite, its own embedded store
/// under the name `primary`, heartbeats every second.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Catalog URL; `None`: the default.
    pub catalog: Option<String>,
    /// What policies call `primary`; `None`: the embedded store.
    pub store: Option<ExternalStore>,
    /// Whether the embedded store speaks TLS.
    pub embedded_tls: bool,
    /// Lifetime of agents' certificates, as the configuration takes it.
    pub certificate_lifetime: String,
    /// Seconds that an attempt lives without a heartbeat.
    pub lease_seconds: u32,
    /// `[telemetry] otlp_endpoint`
    pub otlp_endpoint: Option<String>,
    /// More of `coordinator.toml`.
    pub extra: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            catalog: None,
            store: None,
            embedded_tls: false,
            certificate_lifetime: "1d".into(),
            lease_seconds: 10,
            otlp_endpoint: None,
            extra: String::new(),
        }
    }
}

impl Setup {
    /// Starts a coordinator in the directory `name` of `scratch` and waits
    /// until it serves.
    pub fn start(self, scratch: &Scratch, name: &str) -> Coordinator {
        let mut coordinator = self.prepare(scratch, name);
        coordinator.start_again();
        coordinator
    }

    /// Writes the configuration and leases the ports; starts nothing.
    pub fn prepare(self, scratch: &Scratch, name: &str) -> Coordinator {
        let directory = scratch.dir(name);
        let coordinator = Coordinator {
            name: name.to_owned(),
            config: directory.join("coordinator.toml"),
            operator: Operator::new(directory.join("data/operator.toml")),
            directory,
            agents: Port::lease(),
            api: Port::lease(),
            s3: Port::lease(),
            program: None,
        };
        let config = self.config(&coordinator);
        fs::write(&coordinator.config, config).expect("a file can be written");
        coordinator
    }

    fn config(&self, coordinator: &Coordinator) -> String {
        let mut config = format!(
            "data_directory = \"data\"\n\n\
             [agents]\nlisten = \"{}\"\npublic_names = [\"127.0.0.1\"]\n\
             certificate_lifetime = \"{}\"\n\n\
             [api]\nlisten = \"{}\"\n\n\
             [sessions]\nheartbeat_seconds = 1\nlease_seconds = {}\n\n",
            coordinator.agents.address(),
            self.certificate_lifetime,
            coordinator.api.address(),
            self.lease_seconds,
        );
        let mut add = |text: std::fmt::Arguments<'_>| {
            config.write_fmt(text).expect("writing to memory");
        };
        if let Some(url) = &self.catalog {
            add(format_args!("[catalog]\nurl = \"{url}\"\n\n"));
        }
        match &self.store {
            None => add(format_args!(
                "[embedded]\nname = \"primary\"\nlisten = \"{}\"\ntls = {}\n\n",
                coordinator.s3.address(),
                self.embedded_tls
            )),
            Some(store) => {
                coordinator.write_secret("key-id", &store.credentials.0);
                coordinator.write_secret("secret", &store.credentials.1);
                add(format_args!(
                    "[store.primary]\nendpoint = \"{}\"\nbucket = \"{}\"\npath_style = true\n\
                     access_key_id_file = \"key-id\"\nsecret_access_key_file = \"secret\"\n\n",
                    store.endpoint, store.bucket
                ));
            }
        }
        add(format_args!(
            "[telemetry]\nlog_level = \"info,strongroom=debug\"\n"
        ));
        if let Some(endpoint) = &self.otlp_endpoint {
            add(format_args!("otlp_endpoint = \"{endpoint}\"\n"));
        }
        add(format_args!("\n{}", self.extra));
        config
    }
}

/// A coordinator; killed when dropped.
#[derive(Debug)]
pub struct Coordinator {
    name: String,
    directory: PathBuf,
    config: PathBuf,
    agents: Port,
    api: Port,
    s3: Port,
    operator: Operator,
    program: Option<Program>,
}

impl Coordinator {
    /// Starts one with the defaults.
    pub fn start(scratch: &Scratch) -> Self {
        Setup::default().start(scratch, "coordinator")
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], and waits until
    /// it serves.
    pub fn start_again(&mut self) {
        let program = self.spawn();
        program.wait_for_line("that it serves", |line| line.contains(READY));
        self.program = Some(program);
    }

    /// Starts the program and waits for nothing: for configurations that it
    /// must refuse.
    pub fn spawn(&self) -> Program {
        let mut command = Command::new(binary("strongroom"));
        command
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .env("RUST_BACKTRACE", "1");
        Program::spawn(&self.name, command, &self.directory.join("log"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.program.take().expect("it runs").kill();
    }

    /// SIGTERM; it must end with 0.
    pub fn stop(&mut self) {
        let status = self.program.take().expect("it runs").terminate();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// The running program.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    /// The first operator.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// `coordinator.toml`
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Changes `coordinator.toml` for the next start.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let config = fs::read_to_string(&self.config).expect("the configuration is there");
        fs::write(&self.config, edit(config)).expect("a file can be written");
    }

    /// The directory with the configuration, the log and `data/`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where agents connect.
    pub fn agents_address(&self) -> SocketAddr {
        self.agents.address()
    }

    /// Where the API is.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where the embedded store is.
    pub fn s3_address(&self) -> SocketAddr {
        self.s3.address()
    }

    /// Directory of the embedded store's bucket.
    pub fn bucket_directory(&self) -> PathBuf {
        self.directory.join("data/store").join(BUCKET)
    }

    /// The embedded store, for another coordinator or for plain S3 clients,
    /// seen through `endpoint` (a proxy, or [`Self::s3_address`]).
    pub fn as_external_store(&self, endpoint: String) -> ExternalStore {
        let json = fs::read(self.directory.join("data").join(CREDENTIALS))
            .expect("the embedded store has credentials");
        let json: Value = serde_json::from_slice(&json).expect("the credentials are JSON");
        ExternalStore {
            endpoint,
            bucket: BUCKET.into(),
            credentials: (
                text(&json["access_key_id"]),
                text(&json["secret_access_key"]),
            ),
        }
    }

    /// The file of this name, somewhere in the data directory.
    pub fn find(&self, name: &str) -> PathBuf {
        let mut open = vec![self.directory.join("data")];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.file_name().is_some_and(|found| found == name) {
                    return path;
                }
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        panic!("the coordinator {} has no file {name}", self.name);
    }

    /// A join token for an agent of this name.
    pub fn invite(&self, name: &str) -> String {
        let invitation = self.operator.json(&["agents", "invite", "--name", name]);
        text(&invitation["token"])
    }

    /// Enrols an agent that may read `read` and restore below `restore`, and
    /// starts it.
    pub fn agent(&self, scratch: &Scratch, name: &str, read: &Path, restore: &Path) -> Agent {
        let mut agent = Agent::prepare(scratch, name).allow(read, restore);
        agent.enroll(self.agents_address(), &self.invite(name));
        agent.start();
        agent
    }

    /// Writes a file of mode 0600 beside the configuration.
    fn write_secret(&self, name: &str, value: &str) {
        strongroom_runtime::files::write_atomic(
            &self.directory.join(name),
            value.as_bytes(),
            strongroom_runtime::files::SECRET,
        )
        .expect("a secret can be written");
    }
}

/// In the log line that says that every listener is up.
const READY: &str = "serving";
/// The embedded store's one bucket.
const BUCKET: &str = "strongroom";
/// The embedded store's access key, below the data directory.
const CREDENTIALS: &str = "embedded.json";
