//! Certificates for the coordinator and its agents.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::ServerConfig;
use strongroom_layout::AgentId;
use strongroom_runtime::{
    clock::SharedClock,
    pki::{
        CertificateAuthority, Fingerprint, Issued, PkiError, Validity,
        tls::{self, ServerIdentity},
    },
};
use tokio_util::sync::CancellationToken;

/// Names under which every coordinator can be reached from its own host.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How often to look whether the server's certificate is due.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// How long certificates hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// An agent's.
    pub agent: SignedDuration,
    /// The coordinator's own.
    pub server: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            agent: SignedDuration::from_hours(7 * 24),
            server: SignedDuration::from_hours(30 * 24),
        }
    }
}

/// The coordinator's certificate authority and its own certificate.
pub struct Authority {
    ca: CertificateAuthority,
    names: Vec<String>,
    lifetimes: Lifetimes,
    clock: SharedClock,
    identity: ServerIdentity,
    /// When the server's certificate is to be replaced.
    renew_at: Mutex<Timestamp>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.ca.fingerprint())
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in `directory`, made if there is none, and a new server
    /// certificate for `names` (DNS names and addresses) and this host's
    /// loopback.
    pub fn open(
        directory: &Path,
        names: &[String],
        lifetimes: Lifetimes,
        clock: SharedClock,
    ) -> Result<Self, PkiError> {
        let mut names = names.to_vec();
        for name in LOOPBACK {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        let now = clock.now();
        let ca = CertificateAuthority::open_or_create(directory, now)?;
        let key = ca.issue_server(&names, Validity::starting(now, lifetimes.server))?;
        Ok(Self {
            identity: ServerIdentity::new(key)?,
            renew_at: Mutex::new(due(now, lifetimes.server)),
            ca,
            names,
            lifetimes,
            clock,
        })
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.ca.fingerprint()
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// The coordinator's certificate, for its other ports; renewed in place.
    pub fn server_identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// TLS for the agents' port.
    pub fn agent_tls(&self) -> Result<Arc<ServerConfig>, PkiError> {
        tls::agent_server_config(&self.identity, self.ca.certificate())
    }

    /// How long agents' certificates hold.
    pub fn agent_lifetime(&self) -> SignedDuration {
        self.lifetimes.agent
    }

    /// A certificate for `agent` and the key in this request (PKCS#10, PEM).
    /// Nothing else in the request counts.
    pub fn issue(&self, agent: AgentId, request_pem: &str) -> Result<Issued, PkiError> {
        let validity = Validity::starting(self.clock.now(), self.lifetimes.agent);
        self.ca.issue_client(request_pem, &agent.to_uri(), validity)
    }

    /// Replaces the server's certificate if two thirds of its life are over.
    /// Whether it did.
    pub fn renew_server_if_due(&self) -> Result<bool, PkiError> {
        let now = self.clock.now();
        if now < *self.renew_at.lock() {
            return Ok(false);
        }
        let validity = Validity::starting(now, self.lifetimes.server);
        self.identity
            .replace(self.ca.issue_server(&self.names, validity)?)?;
        *self.renew_at.lock() = due(now, self.lifetimes.server);
        Ok(true)
    }

    /// Keeps the server's certificate fresh until `cancel`.
    pub async fn keep_fresh(&self, cancel: CancellationToken) {
        loop {
            match self.renew_server_if_due() {
                Ok(false) => {}
                Ok(true) => tracing::info!("renewed the coordinator's own certificate"),
                Err(error) => {
                    tracing::error!(%error, "cannot renew the coordinator's own certificate");
                }
            }
            let left = self.renew_at.lock().duration_since(self.clock.now());
            let wait = Duration::try_from(left)
                .unwrap_or_default()
                .clamp(Duration::from_secs(1), LOOK_AGAIN);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancel.cancelled() => return,
            }
        }
    }
}

fn due(now: Timestamp, lifetime: SignedDuration) -> Timestamp {
    now.saturating_add(lifetime * 2 / 3)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use strongroom_runtime::{
        clock::ManualClock,
        pki::{inspect, new_key_and_request, parse_chain},
    };
    use uuid::Uuid;

    use super::*;

    fn authority(clock: &Arc<ManualClock>) -> (Authority, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::clone(clock);
        let authority = Authority::open(
            directory.path(),
            &["coordinator.example".into()],
            Lifetimes::default(),
            clock,
        );
        (authority.unwrap(), directory)
    }

    fn clock() -> Arc<ManualClock> {
        ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap())
    }

    #[test]
    fn an_agents_certificate_names_it_and_ends_after_its_lifetime() {
        use strongroom_runtime::clock::Clock as _;
        let clock = clock();
        let (authority, _directory) = authority(&clock);
        let agent = AgentId(Uuid::from_u128(5));
        let (_, request) = new_key_and_request().unwrap();
        let issued = authority.issue(agent, &request).unwrap();
        let chain = parse_chain("chain", &issued.chain_pem).unwrap();
        let info = inspect(&chain[0]).unwrap();
        assert_eq!(info.uris, [agent.to_uri()]);
        assert_eq!(
            info.not_after,
            clock.now() + SignedDuration::from_hours(7 * 24)
        );
        assert!(authority.issue(agent, "not a request").is_err());
    }

    #[test]
    fn the_servers_certificate_is_replaced_when_two_thirds_are_over() {
        let clock = clock();
        let (authority, _directory) = authority(&clock);
        assert!(!authority.renew_server_if_due().unwrap());
        clock.advance(SignedDuration::from_hours(19 * 24));
        assert!(!authority.renew_server_if_due().unwrap());
        clock.advance(SignedDuration::from_hours(2 * 24));
        assert!(authority.renew_server_if_due().unwrap());
        assert!(!authority.renew_server_if_due().unwrap());
    }

    #[test]
    fn the_authority_survives_a_restart() {
        let clock = clock();
        let (first, directory) = authority(&clock);
        let second = Authority::open(directory.path(), &[], Lifetimes::default(), clock).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
    }
}
