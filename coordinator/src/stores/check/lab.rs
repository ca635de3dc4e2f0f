//! A place of our own in the bucket, where forgeries do no harm.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use strongroom_layout::ObjectId;
use strongroom_runtime::checksum;
use strongroom_wire::grant::{Action, Grant};
use uuid::Uuid;

use super::{
    super::{Store, StoreError, StoreProblem},
    forge::{Forger, Said},
};
use crate::stores::sign::{self, PutTerms};

/// Below the store's prefix. No directories below it: on a disk they would stay.
const DIRECTORY: &str = ".strongroom/check";
/// What a check left that was cut off is removed after this time: a check of
/// another coordinator may be at work on what is younger.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// The secret that no forgery may get at.
pub(super) const SECRET: &[u8] = b"strongroom: what a forged copy must not bring to light\n";
/// What the forged requests say that they write.
pub(super) const SIGNED: &[u8] = b"strongroom: what was signed\n";
/// As long as [`SIGNED`], and something else.
pub(super) const FORGED: &[u8] = b"strongroom: what was forged\n";

/// Objects whose names nobody else uses.
pub(super) struct Lab<'a> {
    pub(super) store: &'a Store,
    pub(super) forger: &'a Forger,
    id: Uuid,
    /// What grants are signed on.
    pub(super) terms: PutTerms,
}

impl<'a> Lab<'a> {
    pub(super) fn new(store: &'a Store, forger: &'a Forger) -> Self {
        let id = Uuid::new_v4();
        Self {
            store,
            forger,
            id,
            terms: PutTerms::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.store.client.clock().now()
    }

    /// What all paths of this check begin with, below the store's prefix.
    pub(super) fn place(&self) -> String {
        format!("{DIRECTORY}/{}", self.id)
    }

    /// A path of this check.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}-{name}", self.place())
    }

    /// The object that is there from the beginning and holds [`SECRET`].
    pub(super) fn secret(&self) -> String {
        self.path("secret")
    }

    /// A grant as agents get them.
    pub(super) fn grant(
        &self,
        path: &str,
        body: &[u8],
        only_new: bool,
    ) -> Result<Grant, StoreError> {
        let action = Action::Put {
            length: body.len() as u64,
            sha256: ObjectId(Sha256::digest(body).into()),
        };
        self.signed(path, &action, only_new)
    }

    /// A grant for the first byte of an object.
    pub(super) fn first_byte(&self, path: &str) -> Result<Grant, StoreError> {
        let action = Action::Get {
            range: Some((0, 0)),
        };
        self.signed(path, &action, false)
    }

    fn signed(&self, path: &str, action: &Action, only_new: bool) -> Result<Grant, StoreError> {
        let config = self.store.client.config();
        let terms = PutTerms {
            only_new,
            checksum: self.terms.checksum,
        };
        // As old as agents' are: a store whose clock is ahead refuses those.
        self.store
            .signer
            .sign(&config.key(path), action, terms, sign::dated(self.now()))
            .map_err(|error| StoreError::new(config, StoreProblem::Setup(error.to_string())))
    }

    /// Writes an object by a grant that is not changed.
    async fn write(&self, path: &str, body: &[u8], only_new: bool) -> Result<Said, StoreError> {
        let grant = self.grant(path, body, only_new)?;
        self.forger
            .send(&grant, &[], Bytes::copy_from_slice(body))
            .await
    }

    /// Writes the secret, and removes what cut-off checks left. Gives the terms
    /// on which the store takes a PUT: the most of them.
    pub(super) async fn prepare(&mut self) -> Result<PutTerms, StoreError> {
        // With the words that tell a missing bucket and a wrong key apart.
        self.store.client.probe().await?;
        self.sweep().await?;
        let mut refused = String::new();
        for (only_new, checksum) in [(true, true), (true, false), (false, true), (false, false)] {
            self.terms = PutTerms { only_new, checksum };
            let said = self.write(&self.secret(), SECRET, only_new).await?;
            if said.is_success() || said.status == 412 {
                return Ok(self.terms);
            }
            // Without what the last one had, the answer says less.
            if refused.is_empty() {
                refused = said.to_string();
            }
            // A checksum may displease otherwise; that only what is new is written
            // is given up where it is not known, and nowhere else.
            let about_checksum = checksum && checksum::may_be_unknown(said.status);
            if !said.is_unknown_to_it() && !about_checksum {
                break;
            }
        }
        let problem = StoreProblem::Failed {
            action: format!("writing {} by a grant", self.secret()),
            detail: refused,
            retryable: false,
        };
        Err(StoreError::new(self.store.client.config(), problem))
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let client = &self.store.client;
        let now = self.now();
        for (path, modified) in client.list_below(&format!("{DIRECTORY}/")).await? {
            if modified.is_some_and(|at| now.duration_since(at) > STALE) {
                client.delete_below(DIRECTORY, &path).await?;
            }
        }
        Ok(())
    }

    /// Removes everything of this check.
    pub(super) async fn clean(&self) -> Result<(), StoreError> {
        let client = &self.store.client;
        let own = format!("{}-", self.place());
        for (path, _) in client.list_below(&own).await? {
            client.delete_below(DIRECTORY, &path).await?;
        }
        Ok(())
    }
}
