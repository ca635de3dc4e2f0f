//! The coordinator's own keys: files in the data directory, made once, and named in
//! the catalog that was written with them.
//!
//! With another certificate authority no agent is served, and with another
//! key-encryption key no password is opened. So a coordinator that finds a catalog of
//! others, or its own beside an empty data directory, makes no keys: it says which ones
//! are missing.

use std::path::{Path, PathBuf};

use strongroom_runtime::{
    clock::SharedClock,
    pki::{CertificateAuthority, PkiError},
};

use super::DataDirectory;
use crate::{
    catalog::{Catalog, CatalogError},
    identity::{Authority, Lifetimes},
    keys::{KeyEncryptionKey, KeyError},
    model::{OwnKey, OwnKeyKind},
};

/// The key-encryption key, in the data directory.
const KEY_ENCRYPTION: &str = "key-encryption.key";

/// What becomes of a catalog that names other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKeys {
    /// It is not served.
    Refuse,
    /// They are given up, for those of the data directory, which are made if they
    /// are not there.
    Replace,
}

/// Keys that do not fit the catalog.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The certificate authority.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The key-encryption key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The catalog was written with a key that is not here.
    #[error(
        "the catalog was written with another {kind}, with the fingerprint {expected} (since \
         {since}), and {found}: copy {files} from the data directory of the coordinator that \
         wrote the catalog, or from a backup of it; if that is lost for ever, `strongroom serve \
         --replace-keys` goes on with new keys, and then {lost}"
    )]
    Other {
        /// Of which kind.
        kind: OwnKeyKind,
        /// What the catalog names.
        expected: String,
        /// Since when.
        since: jiff::Timestamp,
        /// What is here instead.
        found: String,
        /// What to copy.
        files: String,
        /// What it costs to go on without.
        lost: &'static str,
    },
}

/// Opens both, and makes what is missing if the catalog names none.
pub(super) async fn open(
    catalog: &Catalog,
    data: &DataDirectory,
    (names, lifetimes): (&[String], Lifetimes),
    clock: SharedClock,
    others: OtherKeys,
) -> Result<(Authority, KeyEncryptionKey), KeysError> {
    let path = data.path().join(KEY_ENCRYPTION);
    let authority_files = CertificateAuthority::files(data.path());
    let files = [
        Kept::new(OwnKeyKind::CertificateAuthority, &authority_files),
        Kept::new(OwnKeyKind::KeyEncryption, std::slice::from_ref(&path)),
    ];
    if others == OtherKeys::Refuse {
        // Before the first of them is made.
        for kept in &files {
            if let Some(known) = catalog.own_key(kept.kind).await?
                && kept.is_missing()
            {
                return Err(kept.other(known, None));
            }
        }
    }
    let authority = Authority::open(data.path(), names, lifetimes, clock)?;
    let key = KeyEncryptionKey::open_or_create(&path)?;
    let fingerprints = [
        authority.fingerprint().to_string(),
        key.fingerprint().to_owned(),
    ];
    for (kept, found) in files.iter().zip(fingerprints) {
        let known = catalog.enter_own_key(kept.kind, &found).await?;
        match others {
            _ if known.fingerprint == found => {}
            OtherKeys::Refuse => return Err(kept.other(known, Some(&found))),
            OtherKeys::Replace => {
                catalog.replace_own_key(kept.kind, &found).await?;
                tracing::warn!(kind = %kept.kind, fingerprint = found, "the catalog names another key now");
            }
        }
    }
    Ok((authority, key))
}

/// Where a key lies.
struct Kept<'a> {
    kind: OwnKeyKind,
    files: &'a [PathBuf],
}

impl<'a> Kept<'a> {
    fn new(kind: OwnKeyKind, files: &'a [PathBuf]) -> Self {
        Self { kind, files }
    }

    /// Nothing of it is there: half of a key is an error of its own.
    fn is_missing(&self) -> bool {
        !self.files.iter().any(|file| file.exists())
    }

    fn other(&self, known: OwnKey, found: Option<&str>) -> KeysError {
        let shown = |path: &PathBuf| path.display().to_string();
        let files: Vec<_> = self.files.iter().map(shown).collect();
        let names: Vec<_> = self.files.iter().filter_map(|it| name(it)).collect();
        KeysError::Other {
            kind: self.kind,
            expected: known.fingerprint,
            since: known.entered_at,
            found: match found {
                Some(found) => format!("{} holds {found}", files.join(" and ")),
                None => format!("{} is not there", files.join(" and ")),
            },
            files: names.join(" and "),
            lost: match self.kind {
                OwnKeyKind::CertificateAuthority => {
                    "every agent must be invited and enrolled again"
                }
                OwnKeyKind::KeyEncryption => {
                    "repositories whose passwords it sealed can be neither read nor written"
                }
            },
        }
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
