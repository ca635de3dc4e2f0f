//! Finding snapshots.

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_layout::{Directory, ObjectId, ObjectName};

use super::{Repository, RepositoryError};
use crate::format::snapshot::Snapshot;

/// Snapshot files are small: what counts is the round trip.
const IN_FLIGHT: usize = 16;

impl Repository {
    /// All snapshots, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<(ObjectId, Snapshot)>, RepositoryError> {
        let listed = self.store().list(Directory::Snapshots).await?;
        let mut snapshots: Vec<_> = stream::iter(listed)
            .map(|listed| async move {
                Ok::<_, RepositoryError>((listed.id, self.snapshot(listed.id).await?))
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok(snapshots)
    }

    /// One snapshot.
    pub async fn snapshot(&self, id: ObjectId) -> Result<Snapshot, RepositoryError> {
        let object = ObjectName::snapshot(id);
        let json = self.load_unpacked(object).await?;
        Snapshot::decode(&json).map_err(RepositoryError::in_object(object))
    }

    /// The snapshot that `query` stands for: `latest`, an id, or as many of
    /// its first digits as tell it from others.
    pub async fn find_snapshot(
        &self,
        query: &str,
    ) -> Result<(ObjectId, Snapshot), RepositoryError> {
        if query == "latest" {
            return self
                .snapshots()
                .await?
                .pop()
                .ok_or_else(|| no_such_snapshot(query, 0));
        }
        let listed = self.store().list(Directory::Snapshots).await?;
        let fitting: Vec<_> = listed
            .iter()
            .filter(|listed| !query.is_empty() && listed.id.to_string().starts_with(query))
            .collect();
        match fitting[..] {
            [found] => Ok((found.id, self.snapshot(found.id).await?)),
            [] => Err(no_such_snapshot(query, listed.len())),
            _ => Err(RepositoryError::AmbiguousSnapshot {
                query: query.into(),
                count: fitting.len(),
            }),
        }
    }
}

fn no_such_snapshot(query: &str, count: usize) -> RepositoryError {
    RepositoryError::NoSuchSnapshot {
        query: query.into(),
        count,
    }
}
