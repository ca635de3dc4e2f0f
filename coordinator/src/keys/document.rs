//! A sealed password as it lies in the bucket.

use serde::{Deserialize, Serialize};

/// What rebuilds a repository's row in a new catalog. Lies below the store's
/// prefix at [`SealedRepository::path`], JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRepository {
    /// Of this form; 1.
    pub version: u32,
    /// The repository's name: the associated data of the seal.
    pub name: String,
    /// Where it lies below the store's prefix.
    pub prefix: String,
    /// See [`super::KeyEncryptionKey::seal`].
    pub sealed_password: String,
}

impl SealedRepository {
    /// The directory of all of them.
    pub const DIRECTORY: &str = ".strongroom/repositories";

    /// Of the current form.
    pub fn new(name: &str, prefix: &str, sealed_password: &str) -> Self {
        Self {
            version: 1,
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            sealed_password: sealed_password.to_owned(),
        }
    }

    /// Where it lies below the store's prefix.
    pub fn path(&self) -> String {
        format!("{}/{}.json", Self::DIRECTORY, self.prefix)
    }

    /// As it lies there.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of texts and a number always serializes.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_round_trips_and_lies_beside_the_repositories() {
        let document = SealedRepository::new("primary/web-1", "web-1", "v1.abc");
        let read: SealedRepository = serde_json::from_slice(&document.to_json()).unwrap();
        assert_eq!(read, document);
        assert_eq!(document.path(), ".strongroom/repositories/web-1.json");
    }
}
