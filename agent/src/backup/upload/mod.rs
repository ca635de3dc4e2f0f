//! A file that an operator uploads, as a snapshot.
//!
//! The pieces are read from the store, opened and saved like any stream;
//! nothing touches the local disk. A dump of a PostgreSQL database gets the
//! place and the manifest that our own dumps have and is restored like those,
//! only that nobody has counted its rows. SQL is read on its way: what a restore
//! could not run is refused while the operator still has the file at hand. SQL
//! that was compressed is stored uncompressed, because the next dump of the same
//! database then shares most of its chunks.

mod dump;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod script;

use std::{
    io::{self, Read},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use strongroom_layout::ObjectId;
use strongroom_postgres::logical::{
    manifest::{self, ManifestError},
    script::ScriptError,
};
use strongroom_repository::{
    format::{FormatError, blob::BlobId, node::Node},
    store::SharedStore,
    write::{Content, Halted, Writer},
};
use strongroom_spec::UploadFormat;
use strongroom_transfer::SecretKey;
use tokio::runtime::Handle;

use self::script::Checked;
use crate::{
    monitor::Monitor,
    sources::{
        throttle::{Pace, Paced},
        virtual_files::{self, directory, file, save_stream, save_tree},
    },
    transfer::{TransferError, read::PieceReader},
};

/// Bytes that say what a file is.
const HEAD: u64 = 4096;
const DATABASES: &str = "databases";

/// What to take.
#[derive(Debug, Clone)]
pub struct UploadSource {
    /// Where the pieces lie.
    pub store: SharedStore,
    /// To what they were sealed.
    pub own: SecretKey,
    /// The piece that lists the others.
    pub manifest: ObjectId,
    /// The file's name in the snapshot, unless it is a dump.
    pub file_name: String,
    /// What it is.
    pub format: UploadFormat,
    /// Of a dump.
    pub database: String,
}

impl UploadSource {
    /// What the snapshot's paths are.
    pub fn paths(&self) -> Vec<String> {
        match self.format {
            UploadFormat::File => vec![format!("/{}", self.file_name)],
            _ => vec![format!("/{DATABASES}")],
        }
    }

    /// The file's name in its directory.
    fn name(&self) -> String {
        let dump = manifest::file_name(&self.database);
        match self.format {
            UploadFormat::File => self.file_name.clone(),
            UploadFormat::Custom => dump,
            UploadFormat::Sql | UploadFormat::SqlGzip => {
                format!("{}.sql", dump.strip_suffix(".dump").unwrap_or(&dump))
            }
        }
    }
}

/// Why no tree came of an upload.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The pieces.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Not what it was said to be.
    #[error("the upload is not {expected}: {problem}; say --format to upload it as what it is")]
    Format {
        /// What it should be.
        expected: &'static str,
        /// Why it is not.
        problem: String,
    },
    /// SQL that no restore could run.
    #[error(
        "the upload could not be restored into a server: {0}; to keep it all the same, upload it \
         with --format file"
    )]
    Script(#[from] ScriptError),
    /// No names for what would be saved.
    #[error("the upload cannot be saved as {name:?}: {source}; choose another name")]
    Name {
        /// The file's.
        name: String,
        /// What is wrong.
        source: FormatError,
    },
    /// The manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The run ended; its writer says why.
    #[error(transparent)]
    Halted(#[from] Halted),
}

/// Figures of what was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadFigures {
    /// The file, and a dump's manifest.
    pub files: u64,
    /// Directories besides the root.
    pub directories: u64,
    /// In the files.
    pub bytes: u64,
}

/// Fetches and saves; gives the root tree. Blocks: call it from a thread that
/// is none of `runtime`'s.
pub fn save(
    writer: &Writer,
    runtime: &Handle,
    source: &UploadSource,
    started: Timestamp,
    pace: &Pace,
    monitor: &Arc<Monitor>,
) -> Result<(BlobId, UploadFigures), UploadError> {
    let name = source.name();
    // Refuse an impossible name before anything is fetched.
    encode(&name, vec![file(&name, Content::default(), started)])?;
    let mut pieces = PieceReader::open(
        Arc::clone(&source.store),
        runtime.clone(),
        Arc::clone(monitor),
        &source.own,
        source.manifest,
    )?;
    monitor.total_bytes.store(pieces.total(), Relaxed);
    let mut head = Vec::new();
    (&mut pieces)
        .take(HEAD)
        .read_to_end(&mut head)
        .map_err(|error| failed(source.format, error))?;
    let known = dump::check(source.format, &head)?;
    let whole = io::Cursor::new(head).chain(pieces);
    let mut input: Box<dyn Read + Send> = match source.format {
        UploadFormat::Sql => Box::new(Checked::new(whole)),
        UploadFormat::SqlGzip => Box::new(Checked::new(MultiGzDecoder::new(whole))),
        UploadFormat::File | UploadFormat::Custom => Box::new(whole),
    };
    let mut paced = Paced {
        pace,
        inner: &mut input,
    };
    let content =
        save_stream(writer, &mut paced, monitor)?.map_err(|error| failed(source.format, error))?;
    if writer.halted().is_cancelled() {
        return Err(Halted.into());
    }
    let mut figures = UploadFigures {
        files: 1,
        directories: 0,
        bytes: content.size,
    };
    let saved = file(&name, content, started);
    let nodes = if source.format == UploadFormat::File {
        vec![saved]
    } else {
        let manifest = dump::manifest(source, &name, figures.bytes, &known, started);
        let manifest = manifest.encode()?;
        let bytes = manifest.len() as u64;
        let content = save_stream(writer, &mut io::Cursor::new(manifest), monitor)?
            .map_err(|error| failed(source.format, error))?;
        figures.files += 1;
        figures.directories += 1;
        figures.bytes += bytes;
        let subtree = save_tree(writer, &encode(&name, vec![saved])?)?;
        vec![
            directory(DATABASES, subtree, started),
            file(manifest::PATH.trim_start_matches('/'), content, started),
        ]
    };
    let root = save_tree(writer, &encode(&name, nodes)?)?;
    monitor.files.fetch_add(figures.files, Relaxed);
    Ok((root, figures))
}

/// What a failed read means: the transfer's own trouble, a script that does not
/// do, or a bad archive.
fn failed(format: UploadFormat, error: io::Error) -> UploadError {
    let error = match error.downcast::<TransferError>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    match error.downcast::<ScriptError>() {
        Ok(error) => error.into(),
        Err(error) => UploadError::Format {
            expected: dump::describe(format),
            problem: error.to_string(),
        },
    }
}

fn encode(name: &str, nodes: Vec<Node>) -> Result<Vec<u8>, UploadError> {
    virtual_files::encode(nodes).map_err(|source| UploadError::Name {
        name: name.to_owned(),
        source,
    })
}
