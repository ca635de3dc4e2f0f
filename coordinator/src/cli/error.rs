//! How a command ends.

use std::{io, path::PathBuf, process::ExitCode};

use strongroom_runtime::printable;
use strongroom_transfer::{OpenError, SealError};

use super::{client::ClientError, store::StoreError};
use crate::{http::problem::Code, profile::ProfileError, serve::ResetError};

/// The exit codes that `--help` documents. Clap itself ends with 2 on a wrong
/// command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 1: the command, or the job it waited for, failed.
    Failed,
    /// 3: the job succeeded with warnings.
    Warnings,
    /// 4: what was named does not exist.
    NotFound,
    /// 5: the coordinator cannot be reached, or refuses this operator.
    Unreachable,
    /// 130: the user stopped waiting (Ctrl-C), as shells say it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Warnings => 3,
            Exit::NotFound => 4,
            Exit::Unreachable => 5,
            Exit::Interrupted => 130,
        })
    }
}

impl Exit {
    /// The graver of two ends.
    pub(crate) fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, other) => other,
            (one, Self::Done) => one,
            (Self::Warnings, other) => other,
            (one, _) => one,
        }
    }
}

/// A client command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Reset(#[from] ResetError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot create {path}: {source}")]
    Create { path: PathBuf, source: io::Error },
    #[error("{0} is there already: name another file with -o, or replace it with --force")]
    Exists(PathBuf),
    #[error("{cause}; `strongroom jobs show {id}` says more")]
    Job { id: String, cause: String },
    #[error(
        "standard output is a terminal, and the file may hold anything: name a file or a pipe, or \
         say --force"
    )]
    Terminal,
    #[error("nothing was done")]
    NotSure,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the download cannot be opened: {0}")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("cannot write the result, or read an answer: {0}")]
    Write(#[from] io::Error),
}

impl CliError {
    /// In one line, whoever wrote it: agents' messages stand in many of them.
    /// Only what is wrong with a policy file takes several.
    pub(crate) fn for_people(&self) -> String {
        match self {
            Self::Client(ClientError::Problem(problem)) if problem.code == Code::Invalid => {
                printable::block(&problem.to_string()).into_owned()
            }
            other => printable::line(&other.to_string()).into_owned(),
        }
    }

    /// The exit code that stands for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Profile(_)
            | Self::Client(ClientError::Unreachable { .. })
            | Self::Store(StoreError::Unreachable { .. }) => Exit::Unreachable,
            Self::Client(ClientError::Problem(problem)) => match problem.code {
                Code::NotFound => Exit::NotFound,
                Code::Unauthorised => Exit::Unreachable,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Problem;

    #[test]
    fn an_agents_message_is_one_line_and_harmless() {
        let error = CliError::Job {
            id: "1".into(),
            cause: "no\u{1b}[2J\nstrongroom: all is well".into(),
        };
        let text = error.for_people();
        assert!(text.contains(r"no\u{1b}[2J\nstrongroom"), "{text}");
        let failed = Problem::new(Code::JobFailed, "a\nb\u{9b}");
        let text = CliError::from(ClientError::from(failed)).for_people();
        assert_eq!(text, r"a\nb\u{9b}");
        let invalid = Problem::new(Code::Invalid, "line 1\nline 2\r");
        let text = CliError::from(ClientError::from(invalid)).for_people();
        assert_eq!(text, "line 1\nline 2\\r");
    }

    #[test]
    fn failure_outweighs_warnings_outweighs_done() {
        use Exit::{Done, Failed, Warnings};
        assert_eq!(Done.worse(Warnings), Warnings);
        assert_eq!(Warnings.worse(Failed), Failed);
        assert_eq!(Failed.worse(Warnings), Failed);
        assert_eq!(Done.worse(Done), Done);
    }
}
