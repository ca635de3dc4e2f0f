//! What the coordinator's own client sees of what a forgery wrote.

use jiff::Timestamp;

use super::super::{StoreClient, StoreError, StoreProblem};

/// What a HEAD says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// It carries metadata.
    pub(super) metadata: bool,
    /// Its storage class, where one is said.
    pub(super) storage_class: Option<String>,
    /// It points elsewhere.
    pub(super) redirect: bool,
    /// An object lock holds it.
    pub(super) locked: bool,
}

impl StoreClient {
    /// What the store says of the object at `path`, below the store's prefix;
    /// `None` if it is not there.
    pub(super) async fn facts(&self, path: &str) -> Result<Option<Facts>, StoreError> {
        let (client, bucket) = self.sdk();
        let key = self.config().key(path);
        let head = client.head_object().bucket(bucket).key(&key).send().await;
        let head = match head.map_err(|error| self.failed(&key, &error)) {
            Ok(head) => head,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Facts {
            metadata: head.metadata().is_some_and(|pairs| !pairs.is_empty()),
            storage_class: head.storage_class().map(|class| class.as_str().to_owned()),
            redirect: head.website_redirect_location().is_some(),
            locked: head.object_lock_mode().is_some(),
        }))
    }

    /// The URIs of the groups that the object's access control list names.
    pub(super) async fn readers(&self, path: &str) -> Result<Vec<String>, StoreError> {
        let (client, bucket) = self.sdk();
        let key = self.config().key(path);
        let list = client.get_object_acl().bucket(bucket).key(&key).send();
        let list = list.await.map_err(|error| self.failed(&key, &error))?;
        let uris = list
            .grants()
            .iter()
            .filter_map(|grant| grant.grantee()?.uri());
        Ok(uris.map(str::to_owned).collect())
    }

    /// Whether the object has tags.
    pub(super) async fn is_tagged(&self, path: &str) -> Result<bool, StoreError> {
        let (client, bucket) = self.sdk();
        let key = self.config().key(path);
        let tags = client.get_object_tagging().bucket(bucket).key(&key).send();
        let tags = tags.await.map_err(|error| self.failed(&key, &error))?;
        Ok(!tags.tag_set().is_empty())
    }

    /// What lies below `path`, as paths below the store's prefix, and when it
    /// was written; a thousand at most.
    pub(super) async fn list_below(
        &self,
        path: &str,
    ) -> Result<Vec<(String, Option<Timestamp>)>, StoreError> {
        let (client, bucket) = self.sdk();
        let prefix = self.config().key(path);
        let page = client.list_objects_v2().bucket(bucket).prefix(&prefix);
        let page = page.send().await;
        let page = page.map_err(|error| self.failed(&format!("listing {prefix}"), &error))?;
        let above = self.config().key("").len();
        let found = page.contents().iter().filter_map(|object| {
            let path = object.key()?.get(above..)?.to_owned();
            let modified = object.last_modified();
            Some((
                path,
                modified.and_then(|at| Timestamp::from_second(at.secs()).ok()),
            ))
        });
        Ok(found.collect())
    }

    /// Deletes what a check wrote: only below its `directory`.
    pub(super) async fn delete_below(&self, directory: &str, path: &str) -> Result<(), StoreError> {
        if !path.starts_with(&format!("{directory}/")) {
            let problem = StoreProblem::Setup(format!("{path} is not to be deleted"));
            return Err(StoreError::new(self.config(), problem));
        }
        let (client, bucket) = self.sdk();
        let key = self.config().key(path);
        let deleted = client.delete_object().bucket(bucket).key(&key).send();
        let deleted = deleted.await.map(drop);
        deleted.map_err(|error| self.failed(&format!("deleting {key}"), &error))
    }
}
