//! Repository passwords, sealed under the key-encryption key.
//!
//! Whoever has the key-encryption key and the bucket can open every
//! repository: the sealed passwords are kept in the catalog and, as
//! [`SealedRepository`], beside the data.

mod document;
mod kek;

pub use document::SealedRepository;
pub use kek::{KeyEncryptionKey, KeyError};

use strongroom_runtime::files;
use zeroize::Zeroizing;

/// A new repository password: 32 random bytes, base64url.
pub fn new_password() -> Result<Zeroizing<String>, KeyError> {
    files::random_text::<32>().map_err(KeyError::Random)
}
