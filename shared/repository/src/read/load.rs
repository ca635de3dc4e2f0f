//! Loads the index files of a repository.
//!
//! A file that cannot be read is passed over: whoever may write to `index/`
//! must not be able to end all restores. What it listed is looked for in the
//! headers of the packs that no other file names. The same is done when a file is
//! listed with no length: it is lost, says who knows what was written.

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
    let Files {
        builder, problems, ..
    } = load_files(repository).await?;
    Ok((build(builder).await?, problems))
}

/// As [`load_index`]; when files were passed over, what packs that no other
/// file names say of themselves is in the index, too.
pub(super) async fn load_index_or_headers(
    repository: &Arc<Repository>,
) -> Result<(Index, Vec<ReadError>), ReadError> {
    let Files {
        mut builder,
        mut problems,
        lost,
    } = load_files(repository).await?;
    if lost || !problems.is_empty() {
        recover::add_unnamed(repository, &mut builder, &mut problems).await?;
    }
    Ok((build(builder).await?, problems))
}

/// What the index files say.
struct Files {
    builder: IndexBuilder,
    problems: Vec<ReadError>,
    /// Some are gone that must be there.
    lost: bool,
}

async fn load_files(repository: &Arc<Repository>) -> Result<Files, ReadError> {
    let listed = repository.store().list(Directory::Index).await?;
    let mut files = stream::iter(listed)
        .map(|file| async move { (file.size, load_file(repository.clone(), file.id).await) })
        .buffer_unordered(AT_ONCE);
    let mut builder = IndexBuilder::default();
    let (mut problems, mut lost) = (Vec::new(), false);
    while let Some((size, (object, file))) = files.next().await {
        match file {
            Err(problem) if size == 0 && problem.is_missing() => lost = true,
            Ok(file) => builder.add(&file)?,
            Err(problem) if problem.is_damage() => {
                builder.pass_over(object);
                problems.push(problem);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Files {
        builder,
        problems,
        lost,
    })
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
