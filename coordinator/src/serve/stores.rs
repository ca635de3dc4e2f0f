//! From the configuration to stores.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use strongroom_runtime::{
    clock::SharedClock,
    files::{self, FileError},
    pki::{
        PkiError,
        tls::{self, ALPN_HTTP1},
    },
};
use url::Url;

use super::DataDirectory;
use crate::{
    config::{Config, EmbeddedConfig as Embedded, StoreConfig as Configured, store},
    embedded::{self, Bounds, EmbeddedConfig, EmbeddedError, EmbeddedStore},
    http::state::StorePlace,
    identity::Authority,
    stores::{NewStoreError, StoreConfig, StoreCredentials, Stores},
};

/// The embedded store's one bucket.
pub(super) const BUCKET: &str = "strongroom";

/// Every store that the configuration names.
pub(super) struct BuiltStores {
    pub(super) stores: Stores,
    pub(super) places: BTreeMap<String, StorePlace>,
    /// Those that are not embedded, described.
    pub(super) external: Vec<String>,
    pub(super) embedded: Option<EmbeddedStore>,
}

/// A store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// Its credentials cannot be read.
    #[error("[store.{store}] {source}")]
    Credentials {
        /// Which.
        store: String,
        /// Why not.
        source: store::CredentialsError,
    },
    /// Its endpoint is no URL.
    #[error("[store.{store}] endpoint {endpoint:?}: {source}")]
    Endpoint {
        /// Which.
        store: String,
        /// As configured.
        endpoint: String,
        /// Why not.
        source: url::ParseError,
    },
    /// A CA file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Client or signer.
    #[error(transparent)]
    New(#[from] NewStoreError),
    /// The embedded store does not start.
    #[error("{0} ([embedded] in the configuration)")]
    Embedded(#[from] EmbeddedError),
    /// The embedded store's access key.
    #[error(transparent)]
    EmbeddedKey(#[from] embedded::CredentialsError),
    /// The embedded store's TLS.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl StoresError {
    /// Whether the embedded store's address could not be had.
    pub fn is_port(&self) -> bool {
        matches!(self, Self::Embedded(EmbeddedError::Listen { .. }))
    }
}

/// Makes all stores; binds the embedded one.
pub(super) async fn build(
    config: &Config,
    data: &DataDirectory,
    authority: &Authority,
    clock: &SharedClock,
) -> Result<BuiltStores, StoresError> {
    let mut configs = Vec::new();
    let mut places = BTreeMap::new();
    for (name, configured) in &config.stores {
        let store = external(name, configured)?;
        places.insert(name.clone(), place(&store));
        configs.push(store);
    }
    let external = configs.iter().map(StoreConfig::describe).collect();
    let embedded = match &config.embedded {
        None => None,
        Some(wanted) => {
            let (server, store) = bind_embedded(wanted, config, data, authority).await?;
            let directory = wanted.directory.join(BUCKET);
            let restic = directory.display().to_string();
            places.insert(wanted.name.clone(), StorePlace { restic });
            configs.push(store);
            Some(server)
        }
    };
    Ok(BuiltStores {
        stores: Stores::new(configs, clock)?,
        places,
        external,
        embedded,
    })
}

pub(super) fn external(name: &str, configured: &Configured) -> Result<StoreConfig, StoresError> {
    let credentials = configured
        .credentials()
        .ok_or_else(|| StoresError::Credentials {
            store: name.to_owned(),
            source: store::CredentialsError::Empty {
                place: "the configuration".into(),
            },
        })?
        .read()
        .map_err(|source| StoresError::Credentials {
            store: name.to_owned(),
            source,
        })?;
    let endpoint = Url::parse(&configured.endpoint).map_err(|source| StoresError::Endpoint {
        store: name.to_owned(),
        endpoint: configured.endpoint.clone(),
        source,
    })?;
    let extra_ca_pem = match &configured.ca_file {
        Some(file) => Some(files::read_text(file)?),
        None => None,
    };
    Ok(StoreConfig {
        name: name.to_owned(),
        endpoint,
        region: configured.region.clone(),
        bucket: configured.bucket.clone(),
        prefix: configured.prefix.clone(),
        path_style: configured.path_style,
        credentials: StoreCredentials {
            access_key_id: credentials.0,
            secret_access_key: credentials.1,
            session_token: None,
        },
        extra_ca_pem,
        accept_risks: configured.accept_risks.clone(),
    })
}

/// `s3:https://host/bucket/prefix`
fn place(store: &StoreConfig) -> StorePlace {
    let endpoint = store.endpoint.as_str().trim_end_matches('/');
    let restic = match store.prefix.as_str() {
        "" => format!("s3:{endpoint}/{}", store.bucket),
        prefix => format!("s3:{endpoint}/{}/{prefix}", store.bucket),
    };
    StorePlace { restic }
}

async fn bind_embedded(
    wanted: &Embedded,
    config: &Config,
    data: &DataDirectory,
    authority: &Authority,
) -> Result<(EmbeddedStore, StoreConfig), StoresError> {
    let credentials = embedded::load_or_create_credentials(&data.path().join("embedded.json"))?;
    let tls = wanted
        .tls
        .then(|| tls::server_config(authority.server_identity(), ALPN_HTTP1))
        .transpose()?;
    let server = EmbeddedStore::bind(EmbeddedConfig {
        directory: wanted.directory.clone(),
        listen: wanted.listen,
        tls,
        credentials: credentials.clone(),
        bounds: Bounds::of(wanted.connections, wanted.strangers),
    })
    .await?;
    server.ensure_bucket(BUCKET)?;
    let endpoint = embedded_url(wanted, config, server.address());
    let store = StoreConfig {
        name: wanted.name.clone(),
        endpoint: Url::parse(&endpoint).map_err(|source| StoresError::Endpoint {
            store: wanted.name.clone(),
            endpoint: endpoint.clone(),
            source,
        })?,
        region: "us-east-1".into(),
        bucket: BUCKET.into(),
        prefix: String::new(),
        path_style: true,
        credentials,
        extra_ca_pem: wanted.tls.then(|| authority.ca_pem().to_owned()),
        // It is ours: it refuses all of it.
        accept_risks: BTreeSet::new(),
    };
    Ok((server, store))
}

/// How agents reach the embedded store.
fn embedded_url(wanted: &Embedded, config: &Config, bound: SocketAddr) -> String {
    let scheme = if wanted.tls { "https" } else { "http" };
    if bound.ip().is_unspecified() {
        let names = super::server_names(config);
        let address = super::public_address(&names, config, bound);
        format!("{scheme}://{address}")
    } else {
        format!("{scheme}://{bound}")
    }
}
