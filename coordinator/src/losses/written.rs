//! Whether an attempt has written what it was granted to write.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use strongroom_layout::{AttemptRef, Directory, ObjectId, ObjectKind, ObjectName};

use super::compare::{CompareError, LOOKS_AT_ONCE};
use crate::{
    catalog::Catalog,
    model::{ObjectRow, Repository},
    stores::{StoreClient, StoreError},
};

/// What is expected of an attempt that succeeded, beside its snapshot.
const KINDS: [ObjectKind; 4] = [
    ObjectKind::Key,
    ObjectKind::Index,
    ObjectKind::DataPack,
    ObjectKind::TreePack,
];
/// More are looked for in a list first.
const FEW: usize = 500;
/// Objects of a list at a time.
const PAGE: usize = 10_000;
/// Absent objects that are looked for again.
const LOOKED_AT: u32 = 1_000;

/// Looks in the store for all that an attempt was granted, and notes what is not there:
/// to be asked before the attempt's success counts, so that nothing can have been lost
/// meanwhile but what its agent misses, too.
pub async fn look_for_written(
    catalog: &Catalog,
    client: &StoreClient,
    repository: &Repository,
    attempt: AttemptRef,
) -> Result<(), CompareError> {
    let mut granted = Vec::new();
    for kind in KINDS {
        granted.extend(catalog.objects_of_attempt(attempt, kind).await?);
    }
    if granted.len() > FEW {
        for directory in [Directory::Index, Directory::Data] {
            granted = not_listed(client, repository, directory, granted).await?;
        }
    }
    let (_, absent) = look(client, repository, granted).await?;
    Ok(catalog
        .mark_absent(&repository.name, attempt, &absent)
        .await?)
}

/// Looks once more for what was not there when its attempt ended.
pub(super) async fn look_again(
    catalog: &Catalog,
    client: &StoreClient,
    repository: &Repository,
) -> Result<(), CompareError> {
    let name = &repository.name;
    let absent = catalog.absent_objects(name, LOOKED_AT).await?;
    let (there, _) = look(client, repository, absent).await?;
    Ok(catalog.mark_present(name, &there).await?)
}

/// Those that are not in a directory's list, and all that lie elsewhere.
async fn not_listed(
    client: &StoreClient,
    repository: &Repository,
    directory: Directory,
    granted: Vec<ObjectRow>,
) -> Result<Vec<ObjectRow>, StoreError> {
    let lies_here = |row: &ObjectRow| row.name.kind().directory() == Some(directory);
    let (here, mut left): (Vec<_>, Vec<_>) = granted.into_iter().partition(lies_here);
    let here = here.into_iter();
    let mut here: HashMap<ObjectId, ObjectRow> =
        here.filter_map(|row| Some((row.name.id()?, row))).collect();
    let mut after = None;
    while !here.is_empty() {
        let page = client.list_page(&repository.prefix, directory, after, PAGE);
        let page = page.await?;
        for object in &page.objects {
            if here
                .get(&object.id)
                .is_some_and(|row| row.length == object.size)
            {
                here.remove(&object.id);
            }
        }
        after = page.objects.last().map(|object| object.id);
        if !page.more || after.is_none() {
            break;
        }
    }
    left.extend(here.into_values());
    Ok(left)
}

/// Those that are in the store with their length, and the others.
async fn look(
    client: &StoreClient,
    repository: &Repository,
    rows: Vec<ObjectRow>,
) -> Result<(Vec<ObjectName>, Vec<ObjectName>), StoreError> {
    let looks = rows.into_iter().map(|row| async move {
        let size = client.size(&repository.prefix, row.name).await?;
        Ok::<_, StoreError>((row.name, size == Some(row.length)))
    });
    let looked: Vec<_> = stream::iter(looks)
        .buffered(LOOKS_AT_ONCE)
        .try_collect()
        .await?;
    let (there, absent): (Vec<_>, Vec<_>) = looked.into_iter().partition(|(_, there)| *there);
    let names = |all: Vec<(ObjectName, bool)>| all.into_iter().map(|(name, _)| name).collect();
    Ok((names(there), names(absent)))
}
