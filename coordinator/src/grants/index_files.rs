//! Which index files jobs are shown.

use strongroom_layout::{AttemptRef, Directory, ObjectId};
use strongroom_wire::grant::ListObjectsResponse;

use super::service::{GrantError, Grants};
use crate::model::Repository;

impl Grants {
    /// A page of a directory, of about `enough` objects. Index files of attempts
    /// that have no snapshot are left out: whoever may write to `index/` could
    /// otherwise make others believe, or fetch, what it likes.
    pub(super) async fn page(
        &self,
        repository: &Repository,
        attempt: AttemptRef,
        directory: Directory,
        mut after: Option<ObjectId>,
        enough: usize,
    ) -> Result<ListObjectsResponse, GrantError> {
        let client = &self.store(repository)?.client;
        loop {
            let page = client.list_page(&repository.prefix, directory, after, enough);
            let mut page = page.await?;
            if directory != Directory::Index {
                return Ok(page);
            }
            after = page.objects.last().map(|last| last.id);
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
