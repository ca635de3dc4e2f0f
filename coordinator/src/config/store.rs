//! `[store.NAME]`: an S3 bucket and prefix, and where its credentials are.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

use crate::stores::Risk;

/// An S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// URL of the S3 service, without the bucket.
    pub endpoint: String,
    /// As the service names it; many accept anything.
    #[serde(default = "default_region")]
    pub region: String,
    /// Must exist.
    pub bucket: String,
    /// Everything lies below it; empty: the bucket's root.
    #[serde(default)]
    pub prefix: String,
    /// `endpoint/bucket` rather than `bucket.endpoint`.
    #[serde(default)]
    pub path_style: bool,
    /// A PEM file with the CA of the endpoint's certificate, when the system
    /// does not trust it.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// File with the access key id.
    #[serde(default)]
    pub access_key_id_file: Option<PathBuf>,
    /// File with the secret access key.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
    /// Environment variable with the access key id.
    #[serde(default)]
    pub access_key_id_env: Option<String>,
    /// Environment variable with the secret access key.
    #[serde(default)]
    pub secret_access_key_env: Option<String>,
    /// What the store lets happen to signed requests, and is signed for anyway:
    /// `strongroom stores check` names it.
    #[serde(default)]
    pub accept_risks: BTreeSet<Risk>,
}

fn default_region() -> String {
    "us-east-1".into()
}

/// Where a store's credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsConfig {
    /// In two files.
    Files {
        /// Holds the access key id.
        access_key_id: PathBuf,
        /// Holds the secret access key.
        secret_access_key: PathBuf,
    },
    /// In two environment variables.
    Environment {
        /// Holds the access key id.
        access_key_id: String,
        /// Holds the secret access key.
        secret_access_key: String,
    },
}

/// A store's credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An environment variable is missing or not UTF-8.
    #[error("environment variable {name} is not set: set it, or name files in the configuration")]
    Environment {
        /// Which.
        name: String,
    },
    /// The file or variable is empty.
    #[error("{place} is empty: it must hold one half of the store's credentials")]
    Empty {
        /// Which file or variable.
        place: String,
    },
}

impl StoreConfig {
    /// Where the credentials are; `None` unless exactly one complete pair is
    /// named.
    pub fn credentials(&self) -> Option<CredentialsConfig> {
        match (
            &self.access_key_id_file,
            &self.secret_access_key_file,
            &self.access_key_id_env,
            &self.secret_access_key_env,
        ) {
            (Some(id), Some(secret), None, None) => Some(CredentialsConfig::Files {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
            }),
            (None, None, Some(id), Some(secret)) => Some(CredentialsConfig::Environment {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        for path in [
            &mut self.ca_file,
            &mut self.access_key_id_file,
            &mut self.secret_access_key_file,
        ]
        .into_iter()
        .flatten()
        {
            *path = base.join(&*path);
        }
    }
}

impl CredentialsConfig {
    /// Reads access key id and secret access key, without white space around
    /// them.
    pub fn read(&self) -> Result<(String, Zeroizing<String>), CredentialsError> {
        match self {
            Self::Files {
                access_key_id,
                secret_access_key,
            } => Ok((
                read_file(access_key_id)?.to_string(),
                read_file(secret_access_key)?,
            )),
            Self::Environment {
                access_key_id,
                secret_access_key,
            } => Ok((
                read_variable(access_key_id)?.to_string(),
                read_variable(secret_access_key)?,
            )),
        }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, CredentialsError> {
    let text = files::read_secret_text(path)?;
    not_empty(&text, || path.display().to_string())
}

fn read_variable(name: &str) -> Result<Zeroizing<String>, CredentialsError> {
    let text = env::var(name).map_err(|_| CredentialsError::Environment {
        name: name.to_owned(),
    })?;
    not_empty(&Zeroizing::new(text), || {
        format!("environment variable {name}")
    })
}

fn not_empty(
    text: &str,
    place: impl FnOnce() -> String,
) -> Result<Zeroizing<String>, CredentialsError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(CredentialsError::Empty { place: place() });
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}
