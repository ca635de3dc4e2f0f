//! Uploads and downloads, as far as the coordinator has a hand in them: who
//! may fetch or send which piece. What is in the pieces only the operator's
//! command line and the agent can read.
//!
//! An operator gets signed requests as agents do: each for one object, exact
//! in verb, name and length, valid for minutes, and only for a transfer that
//! this operator began.

use std::{fmt, sync::Arc};

use strongroom_layout::{AttemptRef, JobId, ObjectId, ObjectName};
use strongroom_spec::UploadSpec;
use strongroom_transfer::{MAX_BYTES, MAX_OBJECT, PublicKey};
use strongroom_wire::grant::{Action, Grant};
use uuid::Uuid;

use crate::{
    catalog::{Catalog, CatalogError},
    jobs::request,
    keys::{KeyEncryptionKey, KeyError, new_password},
    model::{Actor, Agent, Job, NewAudit, NewJob, NewRepository, Repository, StateWord, Transfer},
    stores::sign::SignError,
    stores::{NotSigned, Store, StoreError, Stores},
};

/// Requests that are signed at once.
pub const MAX_GRANTS: usize = 64;

/// Decides about transfers and signs for them.
pub struct Transfers {
    catalog: Catalog,
    stores: Stores,
    key: Arc<KeyEncryptionKey>,
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

/// Why a transfer does not go on.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Somebody else's looks like none at all.
    #[error("there is no transfer {0} of yours")]
    NotYours(Uuid),
    /// It is over, or not so far yet.
    #[error("transfer {id} {problem}")]
    State {
        /// Which.
        id: Uuid,
        /// Why not.
        problem: &'static str,
    },
    /// Not one of its pieces.
    #[error("transfer {id} has no piece {piece}")]
    NoPiece {
        /// Which.
        id: Uuid,
        /// What was asked for.
        piece: ObjectId,
    },
    /// Too much at once or in all.
    #[error("{0}")]
    TooLarge(String),
    /// An agent that never said its key.
    #[error("agent {0} takes no uploads: update it, and let it connect once")]
    NoKey(String),
    /// The configuration has no such store.
    #[error("store {0:?} is not configured: name one of coordinator.toml")]
    NoStore(String),
    /// The catalog failed, or knows no such thing.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The password of a new repository.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nothing could be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nothing is signed for the store.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// Pieces could not be deleted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Transfers {
    /// For transfers in `stores`; `key` seals the passwords of repositories
    /// that an upload is the first to need.
    pub fn new(catalog: Catalog, stores: Stores, key: Arc<KeyEncryptionKey>) -> Self {
        Self {
            catalog,
            stores,
            key,
        }
    }

    /// Makes the job of a download.
    pub async fn begin_download(&self, job: &NewJob) -> Result<Job, TransferError> {
        Ok(self.catalog.create_download(job).await?)
    }

    /// Signs GETs of pieces of a download that is ready.
    pub async fn fetch(
        &self,
        id: Uuid,
        pieces: &[ObjectId],
        by: &Actor,
    ) -> Result<Vec<Grant>, TransferError> {
        let transfer = self.own(id, by).await?;
        let Some(job) = transfer.job.filter(|_| transfer.upload.is_none()) else {
            return Err(TransferError::NotYours(id));
        };
        let job = self.catalog.job(job).await?;
        if job.state.word() != StateWord::Succeeded || transfer.ended_at.is_some() {
            let problem = "is not ready, or has ended: start it anew";
            return Err(TransferError::State { id, problem });
        }
        at_once(pieces.len())?;
        let known = self.catalog.pieces(id).await?;
        for piece in pieces {
            let name = ObjectName::transfer(*piece);
            if !known.iter().any(|row| row.name == name) {
                return Err(TransferError::NoPiece { id, piece: *piece });
            }
        }
        let entry = NewAudit::ok(by.clone(), "download.fetch", &id)
            .detail(serde_json::json!({ "snapshot": job.spec.facts().snapshot, "pieces": pieces.len() }))
            .trace(&job.trace.trace_id);
        self.catalog.audit(entry).await?;
        let repository = self.catalog.repository(&transfer.repository).await?;
        let requests = pieces.iter().map(|id| (*id, Action::Get { range: None }));
        self.sign(&repository, requests).await
    }

    /// Begins an upload to an agent, into its repository in `store`.
    pub async fn begin_upload(
        &self,
        agent: &Agent,
        store: &str,
        work: UploadSpec,
        by: Actor,
    ) -> Result<(Transfer, PublicKey), TransferError> {
        let no_key = || TransferError::NoKey(agent.name.clone());
        let key = agent.facts.transfer_key.ok_or_else(no_key)?;
        if self.stores.get(store).is_none() {
            return Err(TransferError::NoStore(store.to_owned()));
        }
        let name = Repository::name_of(store, &agent.name);
        let sealed_password = self.key.seal(&name, &new_password()?)?;
        let wanted = NewRepository {
            prefix: agent.name.clone(),
            store: store.to_owned(),
            agent: agent.id,
            sealed_password,
            name,
        };
        let repository = self.catalog.ensure_repository(&wanted).await?;
        let transfer = self
            .catalog
            .create_upload(&repository.name, agent.id, work, by)
            .await?;
        Ok((transfer, key))
    }

    /// An upload that this operator has begun, in whatever state.
    pub async fn find_upload(&self, id: Uuid, by: &Actor) -> Result<Transfer, TransferError> {
        let transfer = self.own(id, by).await?;
        if transfer.upload.is_none() {
            return Err(TransferError::NotYours(id));
        }
        Ok(transfer)
    }

    /// Signs PUTs of pieces (with their lengths) of an upload that has begun.
    pub async fn send(
        &self,
        id: Uuid,
        pieces: &[(ObjectId, u64)],
        by: &Actor,
    ) -> Result<Vec<Grant>, TransferError> {
        let transfer = self.upload(id, by).await?;
        at_once(pieces.len())?;
        if let Some((_, length)) = pieces
            .iter()
            .find(|(_, length)| *length > MAX_OBJECT as u64)
        {
            let message = format!("a piece of {length} bytes: {MAX_OBJECT} are the most");
            return Err(TransferError::TooLarge(message));
        }
        let new: u64 = pieces.iter().map(|(_, length)| length).sum();
        let known = self.catalog.pieces(id).await?;
        let sent: u64 = known.iter().map(|row| row.length).sum();
        // What seals the pieces is far below a percent.
        if sent + new > MAX_BYTES + MAX_BYTES / 100 {
            let message = format!("an upload holds at most {MAX_BYTES} bytes: split it");
            return Err(TransferError::TooLarge(message));
        }
        let objects: Vec<_> = pieces
            .iter()
            .map(|(piece, length)| (ObjectName::transfer(*piece), *length))
            .collect();
        let attempt = AttemptRef {
            job: JobId(id),
            attempt: 1,
        };
        self.catalog
            .record_objects(&transfer.repository, attempt, &objects)
            .await?;
        let repository = self.catalog.repository(&transfer.repository).await?;
        let requests = pieces.iter().map(|(sha256, length)| {
            let put = Action::Put {
                length: *length,
                sha256: *sha256,
            };
            (*sha256, put)
        });
        self.sign(&repository, requests).await
    }

    /// All pieces are sent: makes the job that takes them.
    pub async fn finish_upload(
        &self,
        id: Uuid,
        manifest: ObjectId,
        by: Actor,
    ) -> Result<Job, TransferError> {
        let transfer = self.upload(id, &by).await?;
        let known = self.catalog.pieces(id).await?;
        let name = ObjectName::transfer(manifest);
        if !known.iter().any(|row| row.name == name) {
            return Err(TransferError::NoPiece {
                id,
                piece: manifest,
            });
        }
        let Some(work) = transfer.upload else {
            return Err(TransferError::NotYours(id));
        };
        let agent = self.catalog.agent(transfer.agent).await?;
        let repository = self.catalog.repository(&transfer.repository).await?;
        let sent = known.iter().map(|row| row.length).sum();
        let job = request::upload(&repository, &agent, work, sent, by);
        Ok(self.catalog.start_upload(id, manifest, job).await?)
    }

    /// Ends a transfer and deletes its pieces; what still comes, or cannot be
    /// deleted now, the sweeper deletes. An upload whose job is at work goes
    /// on: cancel the job.
    pub async fn end(&self, id: Uuid, by: &Actor) -> Result<u64, TransferError> {
        let transfer = self.own(id, by).await?;
        if transfer.upload.is_some() && transfer.job.is_some() {
            let problem = "is complete: cancel its job instead";
            return Err(TransferError::State { id, problem });
        }
        self.catalog.end_transfer(id, by).await?;
        let repository = self.catalog.repository(&transfer.repository).await?;
        let store = self.store(&repository)?;
        let pieces = self.catalog.pieces(id).await?;
        for piece in &pieces {
            store
                .client
                .delete_transient(&repository.prefix, piece.name)
                .await?;
        }
        Ok(pieces.len() as u64)
    }

    async fn own(&self, id: Uuid, by: &Actor) -> Result<Transfer, TransferError> {
        match self.catalog.transfer(id).await {
            Ok(transfer) if transfer.requested_by == *by => Ok(transfer),
            Ok(_) | Err(CatalogError::NotFound { .. }) => Err(TransferError::NotYours(id)),
            Err(error) => Err(error.into()),
        }
    }

    /// An upload whose pieces still come.
    async fn upload(&self, id: Uuid, by: &Actor) -> Result<Transfer, TransferError> {
        let transfer = self.find_upload(id, by).await?;
        if transfer.job.is_some() || transfer.ended_at.is_some() {
            let problem = "is complete or has ended: begin another";
            return Err(TransferError::State { id, problem });
        }
        Ok(transfer)
    }

    async fn sign(
        &self,
        repository: &Repository,
        requests: impl Iterator<Item = (ObjectId, Action)>,
    ) -> Result<Vec<Grant>, TransferError> {
        let signing = self.store(repository)?.signing().await?;
        let now = self.catalog.clock().now();
        requests
            .map(|(id, action)| {
                let name = ObjectName::transfer(id);
                Ok(signing.sign(&repository.prefix, &name, &action, now)?)
            })
            .collect()
    }

    fn store(&self, repository: &Repository) -> Result<&Store, TransferError> {
        self.stores
            .get(&repository.store)
            .ok_or_else(|| TransferError::NoStore(repository.store.clone()))
    }
}

fn at_once(pieces: usize) -> Result<(), TransferError> {
    if pieces > MAX_GRANTS {
        let message = format!("{pieces} pieces at once: ask for at most {MAX_GRANTS}");
        return Err(TransferError::TooLarge(message));
    }
    Ok(())
}
