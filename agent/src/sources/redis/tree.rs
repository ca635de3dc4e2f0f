//! The snapshot's only directory.

use jiff::Timestamp;
use strongroom_repository::{
    format::blob::BlobId,
    write::{Content, Writer},
};

use super::RedisSourceError;
use crate::sources::made;

/// Saves a directory of files, given with their paths.
pub(super) fn save<const N: usize>(
    writer: &Writer,
    files: [(&str, Content); N],
    time: Timestamp,
) -> Result<BlobId, RedisSourceError> {
    let nodes = files
        .into_iter()
        .map(|(path, content)| made::file(path.trim_start_matches('/'), content, time))
        .collect();
    let tree = made::encode(nodes)?;
    Ok(made::save_tree(writer, &tree)?)
}
