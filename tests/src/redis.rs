//! Redis servers of a test's own, and what they hold.

mod client;
mod contents;
mod sentinel;

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

pub use client::{Client, Reply};
pub use contents::{Contents, assert_same, contents, fill};
pub use sentinel::Sentinel;

use crate::{operator::eventually, port::Port, program::Program, scratch::Scratch};

/// The server under test: that of the host, or another one that
/// `STRONGROOM_TEST_REDIS` names.
fn server_program() -> OsString {
    env::var_os("STRONGROOM_TEST_REDIS").unwrap_or_else(|| "redis-server".into())
}

/// Whether the server under test is older than Redis 7.
fn is_before_7() -> bool {
    static BEFORE_7: LazyLock<bool> = LazyLock::new(|| {
        let output = Command::new(server_program()).arg("--version").output();
        let said = output.expect("a Redis server is installed; `tests/run` does it");
        String::from_utf8_lossy(&said.stdout).contains(" v=6.")
    });
    *BEFORE_7
}

/// A server; killed when dropped. It listens on a port and on a socket.
#[derive(Debug)]
pub struct Server {
    name: String,
    directory: PathBuf,
    port: Port,
    password: Option<String>,
    program: Option<Program>,
}

/// Files for TLS, made for `localhost` and 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Of the authority.
    pub ca: PathBuf,
    /// Of server and client alike.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Server {
    /// Starts a server that writes nothing to its disk by itself.
    pub fn start(scratch: &Scratch, name: &str) -> Self {
        Self::with(scratch, name, "")
    }

    /// The same with more lines in its configuration.
    pub fn with(scratch: &Scratch, name: &str, configuration: &str) -> Self {
        let mut server = Self::prepare(scratch, name, configuration);
        server.start_again();
        server
    }

    /// Not started yet.
    pub fn prepare(scratch: &Scratch, name: &str, configuration: &str) -> Self {
        let server = Self {
            name: name.to_owned(),
            directory: scratch.dir(name),
            port: Port::lease(),
            password: None,
            program: None,
        };
        let (port, directory) = (server.port.number(), server.directory.display());
        let mut text = format!(
            "dir {directory}\nunixsocket {}\nsave \"\"\nrepl-diskless-sync-delay 0\n\
             bind 127.0.0.1\n",
            server.socket().display()
        );
        if !is_before_7() {
            // It was always allowed before.
            text.push_str("enable-debug-command yes\n");
        }
        if !configuration.contains("tls-port") {
            let _infallible = writeln!(text, "port {port}");
        }
        let configuration = configuration.replace("{port}", &port.to_string());
        fs::write(server.configuration(), text + &configuration).expect("a file can be written");
        server
    }

    /// What [`Self::client`] needs where `requirepass` is set.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Starts it and waits until it has loaded its data.
    pub fn start_again(&mut self) {
        self.spawn()
            .wait_for_line("its readiness", |line| line.contains("eady to accept"));
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> &Program {
        // Left by one that was killed.
        let _absent = fs::remove_file(self.socket());
        let mut command = Command::new(server_program());
        command.arg(self.configuration());
        let log = self.directory.join("log");
        self.program
            .insert(Program::spawn(&self.name, command, &log))
    }

    /// Kills it: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
        }
    }

    /// The running program.
    ///
    /// # Panics
    /// When it does not run.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("the server runs")
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("redis.conf")
    }

    /// Its directory: `dump.rdb` lies there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `redis` or `valkey`.
    pub fn product(&self) -> &'static str {
        if self.run(&["INFO"]).text().contains("valkey_version:") {
            "valkey"
        } else {
            "redis"
        }
    }

    /// Of what it is, such as `7.0.15`.
    pub fn version(&self) -> String {
        self.info(&format!("{}_version", self.product()))
    }

    /// How many functions [`fill`] makes: there were none before Redis 7.
    pub fn functions(&self) -> u64 {
        u64::from(!is_before_7())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("s")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `redis://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// `unix://…`
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A new connection, over the socket.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.socket());
        if let Some(password) = &self.password {
            client.run(&["AUTH", password]);
        }
        client
    }

    /// Runs a command that must succeed.
    pub fn run<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        self.client().run(command)
    }

    /// A field of `INFO`.
    pub fn info(&self, field: &str) -> String {
        let text = self.run(&["INFO"]).text();
        let prefix = format!("{field}:");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .unwrap_or_else(|| panic!("no {field} in INFO:\n{text}"))
            .to_owned()
    }

    /// Follows another server, and waits until it is in sync.
    pub fn follow(&self, primary: &Server) {
        let port = primary.port().to_string();
        self.run(&["REPLICAOF", "127.0.0.1", &port]);
        eventually("sync with the primary", || {
            (self.info("master_link_status") == "up").then_some(())
        });
    }

    /// Waits until nobody follows it.
    pub fn wait_for_no_replicas(&self) {
        eventually("end of all replication", || {
            (self.info("connected_slaves") == "0").then_some(())
        });
    }
}

impl Certificates {
    /// Makes them.
    pub fn make(scratch: &Scratch) -> Self {
        let make = || -> Result<_, rcgen::Error> {
            let ca_key = rcgen::KeyPair::generate()?;
            let mut ca = rcgen::CertificateParams::new(Vec::new())?;
            ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            // OpenSSL takes a certificate for its own issuer when names agree.
            ca.distinguished_name
                .push(rcgen::DnType::CommonName, "a test's authority");
            let ca_certificate = ca.self_signed(&ca_key)?;
            let issuer = rcgen::Issuer::new(ca, ca_key);
            let key = rcgen::KeyPair::generate()?;
            let names = vec!["localhost".into(), "127.0.0.1".into()];
            let certificate = rcgen::CertificateParams::new(names)?.signed_by(&key, &issuer)?;
            Ok((ca_certificate.pem(), certificate.pem(), key.serialize_pem()))
        };
        let (ca, certificate, key) = make().expect("certificates can be made");
        let key = scratch.file("redis.key", key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode can be set");
        Self {
            ca: scratch.file("redis-ca.crt", ca),
            certificate: scratch.file("redis.crt", certificate),
            key,
        }
    }

    /// The lines with which a server listens with TLS alone, and asks its
    /// clients for a certificate.
    pub fn configuration(&self) -> String {
        format!(
            "port 0\ntls-port {{port}}\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\n",
            self.ca.display(),
            self.certificate.display(),
            self.key.display()
        )
    }
}
