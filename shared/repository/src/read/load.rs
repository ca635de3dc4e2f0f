//! Loads the index files of a repository.

use std::sync::Arc;

use futures::{StreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectName};

use super::{Damage, Index, IndexBuilder, ReadError};
use crate::{Repository, format::index::IndexFile};

/// Index files that are fetched and decoded at once: each takes some 8 MiB.
const AT_ONCE: usize = 8;

/// Loads every index file, verified; fails when one of them is damaged.
pub async fn load_index(repository: &Arc<Repository>) -> Result<Index, ReadError> {
    let (index, problems) = load_index_with_problems(repository).await?;
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(index),
    }
}

/// Loads every index file that is whole, and says what is wrong with the
/// others. Fails only when the store does.
pub async fn load_index_with_problems(
    repository: &Arc<Repository>,
) -> Result<(Index, Vec<ReadError>), ReadError> {
    let listed = repository.store().list(Directory::Index).await?;
    let mut files = stream::iter(listed)
        .map(|file| load_file(repository.clone(), file.id))
        .buffer_unordered(AT_ONCE);
    let mut builder = IndexBuilder::default();
    let mut problems = Vec::new();
    while let Some(file) = files.next().await {
        match file {
            Ok(file) => builder.add(&file)?,
            Err(problem) if problem.is_damage() => problems.push(problem),
            Err(error) => return Err(error),
        }
    }
    drop(files);
    // Sorting some million entries takes a moment.
    let index = tokio::task::spawn_blocking(move || builder.build()).await??;
    Ok((index, problems))
}

async fn load_file(repository: Arc<Repository>, id: ObjectId) -> Result<IndexFile, ReadError> {
    let object = ObjectName::index(id);
    let json = repository
        .load_unpacked(object)
        .await
        .map_err(|error| ReadError::from_repository(object, error))?;
    tokio::task::spawn_blocking(move || IndexFile::decode(&json))
        .await?
        .map_err(|error| ReadError::damaged(object, Damage::Format(error)))
}
