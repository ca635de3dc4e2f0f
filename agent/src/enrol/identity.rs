//! Who this agent is: certificate, key and the authority it trusts, in one
//! file, so that a crash between two writes can never part them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::ClientConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_layout::AgentId;
use strongroom_runtime::{
    files::{self, FileError},
    pki::{self, PkiError},
};
use zeroize::Zeroizing;

use crate::config::Address;

const FILE: &str = "identity.json";

/// What enrolment gave.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// As in the certificate's URI SAN.
    pub agent_id: AgentId,
    /// What operators call this agent.
    pub agent_name: String,
    /// Where it enrolled.
    #[serde(with = "as_text")]
    pub coordinator: Address,
    /// The one authority this agent trusts; PEM.
    pub ca_pem: String,
    /// Leaf first, then the CA; PEM.
    pub certificate_pem: String,
    /// PKCS#8, PEM.
    #[serde(with = "secret_text")]
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("agent_id", &self.agent_id)
            .field("agent_name", &self.agent_name)
            .field("coordinator", &self.coordinator)
            .finish_non_exhaustive()
    }
}

/// The identity on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error(
        "this host is not enrolled: {path} is missing; make a token with `strongroom agents \
         invite`, then run `strongroom-agent enroll --coordinator HOST:7443 --token TOKEN`"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Not as we wrote it.
    #[error("{path} is damaged ({problem}): restore it, or enrol again with --force")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Identity {
    /// Where the identity lies.
    pub fn path(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    /// Reads and checks it.
    pub fn load(state: &Path) -> Result<Self, IdentityError> {
        let path = Self::path(state);
        let bytes = files::read_secret(&path).map_err(|error| {
            if error.is_not_found() {
                IdentityError::Missing { path: path.clone() }
            } else {
                error.into()
            }
        })?;
        let damaged = |problem: String| IdentityError::Damaged {
            path: path.clone(),
            problem,
        };
        let identity: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        identity
            .tls()
            .and_then(|_| identity.validity())
            .map_err(|error| damaged(error.to_string()))?;
        Ok(identity)
    }

    /// Writes it so that a crash leaves the old one or the new one.
    pub fn save(&self, state: &Path) -> Result<(), IdentityError> {
        files::create_private_dir(state)?;
        let path = Self::path(state);
        let json = serde_json::to_vec_pretty(self)
            .map(Zeroizing::new)
            .map_err(|error| IdentityError::Damaged {
                path: path.clone(),
                problem: error.to_string(),
            })?;
        Ok(files::write_atomic(&path, &json, files::SECRET)?)
    }

    /// For connections to the coordinator.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, PkiError> {
        let config =
            pki::tls::agent_client_config(&self.ca_pem, &self.certificate_pem, &self.key_pem)?;
        Ok(Arc::new(config))
    }

    /// From when to when the certificate holds.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), PkiError> {
        let chain = pki::parse_chain("the agent's certificate", &self.certificate_pem)?;
        let leaf = chain.first().ok_or_else(|| PkiError::Invalid {
            what: "the agent's certificate".into(),
            problem: "it is empty".into(),
        })?;
        let info = pki::inspect(leaf)?;
        Ok((info.not_before, info.not_after))
    }
}

mod as_text {
    use super::{Address, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(address: &Address, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Address, D::Error> {
        Address::deserialize(d)
    }
}

mod secret_text {
    use super::{Deserialize, Deserializer, Serializer, Zeroizing};

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(d).map(Zeroizing::new)
    }
}
