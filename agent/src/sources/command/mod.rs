//! The standard output of a command, as one file.
//!
//! Commands stand in `agent.toml`; a policy can only name them. No shell is
//! involved. The command runs in a process group of its own, which is killed
//! when the run ends early, and whose leftovers are killed when it has ended.

pub(crate) mod process;

use std::{io, sync::atomic::Ordering::Relaxed};

use jiff::Timestamp;
use strongroom_repository::{
    format::{FormatError, blob::BlobId},
    write::{Content, Halted, Writer},
};
use tokio::runtime::Handle;

use self::process::Process;
use super::{
    throttle::{Pace, Paced},
    virtual_files,
};
use crate::monitor::Monitor;

/// A command as `agent.toml` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What policies call it.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The file's name in the snapshot; by default the command's.
    pub filename: Option<String>,
    /// Whether the end of its standard error goes into reports.
    pub report_stderr: bool,
    /// Whether printing nothing is a success.
    pub allow_empty: bool,
}

impl Command {
    /// The file's path in the snapshot.
    pub fn path(&self) -> String {
        format!("/{}", self.file_name())
    }

    fn file_name(&self) -> &str {
        self.filename.as_deref().unwrap_or(&self.name)
    }
}

/// Why no tree came of a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No program.
    #[error("command {name:?} has an empty `argv`: give its program in agent.toml")]
    Empty {
        /// The command.
        name: String,
    },
    /// Not started.
    #[error("command {name:?}: cannot start {program:?}: {source}")]
    Start {
        /// The command.
        name: String,
        /// `argv[0]`.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its output could not be read.
    #[error("command {name:?}: cannot read its output: {source}")]
    Read {
        /// The command.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("command {name:?} ended with {status}{}", tail(stderr))]
    Failed {
        /// The command.
        name: String,
        /// Exit status or signal.
        status: std::process::ExitStatus,
        /// The last 4 KiB of its standard error, if it may be reported.
        stderr: String,
    },
    /// It printed nothing.
    #[error(
        "command {name:?} ended well but printed nothing, so there is nothing to save: see that it \
         writes to standard output, or allow it: `allow_empty = true` in agent.toml, --allow-empty \
         offline"
    )]
    Nothing {
        /// The command.
        name: String,
    },
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
    /// The tree could not be made: the file's name is impossible.
    #[error("command {name:?}: {source}; set another `filename` in agent.toml")]
    Format {
        /// The command.
        name: String,
        /// What is wrong.
        #[source]
        source: FormatError,
    },
}

fn tail(stderr: &str) -> String {
    match stderr.trim() {
        "" => "; it said nothing on standard error, or agent.toml does not have it reported".into(),
        said => format!("; the end of its standard error:\n{said}"),
    }
}

/// Runs a command and saves its standard output; gives the root tree and the
/// number of bytes.
pub fn save(
    writer: &Writer,
    runtime: &Handle,
    command: &Command,
    started: Timestamp,
    pace: &Pace,
    monitor: &Monitor,
) -> Result<(BlobId, u64), CommandError> {
    let name = &command.name;
    // Refuse an impossible name before anything runs.
    encode(command, Content::default(), started)?;
    let process = Process::start(command)?;
    let (content, ended) = process.attend(runtime, &writer.halted(), |stdout| {
        let mut stdout = Paced {
            pace,
            inner: stdout,
        };
        virtual_files::save_stream(writer, &mut stdout, monitor)
    });
    let content = content?;
    let ended = ended.map_err(|source| CommandError::Read {
        name: name.clone(),
        source,
    })?;
    let content = content.map_err(|source| CommandError::Read {
        name: name.clone(),
        source,
    })?;
    if writer.halted().is_cancelled() {
        return Err(Halted.into());
    }
    if !ended.status.success() {
        return Err(CommandError::Failed {
            name: name.clone(),
            status: ended.status,
            stderr: ended.stderr,
        });
    }
    let size = content.size;
    if size == 0 && !command.allow_empty {
        return Err(CommandError::Nothing { name: name.clone() });
    }
    let tree = encode(command, content, started)?;
    let root = virtual_files::save_tree(writer, &tree)?;
    monitor.files.fetch_add(1, Relaxed);
    Ok((root, size))
}

/// The root tree with the one file.
fn encode(
    command: &Command,
    content: Content,
    started: Timestamp,
) -> Result<Vec<u8>, CommandError> {
    virtual_files::encode(vec![virtual_files::file(
        command.file_name(),
        content,
        started,
    )])
    .map_err(|source| CommandError::Format {
        name: command.name.clone(),
        source,
    })
}
