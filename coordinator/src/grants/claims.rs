//! Whose an object is: what the catalog had written, and what lies in the store
//! besides.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream};
use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AttemptRef, Directory, ObjectKind, ObjectName};
use strongroom_wire::grant::{Action, ListObjectsResponse, RequestToSign};

use super::{GrantError, Grants};
use crate::{
    catalog::{AttemptState, CatalogError},
    model::{ObjectRow, Repository},
};

/// Objects that are looked for in the store at a time.
pub(super) const LOOKS_AT_ONCE: usize = 16;
/// restic refreshes its locks every five minutes, and takes one for abandoned
/// that was not refreshed for so long.
pub(crate) const LOCK_STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// What the catalog knows of objects that are asked for, by path.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The kinds under which they were recorded.
    pub(super) kinds: HashMap<String, ObjectKind>,
    /// The lengths with which they were recorded and paid for, bytes.
    lengths: HashMap<String, u64>,
    /// What only its writer may touch, and that is another.
    others: HashSet<String>,
}

impl Known {
    /// Which of the requests would write with another length what was granted
    /// before, in an earlier call or in this one. A name that is the hash of
    /// what is written has one length: another is a lie about what it costs.
    pub(super) fn grown(&self, requests: &[RequestToSign]) -> Vec<usize> {
        let mut lengths: HashMap<String, u64> = HashMap::new();
        let mut grown = Vec::new();
        for (index, wanted) in requests.iter().enumerate() {
            let Action::Put { length, .. } = wanted.action else {
                continue;
            };
            if wanted.object.id().is_none() {
                continue;
            }
            let path = wanted.object.path();
            let first = match self.lengths.get(&path) {
                Some(first) => *first,
                None => *lengths.entry(path).or_insert(length),
            };
            if first != length {
                grown.push(index);
            }
        }
        grown
    }

    /// Which of the requests would write what is another's.
    pub(super) fn claimed(&self, requests: &[RequestToSign]) -> impl Iterator<Item = usize> {
        (0..).zip(requests).filter_map(|(index, wanted)| {
            let writes = matches!(wanted.action, Action::Put { .. });
            (writes && self.others.contains(&wanted.object.path())).then_some(index)
        })
    }
}

/// Whether an attempt may treat an object as what it is known to be. Locks and
/// pieces of transfers, which can be removed again, are their writers' alone.
fn is_own(row: &ObjectRow, state: &AttemptState) -> bool {
    match row.name.kind() {
        ObjectKind::Lock => row.attempt == state.attempt,
        ObjectKind::Transfer => {
            row.attempt.job == state.attempt.job || Some(row.attempt.job.0) == state.upload
        }
        _ => true,
    }
}

impl Grants {
    /// The locks that stand in an agent's way: those of foreign `restic` commands
    /// that are still refreshed, by the store's clock. Locks that our own attempts
    /// wrote are there for such commands alone. Between attempts it is the
    /// coordinator that decides who works beside whom, so that nobody can shut
    /// others out by what a lock says.
    pub(super) async fn locks_that_count(
        &self,
        repository: &Repository,
    ) -> Result<ListObjectsResponse, GrantError> {
        // The store first: what is written meanwhile is then known.
        let locks = self
            .store(repository)?
            .client
            .locks(&repository.prefix)
            .await?;
        let ours = self.catalog().locks_of(&repository.name).await?;
        let since = self.now().saturating_sub(LOCK_STALE_AFTER);
        let since = since.unwrap_or(Timestamp::MIN);
        let objects = locks
            .into_iter()
            .filter(|(lock, written)| *written >= since && !ours.contains(&lock.id))
            .map(|(lock, _)| lock)
            .collect();
        let more = false;
        Ok(ListObjectsResponse { objects, more })
    }

    /// The first of each pair whose object is in the store.
    pub(super) async fn stored<T>(
        &self,
        repository: &Repository,
        objects: Vec<(T, ObjectName)>,
    ) -> Result<Vec<T>, GrantError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let client = &self.store(repository)?.client;
        let looked = objects.into_iter().map(|(tag, object)| async move {
            let size = client.size(&repository.prefix, object).await?;
            Ok::<_, GrantError>(size.map(|_| tag))
        });
        let looked = stream::iter(looked).buffered(LOOKS_AT_ONCE);
        looked
            .try_filter_map(|tag| ready(Ok(tag)))
            .try_collect()
            .await
    }

    /// Whether the store holds a snapshot file that this attempt was not granted.
    /// All else is decided when it is noted.
    pub(super) async fn is_there_already(
        &self,
        repository: &Repository,
        attempt: AttemptRef,
        snapshot: ObjectName,
    ) -> Result<bool, GrantError> {
        let own = self
            .catalog()
            .objects_of_attempt(attempt, ObjectKind::Snapshot);
        // The answer was lost, and it asks again.
        if own.await?.iter().any(|row| row.name == snapshot) {
            return Ok(false);
        }
        let there = self.stored(repository, vec![((), snapshot)]).await?;
        Ok(!there.is_empty())
    }

    /// What the catalog knows of the objects of the requests.
    pub(super) async fn known(
        &self,
        repository: &Repository,
        state: &AttemptState,
        requests: &[RequestToSign],
    ) -> Result<Known, CatalogError> {
        // Of what is read, only packs can be taken for something else, and only
        // pieces of transfers be somebody else's.
        let names: Vec<_> = requests
            .iter()
            .filter(|wanted| {
                let directory = wanted.object.kind().directory();
                matches!(wanted.action, Action::Put { .. })
                    || matches!(directory, Some(Directory::Data | Directory::Transfers))
            })
            .map(|wanted| wanted.object)
            .collect();
        if names.is_empty() {
            return Ok(Known::default());
        }
        let rows = self
            .catalog()
            .known_objects(&repository.name, &names)
            .await?;
        let mut known = Known::default();
        for row in rows {
            let path = row.name.path();
            if is_own(&row, state) {
                known.lengths.insert(path.clone(), row.length);
                known.kinds.insert(path, row.name.kind());
            } else {
                known.others.insert(path);
            }
        }
        Ok(known)
    }
}
