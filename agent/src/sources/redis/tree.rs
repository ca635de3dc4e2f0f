//! The snapshot's only directory.

use jiff::Timestamp;
use strongroom_repository::{
    format::blob::BlobId,
    write::{Content, Writer},
};

use super::RedisSourceError;
use crate::sources::virtual_files;

/// Saves a directory of files, given with their paths.
pub(super) fn save<const N: usize>(
    writer: &Writer,
    files: [(&str, Content); N],
    time: Timestamp,
) -> Result<BlobId, RedisSourceError> {
    let nodes = files
        .into_iter()
        .map(|(path, content)| virtual_files::file(path.trim_start_matches('/'), content, time))
        .collect();
    let tree = virtual_files::encode(nodes)?;
    Ok(virtual_files::save_tree(writer, &tree)?)
}
