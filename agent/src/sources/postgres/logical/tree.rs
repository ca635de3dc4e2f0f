//! The snapshot's two directories.

use jiff::Timestamp;
use strongroom_repository::{
    format::{blob::BlobId, node::Node},
    write::{Content, Writer},
};

use super::{LogicalError, LogicalFigures};
use crate::sources::virtual_files;

/// Roles and tablespaces.
pub(super) const GLOBALS: &str = "/globals.sql";
const DATABASES: &str = "databases";

/// The path of a database's dump.
pub(super) fn database(file: &str) -> String {
    format!("/{DATABASES}/{file}")
}

/// Files that were saved.
pub(super) struct Saved {
    time: Timestamp,
    root: Vec<Node>,
    databases: Vec<Node>,
    figures: LogicalFigures,
}

impl Saved {
    pub(super) fn new(time: Timestamp) -> Self {
        Self {
            time,
            root: Vec::new(),
            databases: Vec::new(),
            figures: LogicalFigures::default(),
        }
    }

    /// Adds a file of the root, or of the databases.
    pub(super) fn add(&mut self, path: &str, content: Content) {
        self.figures.files += 1;
        self.figures.bytes += content.size;
        let name = path.trim_start_matches('/');
        match name.split_once('/') {
            Some((_, name)) => self
                .databases
                .push(virtual_files::file(name, content, self.time)),
            None => self
                .root
                .push(virtual_files::file(name, content, self.time)),
        }
    }

    /// That something that was asked for is not here.
    pub(super) fn lacks_something(&mut self) {
        self.figures.partial = true;
    }

    /// Saves the trees; gives the root's.
    pub(super) fn finish(
        mut self,
        writer: &Writer,
    ) -> Result<(BlobId, LogicalFigures), LogicalError> {
        let subtree = save(writer, self.databases)?;
        self.root
            .push(virtual_files::directory(DATABASES, subtree, self.time));
        Ok((save(writer, self.root)?, self.figures))
    }
}

fn save(writer: &Writer, nodes: Vec<Node>) -> Result<BlobId, LogicalError> {
    let tree = virtual_files::encode(nodes)?;
    Ok(virtual_files::save_tree(writer, &tree)?)
}
