//! The key-encryption key: a file, 32 random bytes, mode 0600.

use std::{fmt, path::Path};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, SHA256},
};
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

/// What a sealed text begins with; another number will mean another form.
const FORM: &str = "v1.";

/// What is digested before a key, for its fingerprint.
const FINGERPRINT: &str = "strongroom: the fingerprint of a key-encryption key\n";

/// Seals and opens repository passwords: AES-256-GCM with a random nonce and
/// the repository's name as associated data, so that no password can be taken
/// for another repository's.
pub struct KeyEncryptionKey {
    key: LessSafeKey,
    fingerprint: String,
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(…)")
    }
}

/// The key or what it sealed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key file is no key.
    #[error("{path} is not a key-encryption key (32 bytes): restore it from a backup")]
    NotAKey {
        /// The file.
        path: String,
    },
    /// The operating system gives no randomness.
    #[error("the system's randomness cannot be read: {0}")]
    Random(std::io::Error),
    /// Another key sealed it, for another repository, or it was changed.
    #[error(
        "the password of repository {repository:?} cannot be opened: this is not the \
         key-encryption key that sealed it, or it was damaged; restore the key file from a backup"
    )]
    Sealed {
        /// Whose password.
        repository: String,
    },
}

impl KeyEncryptionKey {
    /// The key in the file at `path`, made at random if there is none.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match files::read_secret(path) {
            Ok(bytes) => Self::from_bytes(&bytes).ok_or_else(|| KeyError::NotAKey {
                path: path.display().to_string(),
            }),
            Err(error) if error.is_not_found() => {
                let bytes = files::random_bytes::<32>().map_err(KeyError::Random)?;
                files::write_atomic(path, bytes.as_ref(), files::SECRET)?;
                // 32 bytes are a key.
                Self::from_bytes(bytes.as_ref()).ok_or_else(|| KeyError::NotAKey {
                    path: path.display().to_string(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What tells it from other keys, 64 hex digits: SHA-256 of it behind a label. Of
    /// 32 random bytes that gives nothing away.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        let mut digest = Context::new(&SHA256);
        digest.update(FINGERPRINT.as_bytes());
        digest.update(bytes);
        Some(Self {
            key: LessSafeKey::new(key),
            fingerprint: HEXLOWER.encode(digest.finish().as_ref()),
        })
    }

    /// Seals the password of a repository: `v1.` and base64url of nonce,
    /// ciphertext and tag.
    pub fn seal(&self, repository: &str, password: &str) -> Result<String, KeyError> {
        let nonce = *files::random_bytes::<NONCE_LEN>().map_err(KeyError::Random)?;
        let mut sealed = Zeroizing::new(password.as_bytes().to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(repository.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| KeyError::Sealed {
                repository: repository.to_owned(),
            })?;
        let bytes = [&nonce[..], &sealed[..], tag.as_ref()].concat();
        Ok(format!("{FORM}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// Opens what [`seal`](Self::seal) gave for the same repository.
    pub fn open(&self, repository: &str, sealed: &str) -> Result<Zeroizing<String>, KeyError> {
        self.try_open(repository, sealed)
            .ok_or_else(|| KeyError::Sealed {
                repository: repository.to_owned(),
            })
    }

    fn try_open(&self, repository: &str, sealed: &str) -> Option<Zeroizing<String>> {
        let bytes = BASE64URL_NOPAD
            .decode(sealed.strip_prefix(FORM)?.as_bytes())
            .ok()?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = Zeroizing::new(ciphertext.to_vec());
        let password = self
            .key
            .open_in_place(nonce, Aad::from(repository.as_bytes()), &mut opened)
            .ok()?;
        let password = std::str::from_utf8(password).ok()?;
        Some(Zeroizing::new(password.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::keys::new_password;

    fn key(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_password_comes_back_for_its_repository_only() {
        let password = new_password().unwrap();
        let sealed = key(1).seal("primary/web-1", &password).unwrap();
        assert!(!sealed.contains(password.as_str()));
        assert_eq!(key(1).open("primary/web-1", &sealed).unwrap(), password);
        for (key, name) in [(key(1), "primary/web-2"), (key(2), "primary/web-1")] {
            let error = key.open(name, &sealed).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!error.contains(password.as_str()));
        }
    }

    #[test]
    fn any_change_of_the_sealed_text_is_noticed() {
        let sealed = key(1).seal("r", "password").unwrap();
        assert!(key(1).open("r", "").is_err());
        assert!(key(1).open("r", "v1.").is_err());
        assert!(key(1).open("r", &sealed[3..]).is_err());
        for place in FORM.len()..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key(1).open("r", &changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn two_seals_of_one_password_differ() {
        let key = key(1);
        assert_ne!(key.seal("r", "p").unwrap(), key.seal("r", "p").unwrap());
    }

    #[test]
    fn the_key_file_is_private_and_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let sealed = KeyEncryptionKey::open_or_create(&path)
            .unwrap()
            .seal("r", "password")
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = KeyEncryptionKey::open_or_create(&path).unwrap();
        assert_eq!(*again.open("r", &sealed).unwrap(), "password");
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        files::write_atomic(&path, b"short", files::SECRET).unwrap();
        let error = KeyEncryptionKey::open_or_create(&path).unwrap_err();
        assert!(error.to_string().contains("kek"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}
