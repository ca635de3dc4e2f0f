//! `operator.toml`: what the command line needs to talk to a coordinator.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use strongroom_runtime::files::{self, FileError};
use zeroize::Zeroizing;

/// An operator's URL, token and CA.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The coordinator's REST API.
    pub url: String,
    /// The operator's name, for people.
    pub operator: String,
    /// The bearer token.
    #[serde(with = "secret_text")]
    pub token: Zeroizing<String>,
    /// The CA of the coordinator's certificate, PEM; nothing else is trusted.
    pub ca_certificate: String,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("url", &self.url)
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

/// A profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// None was named, none is where it would be.
    #[error(
        "no profile: say --profile FILE or set STRONGROOM_PROFILE. The coordinator writes \
         operator.toml into its data directory on first start; an operator makes more with \
         `strongroom operators create NAME --write FILE`, and root on the coordinator's host with \
         `strongroom operators reset --config coordinator.toml`"
    )]
    Missing,
    /// The file.
    #[error("the profile cannot be used: {0}")]
    File(#[from] FileError),
    /// Its text.
    #[error("the profile {path} is damaged{}: {message}", at(*line))]
    Parse {
        /// Which.
        path: PathBuf,
        /// From 1, when it is known.
        line: Option<usize>,
        /// What is wrong, without the line's text: it may hold the token.
        message: String,
    },
    /// It does not become TOML.
    #[error("the profile cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

impl Profile {
    /// The profile that was named, else the one in the user's configuration
    /// directory.
    pub fn find(named: Option<&Path>) -> Result<Self, ProfileError> {
        if let Some(path) = named {
            return Self::load(path);
        }
        match default_path() {
            Some(path) if path.exists() => Self::load(&path),
            _ => Err(ProfileError::Missing),
        }
    }

    /// Reads a profile that only its owner may read.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let text = files::read_secret_text(path)?;
        toml::from_str(&text).map_err(|error| ProfileError::Parse {
            path: path.to_owned(),
            line: error.span().map(|span| line_of(&text, span.start)),
            // Not the whole error: it would quote the line, and so the token.
            message: error.message().to_owned(),
        })
    }

    /// Writes a profile that only its owner may read; replaces the file.
    pub fn save(&self, path: &Path) -> Result<(), ProfileError> {
        let text = Zeroizing::new(toml::to_string(self)?);
        files::write_atomic(path, text.as_bytes(), files::SECRET)?;
        Ok(())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

/// `operator.toml` in the user's configuration directory.
fn default_path() -> Option<PathBuf> {
    let base = env::var_os("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))?;
    Some(base.join("strongroom").join("operator.toml"))
}

/// A text in TOML that is zeroized in memory.
mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn profile() -> Profile {
        Profile {
            url: "https://127.0.0.1:7480".into(),
            operator: "admin".into(),
            token: Zeroizing::new("secret-token".into()),
            ca_certificate: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into(),
        }
    }

    #[test]
    fn round_trips_with_mode_0600() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.toml");
        profile().save(&path).unwrap();
        profile().save(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(Profile::load(&path).unwrap(), profile());
    }

    #[test]
    fn refuses_a_profile_that_others_may_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.toml");
        profile().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = Profile::load(&path).unwrap_err().to_string();
        assert!(
            message.contains("640") && message.contains("chmod 600"),
            "{message}"
        );
    }

    #[test]
    fn errors_and_debug_do_not_show_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.toml");
        fs::write(&path, "token = \"secret-token\"\nurl = 3\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Profile::load(&path).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret-token"));
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(!format!("{:?}", profile()).contains("secret-token"));
    }

    #[test]
    fn says_how_to_get_one() {
        let message = ProfileError::Missing.to_string();
        assert!(message.contains("STRONGROOM_PROFILE") && message.contains("operators create"));
    }
}
