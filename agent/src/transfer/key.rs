//! The agent's own key, for as long as its state directory lives. A lost one
//! costs nothing but the uploads on their way.

use std::path::Path;

use strongroom_runtime::files::{self, FileError};
use strongroom_transfer::SecretKey;

const FILE: &str = "transfer.key";

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing it.
    #[error("the key for uploads cannot be used: {0}")]
    File(#[from] FileError),
    /// Not as we wrote it.
    #[error("{0} is damaged: delete it, and the agent makes another when it starts again")]
    Damaged(String),
    /// The operating system gives no randomness.
    #[error("cannot make a key for uploads: {0}")]
    Random(String),
}

/// Reads the key from the state directory, or makes it.
pub fn load(state: &Path) -> Result<SecretKey, KeyError> {
    let path = state.join(FILE);
    match files::read_secret_text(&path) {
        Ok(text) => SecretKey::from_hex(text.trim_end())
            .ok_or_else(|| KeyError::Damaged(path.display().to_string())),
        Err(error) if error.is_not_found() => {
            let key = SecretKey::generate().map_err(|error| KeyError::Random(error.to_string()))?;
            files::write_atomic(&path, key.to_hex().as_bytes(), files::SECRET)?;
            Ok(key)
        }
        Err(error) => Err(error.into()),
    }
}
