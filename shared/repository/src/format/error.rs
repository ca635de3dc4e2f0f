//! What is wrong with stored bytes.

use strongroom_layout::ObjectId;

/// Bytes that are not what the format says. Callers add the object's name.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Too short to be an envelope.
    #[error("{length} bytes are too few for an encrypted object, which has at least 32")]
    EnvelopeTooShort {
        /// Bytes that came.
        length: usize,
    },
    /// Damaged, or sealed under another key.
    #[error(
        "the authentication code does not match: the bytes are damaged or belong to another repository"
    )]
    WrongMac,
    /// The password does not open this key file.
    #[error("the password does not open this key")]
    WrongPassword,
    /// The plaintext is not the one that the id names.
    #[error("the content hashes to {got}, not to {expected}")]
    WrongHash {
        /// What the name says.
        expected: ObjectId,
        /// What the bytes say.
        got: ObjectId,
    },
    /// The repository is of a version that this program does not know.
    #[error("repository format version {version} is not supported, only versions 1 and 2")]
    UnsupportedVersion {
        /// What the config says.
        version: u32,
    },
    /// The repository is of a version that this program does not write.
    #[error(
        "a repository of format version {version} can be restored from, not written to; \
         `restic migrate upgrade_repo_v2` makes it version 2"
    )]
    ReadOnlyVersion {
        /// What the config says.
        version: u32,
    },
    /// Not the JSON that was expected.
    #[error("invalid {what}: {source}")]
    Json {
        /// `index`, `snapshot`, ….
        what: &'static str,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// Parses, but says something impossible.
    #[error("invalid {what}: {problem}")]
    Invalid {
        /// `pack header`, `tree`, ….
        what: &'static str,
        /// What is impossible.
        problem: String,
    },
    /// zstd failed.
    #[error("cannot {operation} {what}: {source}")]
    Zstd {
        /// `compress` or `decompress`.
        operation: &'static str,
        /// `blob`, `index`, ….
        what: &'static str,
        /// zstd's complaint.
        #[source]
        source: std::io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl FormatError {
    pub(crate) fn invalid(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            problem: problem.into(),
        }
    }

    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }
}
