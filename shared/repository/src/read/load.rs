//! Loads the index files of a repository.
//!
//! A file that cannot be read is passed over: whoever may write to `index/`
//! must not be able to end all restores. What it listed is looked for in the
//! headers of the packs that no other file names.

use std::sync::Arc;

use futures::{StreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectName};

use super::{Damage, Index, IndexBuilder, ReadError, recover};
use crate::{Repository, format::index::IndexFile};

/// Index files that are fetched and decoded at once: each takes some 8 MiB.
const AT_ONCE: usize = 8;

/// Loads every index file that is whole, and says what is wrong with the
/// others. Fails only when the store does.
pub async fn load_index(
    repository: &Arc<Repository>,
) -> Result<(Index, Vec<ReadError>), ReadError> {
    let (builder, problems) = load_files(repository).await?;
    Ok((build(builder).await?, problems))
}

/// As [`load_index`]; when files were passed over, what packs that no other
/// file names say of themselves is in the index, too.
pub(super) async fn load_index_or_headers(
    repository: &Arc<Repository>,
) -> Result<(Index, Vec<ReadError>), ReadError> {
    let (mut builder, mut problems) = load_files(repository).await?;
    if !problems.is_empty() {
        recover::add_unnamed(repository, &mut builder, &mut problems).await?;
    }
    Ok((build(builder).await?, problems))
}

async fn load_files(
    repository: &Arc<Repository>,
) -> Result<(IndexBuilder, Vec<ReadError>), ReadError> {
    let listed = repository.store().list(Directory::Index).await?;
    let mut files = stream::iter(listed)
        .map(|file| load_file(repository.clone(), file.id))
        .buffer_unordered(AT_ONCE);
    let mut builder = IndexBuilder::default();
    let mut problems = Vec::new();
    while let Some((object, file)) = files.next().await {
        match file {
            Ok(file) => builder.add(&file)?,
            Err(problem) if problem.is_damage() => {
                builder.pass_over(object);
                problems.push(problem);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((builder, problems))
}

/// Sorting some million entries takes a moment.
async fn build(builder: IndexBuilder) -> Result<Index, ReadError> {
    tokio::task::spawn_blocking(move || builder.build()).await?
}

/// Loads one index file.
pub(super) async fn load_file(
    repository: Arc<Repository>,
    id: ObjectId,
) -> (ObjectName, Result<IndexFile, ReadError>) {
    let object = ObjectName::index(id);
    let loaded = async {
        let json = repository
            .load_unpacked(object)
            .await
            .map_err(|error| ReadError::from_repository(object, error))?;
        tokio::task::spawn_blocking(move || IndexFile::decode(&json))
            .await?
            .map_err(|error| ReadError::damaged(object, Damage::Format(error)))
    };
    (object, loaded.await)
}
