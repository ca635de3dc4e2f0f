//! The embedded store's one access key.

use std::path::Path;

use serde::{Deserialize, Serialize};
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

use crate::stores::StoreCredentials;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    access_key_id: String,
    /// Moved, never copied, into a `Zeroizing`.
    secret_access_key: String,
}

/// Why there is no access key.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what was written there.
    #[error(
        "{path} does not hold the embedded store's access key: restore it from a backup, \
         or delete it to have a new one made"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// The operating system gives no randomness.
    #[error("the system's randomness cannot be read: {0}")]
    Random(#[from] std::io::Error),
}

/// The access key in the file at `path` (JSON, mode 0600), made at random if
/// there is none.
pub fn load_or_create(path: &Path) -> Result<StoreCredentials, CredentialsError> {
    let stored = match files::read_secret(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| CredentialsError::Damaged {
            path: path.display().to_string(),
        })?,
        Err(error) if error.is_not_found() => create(path)?,
        Err(error) => return Err(error.into()),
    };
    Ok(StoreCredentials {
        access_key_id: stored.access_key_id,
        secret_access_key: Zeroizing::new(stored.secret_access_key),
        session_token: None,
    })
}

fn create(path: &Path) -> Result<Stored, CredentialsError> {
    let id = data_encoding::BASE32_NOPAD.encode(files::random_bytes::<10>()?.as_ref());
    let stored = Stored {
        access_key_id: format!("SR{id}"),
        secret_access_key: std::mem::take(&mut *files::random_text::<32>()?),
    };
    let json = Zeroizing::new(serde_json::to_vec(&stored).map_err(std::io::Error::other)?);
    files::write_atomic(path, &json, files::SECRET)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("embedded.json");
        let first = load_or_create(&path).unwrap();
        let second = load_or_create(&path).unwrap();
        assert_eq!(first.access_key_id, second.access_key_id);
        assert_eq!(first.secret_access_key, second.secret_access_key);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("embedded.json");
        files::write_atomic(&path, b"{", files::SECRET).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("embedded.json"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"{");
    }
}
