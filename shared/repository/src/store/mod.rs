//! Where a repository's objects lie, behind one small trait.
//!
//! Backends: [`fs`] (a directory), [`s3`] (any S3 service, through an
//! [`Authority`] that signs), [`memory`] (tests). Decorators: [`retry`],
//! [`limit`] (concurrency), [`throttle`] (bytes per second), [`record`] (counts
//! calls), [`cache`] (on the local disk). One conformance suite (`conformance.rs`) runs on every backend and
//! every decorator.

pub mod cache;
#[cfg(test)]
mod conformance;
pub mod fs;
pub mod limit;
pub mod memory;
pub mod record;
pub mod retry;
pub mod s3;
pub mod throttle;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use strongroom_layout::{Directory, ObjectId, ObjectName};
use strongroom_s3::SignedRequest;

pub use strongroom_s3::ByteRange;

use crate::format::sha256::sha256;

/// The body of an object on its way to the store: parts are sent back to back
/// and never copied together.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes.
    pub parts: Vec<Bytes>,
    /// Their sum.
    pub length: u64,
    /// SHA-256 of all of them: the object's id, except for `config`.
    pub sha256: ObjectId,
}

impl Body {
    /// Of one piece, which is hashed here.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let sha256 = sha256(&bytes);
        Self::hashed(vec![bytes], sha256)
    }

    /// Of parts whose SHA-256 is already known.
    pub fn hashed(parts: Vec<Bytes>, sha256: ObjectId) -> Self {
        Self {
            length: parts.iter().map(|part| part.len() as u64).sum(),
            parts,
            sha256,
        }
    }
}

/// One object in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: ObjectId,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub written: Written,
}

/// When a listed object was written, by whoever keeps it and not by what it says
/// of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// By the store's clock.
    At(Timestamp),
    /// Not long ago: whoever listed it has judged that, and left out what is too
    /// old to matter.
    Lately,
    /// The store does not say.
    Unknown,
}

/// Objects by name. Names are hashes, so an object never changes once it is
/// there, and writing it again is harmless: it succeeds, whether or not the
/// store replaces what is there. Only `config` is not named by its hash, and
/// writing that again may be refused.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Writes an object; when this returns, it is durable.
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Reads an object, or a range of it. Never returns fewer bytes than
    /// asked for; does not verify the hash (callers do, see `read`).
    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>>;

    /// Lists a directory, in no particular order; one that does not exist is
    /// empty. Files whose names are not
    /// ids are left out.
    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>>;

    /// What a cache before the store has of an object, whole and right, without asking
    /// the store; `None` where there is no cache.
    fn cached(&self, object: ObjectName) -> BoxFuture<'_, Option<Bytes>> {
        let _ = object;
        Box::pin(std::future::ready(None))
    }

    /// Removes an object; it is no error when it is gone. Only locks are ever removed through this crate.
    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Shared handle to a store.
pub type SharedStore = Arc<dyn Store>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}: {kind}")]
pub struct StoreError {
    /// `put`, `get`, `list`, `remove`.
    pub operation: &'static str,
    /// The object's or directory's path.
    pub object: String,
    /// What went wrong.
    #[source]
    pub kind: StoreErrorKind,
}

/// What went wrong with a store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// The object, bucket or directory is not there.
    #[error("not found")]
    NotFound,
    /// The store holds fewer bytes than it should.
    #[error("truncated: {got} of {expected} bytes")]
    Truncated {
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// The store replaces nothing that is there, and there is something.
    #[error("the store has an object of this name already and replaces none")]
    Exists,
    /// No room.
    #[error("no space left in the store")]
    Full,
    /// The store refused, and asking again will not help.
    #[error("{0}")]
    Denied(String),
    /// The coordinator refused to sign (agents only).
    #[error("refused by the coordinator ({reason}): {message}")]
    Refused {
        /// Stable code.
        reason: String,
        /// For people.
        message: String,
    },
    /// Worth another try: time-outs, resets, 5xx, slow-down.
    #[error("{0}")]
    Transient(String),
    /// The operation was given up because its job was.
    #[error("cancelled")]
    Cancelled,
    /// Anything else of the operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl StoreError {
    /// An error of `operation` on `object`.
    pub fn new(
        operation: &'static str,
        object: impl fmt::Display,
        kind: impl Into<StoreErrorKind>,
    ) -> Self {
        Self {
            operation,
            object: object.to_string(),
            kind: kind.into(),
        }
    }

    /// Whether another try may do better.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Transient(_))
    }

    /// Whether the coordinator gives this object to no job of this kind,
    /// whereas it may give others.
    pub fn is_unreadable(&self) -> bool {
        matches!(&self.kind, StoreErrorKind::Refused { reason, .. } if reason == "read-forbidden")
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NotFound)
    }
}

/// What lets an S3 store act. An agent's authority asks the coordinator for a
/// grant per request; the `offline` command's signs with credentials from the
/// environment. The S3 store itself holds neither.
pub trait Authority: fmt::Debug + Send + Sync + 'static {
    /// Signs one request, exactly as it will be sent.
    fn sign(&self, request: S3Request) -> BoxFuture<'_, Result<SignedRequest, StoreError>>;

    /// See [`Store::list`].
    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>>;

    /// See [`Store::remove`].
    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The service does not know something of a request. `true`: what is not
    /// needed will be left out from now on, and it may be signed again.
    fn simplify(&self) -> bool {
        false
    }

    /// Whose clock stands in the signatures, for the error about a skewed one.
    fn signer(&self) -> &'static str {
        "the coordinator, which dates requests ten minutes back"
    }
}

/// A request that an [`Authority`] is to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Request {
    /// Read an object or a range of it.
    Get {
        /// Which.
        object: ObjectName,
        /// All of it, or a part.
        range: Option<ByteRange>,
    },
    /// Ask how long an object is.
    Head {
        /// Which.
        object: ObjectName,
    },
    /// Write an object.
    Put {
        /// Which.
        object: ObjectName,
        /// Bytes of the body.
        length: u64,
        /// SHA-256 of the body.
        sha256: ObjectId,
    },
}
