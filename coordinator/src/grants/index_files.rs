//! Which index files jobs are shown.
//!
//! One that must be there and is not in the store's list is listed with no length: so
//! that whoever reads knows that something is missing, looks for what it listed in the
//! headers of packs. Whoever writes is not told: what nobody lists is stored again, and a
//! foreign `restic prune` takes index files, too.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Bound,
};

use strongroom_layout::{AttemptRef, Directory, ObjectId, ObjectName};
use strongroom_wire::grant::{ListObjectsResponse, ListedObject};

use super::{
    decide::Scope,
    service::{GrantError, Grants},
};
use crate::model::Repository;

impl Grants {
    /// A page of a directory, of about `enough` objects. Index files of attempts
    /// that have no snapshot are left out: whoever may write to `index/` could
    /// otherwise make others believe, or fetch, what it likes.
    pub(super) async fn page(
        &self,
        repository: &Repository,
        attempt: AttemptRef,
        scope: Scope,
        directory: Directory,
        mut after: Option<ObjectId>,
        enough: usize,
    ) -> Result<ListObjectsResponse, GrantError> {
        let client = &self.store(repository)?.client;
        let expected = match directory {
            // Before the store is asked: what is written meanwhile is no loss.
            Directory::Index if scope.only_reads() => {
                self.catalog().expected_indexes(&repository.name).await?
            }
            _ => BTreeSet::new(),
        };
        loop {
            let page = client.list_page(&repository.prefix, directory, after, enough);
            let mut page = page.await?;
            if directory != Directory::Index {
                return Ok(page);
            }
            let last = page.objects.last().map(|last| last.id);
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let end = match last {
                Some(last) if page.more => Bound::Included(last),
                _ => Bound::Unbounded,
            };
            let seen: HashSet<ObjectId> = page.objects.iter().map(|it| it.id).collect();
            let unseen: Vec<_> = expected
                .range((begin, end))
                .filter(|id| !seen.contains(*id))
                .map(|id| (*id, ObjectName::index(*id)))
                .collect();
            // Some stores list late.
            let there: HashSet<ObjectId> = self
                .stored(repository, unseen.clone())
                .await?
                .into_iter()
                .collect();
            let lost = unseen.iter().filter(|(id, _)| !there.contains(id));
            page.objects
                .extend(lost.map(|(id, _)| ListedObject { id: *id, size: 0 }));
            page.objects.sort_unstable_by_key(|object| object.id);
            after = last;
            // Behind the store's answer: what is in it was recorded before it
            // was written.
            let withheld = self.catalog().withheld_indexes(&repository.name, attempt);
            let withheld = withheld.await?;
            page.objects.retain(|file| !withheld.contains(&file.id));
            // Whoever asks goes on behind the last object, so there must be one.
            if !page.more || !page.objects.is_empty() {
                return Ok(page);
            }
        }
    }
}
