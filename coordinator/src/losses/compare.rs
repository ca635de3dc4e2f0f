//! One repository's store against the catalog.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};

use crate::{
    catalog::{Catalog, CatalogError},
    model::{Comparison, LostObject, ObjectRow, Repository},
    stores::{StoreClient, StoreError},
};

/// Objects of the store that are compared at a time, and of the catalog.
const PAGE: usize = 10_000;
const ROWS: u32 = 5_000;
/// Objects that are looked for one by one, at a time.
const LOOKS_AT_ONCE: usize = 16;
/// Losses of a directory that are noted; of more only the number.
const NOTED: usize = 10_000;

/// What ought to be there lies here, and its kinds are these.
const DIRECTORIES: [(Directory, &[ObjectKind]); 4] = [
    (Directory::Keys, &[ObjectKind::Key]),
    (Directory::Snapshots, &[ObjectKind::Snapshot]),
    (Directory::Index, &[ObjectKind::Index]),
    (
        Directory::Data,
        &[ObjectKind::DataPack, ObjectKind::TreePack],
    ),
];

/// A comparison came to no end.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares a repository's store with the catalog, and notes what it has lost.
pub async fn compare(
    catalog: &Catalog,
    client: &StoreClient,
    repository: &Repository,
) -> Result<Comparison, CompareError> {
    let before = catalog.last_comparison(&repository.name).await?;
    let mut search = Search {
        catalog,
        client,
        repository,
        found: Comparison::default(),
        room: NOTED,
    };
    search
        .rows(&[ObjectKind::Config], &Listed::default())
        .await?;
    for (directory, kinds) in DIRECTORIES {
        search.room = NOTED;
        search.directory(directory, kinds).await?;
    }
    search.room = NOTED;
    search.log().await?;
    let found = search.found;
    catalog
        .record_comparison(&repository.name, before.map(|(at, _)| at), &found)
        .await?;
    Ok(found)
}

/// A page of a directory.
#[derive(Default)]
struct Listed {
    sizes: HashMap<ObjectId, u64>,
    /// The path behind which it begins; `None`: the directory's beginning.
    after: Option<String>,
    /// The last path in it; `None`: the directory's end.
    last: Option<String>,
}

struct Search<'a> {
    catalog: &'a Catalog,
    client: &'a StoreClient,
    repository: &'a Repository,
    found: Comparison,
    /// So many more losses of this directory are noted.
    room: usize,
}

impl Search<'_> {
    async fn directory(
        &mut self,
        directory: Directory,
        kinds: &[ObjectKind],
    ) -> Result<(), CompareError> {
        // Of two kinds that lie in one directory, the paths are alike.
        let Some(kind) = kinds.first().copied() else {
            return Ok(());
        };
        let path = |id: ObjectId| ObjectName::Hashed(kind, id).path();
        let mut after = None;
        loop {
            let prefix = &self.repository.prefix;
            let page = self.client.list_page(prefix, directory, after, PAGE);
            let page = page.await?;
            let last = page.objects.last().map(|object| object.id);
            let more = page.more && last.is_some();
            let listed = Listed {
                sizes: page.objects.iter().map(|it| (it.id, it.size)).collect(),
                after: after.map(path),
                last: last.filter(|_| more).map(path),
            };
            self.rows(kinds, &listed).await?;
            if !more {
                return Ok(());
            }
            after = last;
        }
    }

    /// Looks through the rows of a page.
    async fn rows(&mut self, kinds: &[ObjectKind], listed: &Listed) -> Result<(), CompareError> {
        let mut after = listed.after.clone();
        loop {
            let rows = self
                .catalog
                .expected_objects(
                    &self.repository.name,
                    kinds,
                    after.as_deref(),
                    listed.last.as_deref(),
                    ROWS,
                )
                .await?;
            let is_last = rows.len() < ROWS as usize;
            after = rows.last().map(|row| row.name.path());
            let missing: Vec<_> = rows
                .into_iter()
                .filter(|row| {
                    let size = row.name.id().and_then(|id| listed.sizes.get(&id));
                    size != Some(&row.length)
                })
                .collect();
            self.look(missing).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Compares the log, whose names are of several lengths: all of it is listed first,
    /// some 40 bytes a part.
    async fn log(&mut self) -> Result<(), CompareError> {
        let sizes = self.client.log(&self.repository.prefix).await?;
        let mut after: Option<String> = None;
        loop {
            let name = &self.repository.name;
            let rows = self.catalog.expected_wal(name, after.as_deref(), ROWS);
            let rows = rows.await?;
            let is_last = rows.len() < ROWS as usize;
            after = rows.last().map(|row| row.name.path());
            let missing = rows
                .into_iter()
                .filter(|row| {
                    let size = row.name.id().and_then(|id| sizes.get(&id));
                    let is_there = size == Some(&row.length);
                    if is_there {
                        self.found.found_log.extend(row.name.id());
                    }
                    !is_there
                })
                .collect();
            self.look(missing).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Asks the store for each object that was not seen in a list: it may have been
    /// written since, and some stores list late. When very many are missing, the
    /// list is believed.
    async fn look(&mut self, mut missing: Vec<ObjectRow>) -> Result<(), CompareError> {
        let (client, prefix) = (self.client, &self.repository.prefix);
        let counted = missing.split_off(self.room.min(missing.len()));
        let is_log = |row: &ObjectRow| row.name.kind() == ObjectKind::Wal;
        let beyond = counted.iter().filter(|row| is_log(row));
        self.found
            .lost_log
            .extend(beyond.filter_map(|row| row.name.id()));
        let looks = missing.into_iter().map(|row| async move {
            let size = client.size(prefix, row.name).await?;
            Ok::<_, StoreError>((row, size))
        });
        let looked: Vec<_> = stream::iter(looks)
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await?;
        let now = self.catalog.clock().now();
        let lost: Vec<_> = looked
            .into_iter()
            .filter(|(row, size)| *size != Some(row.length))
            .collect();
        self.room -= lost.len();
        let log = lost.iter().filter(|(row, _)| is_log(row));
        self.found
            .lost_log
            .extend(log.filter_map(|(row, _)| row.name.id()));
        self.found.lost_count += (lost.len() + counted.len()) as u64;
        let lost = lost.into_iter();
        self.found.lost.extend(lost.map(|(row, found)| LostObject {
            path: row.name.path(),
            kind: row.name.kind(),
            length: row.length,
            found,
            granted_at: row.granted_at,
            noticed_at: now,
            accepted_at: None,
        }));
        Ok(())
    }
}
