//! The kinds of job: a file each, and the list of them.
//!
//! A kind says what one asks ([`Kind`], the specification) and what comes of it
//! ([`Figures`]); [`JobSpec`] and [`Outcome`] are any of them. What a grant allows
//! and what a host consents to is decided by exhaustive matches elsewhere, and a new kind
//! *should* need a line there; everything else is asked of [`Kind`] and [`Facts`].

mod backup;
mod download;
mod list;
mod restore;
mod upload;
mod wal;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use strongroom_layout::ObjectId;

pub use backup::{BackupOutcome, BackupSpec};
pub use download::{DownloadOutcome, DownloadSpec};
pub use list::{Entry, ListOutcome, ListSpec};
pub use restore::{PlannedAction, RestoreOutcome, RestoreSpec, StartedServer};
pub use upload::{UploadFormat, UploadSpec};
pub use wal::{WalMethod, WalOutcome, WalSpec};

use crate::Invalid;

/// What a job does to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads what is there.
    Reads,
    /// Adds to it, and creates it where there is none.
    Writes,
}

/// How a job locks its repository against others, as restic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Beside others; nobody removes anything meanwhile.
    Shared,
    /// None: over in a moment, or harmless whatever is removed meanwhile.
    None,
}

/// What of a specification matters to whoever does not know its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The snapshot that it reads.
    pub snapshot: Option<ObjectId>,
    /// It goes on until it is not wanted any more.
    pub endless: bool,
    /// It changes data on the host or in its servers.
    pub restores: bool,
}

/// What one can ask of an agent: a specification.
pub trait Kind: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// Which it is.
    const KIND: JobKind;
    /// What it does to its repository.
    const ROLE: Role;
    /// How it locks it.
    const LOCK: Lock = Lock::Shared;

    /// What of it matters to all.
    fn facts(&self) -> Facts {
        Facts::default()
    }

    /// Whether it asks for something that can be; it may be spelled and still not.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// What comes of a job. Whoever says so may be a thief.
pub trait Figures: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// Cut to what is kept of it: lists and texts end, and no sum of figures overflows.
    fn bound(&mut self);

    /// Cut to about so many bytes of JSON: its lists end sooner, and say so.
    fn fit(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Whether there can be such a one; it may be spelled and still not.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// How many of the first elements take at most so many bytes of JSON.
fn fitting<T: Serialize>(list: &[T], bytes: usize) -> usize {
    let mut left = bytes;
    let mut fits = |element: &&T| {
        let taken = json(element).len() + 1;
        let rest = left.checked_sub(taken);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    list.iter().take_while(|element| fits(element)).count()
}

/// A specification or an outcome that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Of a kind that this version does not know.
    #[error("this version knows no jobs of kind {0:?}")]
    Kind(String),
    /// Not what that kind looks like in this version.
    #[error("it is no {what} of kind {kind} as this version knows them: {cause}")]
    Content {
        /// `job` or `outcome`.
        what: &'static str,
        /// Which.
        kind: JobKind,
        /// Where it differs.
        cause: String,
    },
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident($spec:ty => $outcome:ty) = $word:literal,)+) => {
        /// What sort of work a job is.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
        #[serde(rename_all = "kebab-case")]
        pub enum JobKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl JobKind {
            /// Every one, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word on the wire, in the catalog and in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What such a job does to its repository.
            pub const fn role(self) -> Role {
                match self {
                    $(Self::$name => <$spec as Kind>::ROLE,)+
                }
            }

            /// How such a job locks its repository.
            pub const fn lock(self) -> Lock {
                match self {
                    $(Self::$name => <$spec as Kind>::LOCK,)+
                }
            }
        }

        /// What an attempt is asked to do.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum JobSpec {
            $($(#[doc = $doc])+ $name($spec),)+
        }

        impl JobSpec {
            /// Which kind it is.
            pub fn kind(&self) -> JobKind {
                match self {
                    $(Self::$name(_) => JobKind::$name,)+
                }
            }

            /// What of it matters to all.
            pub fn facts(&self) -> Facts {
                match self {
                    $(Self::$name(spec) => spec.facts(),)+
                }
            }

            /// As JSON, without its kind.
            pub fn to_json(&self) -> String {
                match self {
                    $(Self::$name(spec) => json(spec),)+
                }
            }

            /// Of a kind's word and its JSON: what can be, of a kind that is known.
            pub fn from_json(kind: &str, text: &str) -> Result<Self, Unreadable> {
                match kind.parse().map_err(|_| Unreadable::Kind(kind.to_owned()))? {
                    $(JobKind::$name => {
                        parsed("job", JobKind::$name, text, <$spec>::check).map(Self::$name)
                    })+
                }
            }
        }

        $(impl From<$spec> for JobSpec {
            fn from(spec: $spec) -> Self {
                Self::$name(spec)
            }
        })+

        /// What an attempt achieved.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "kebab-case")]
        pub enum Outcome {
            $($(#[doc = $doc])+ $name($outcome),)+
        }

        impl Outcome {
            /// Of which kind of job it is.
            pub fn kind(&self) -> JobKind {
                match self {
                    $(Self::$name(_) => JobKind::$name,)+
                }
            }

            /// Cut to what is kept of it; see [`Figures::bound`].
            pub fn bound(&mut self) {
                match self {
                    $(Self::$name(outcome) => outcome.bound(),)+
                }
            }

            /// Cut to about so many bytes of JSON; see [`Figures::fit`].
            pub fn fit(&mut self, bytes: usize) {
                match self {
                    $(Self::$name(outcome) => outcome.fit(bytes),)+
                }
            }

            /// As JSON, without its kind.
            pub fn to_json(&self) -> String {
                match self {
                    $(Self::$name(outcome) => json(outcome),)+
                }
            }

            /// Of a kind's word and its JSON.
            pub fn from_json(kind: &str, text: &str) -> Result<Self, Unreadable> {
                match kind.parse().map_err(|_| Unreadable::Kind(kind.to_owned()))? {
                    $(JobKind::$name => {
                        parsed("outcome", JobKind::$name, text, <$outcome>::check)
                            .map(Self::$name)
                    })+
                }
            }
        }
    };
}

kinds! {
    /// Read a source, write a snapshot.
    Backup(BackupSpec => BackupOutcome) = "backup",
    /// Read a snapshot, write a directory or fill a server.
    Restore(RestoreSpec => RestoreOutcome) = "restore",
    /// Read a snapshot's trees.
    List(ListSpec => ListOutcome) = "list",
    /// Read what an operator sealed, write a snapshot.
    Upload(UploadSpec => BackupOutcome) = "upload",
    /// Read a snapshot, seal a part of it to an operator.
    Download(DownloadSpec => DownloadOutcome) = "download",
    /// Archive a cluster's write-ahead log for as long as it is wanted.
    Wal(WalSpec => WalOutcome) = "wal",
}

impl Outcome {
    /// The snapshot that it made.
    pub fn made(&self) -> Option<&BackupOutcome> {
        match self {
            Self::Backup(made) | Self::Upload(made) => Some(made),
            Self::Restore(_) | Self::List(_) | Self::Download(_) | Self::Wal(_) => None,
        }
    }

    /// Likewise, to be corrected.
    pub fn made_mut(&mut self) -> Option<&mut BackupOutcome> {
        match self {
            Self::Backup(made) | Self::Upload(made) => Some(made),
            Self::Restore(_) | Self::List(_) | Self::Download(_) | Self::Wal(_) => None,
        }
    }
}

impl JobKind {
    /// Whether it adds to its repository, and creates it where there is none.
    pub fn writes(self) -> bool {
        self.role() == Role::Writes
    }

    /// Whether a snapshot comes of it.
    pub fn makes_snapshot(self) -> bool {
        matches!(self, Self::Backup | Self::Upload)
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.as_str() == word).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("{word:?} is none of {}", known.join(", "))
        })
    }
}

fn json(value: &impl Serialize) -> String {
    // Maps have keys of text, and nothing here refuses to be written.
    serde_json::to_string(value).unwrap_or_default()
}

fn parsed<T: DeserializeOwned>(
    what: &'static str,
    kind: JobKind,
    text: &str,
    check: impl FnOnce(&T) -> Result<(), Invalid>,
) -> Result<T, Unreadable> {
    let content = |cause: String| Unreadable::Content { what, kind, cause };
    let value = serde_json::from_str(text).map_err(|error| content(error.to_string()))?;
    check(&value).map_err(|invalid| content(invalid.to_string()))?;
    Ok(value)
}
