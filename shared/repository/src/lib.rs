//! The engine: writes and reads restic repositories, format version 2.
//!
//! - [`format`]: codecs without I/O: envelopes, keys, config, packs, indexes,
//!   trees, snapshots, locks.
//! - [`store`]: where objects lie, behind one small trait, and decorators.
//! - [`repository`]: the handle: create, open, snapshots, locks.
//! - [`write`]: the pipeline from chunks to a published snapshot.
//! - [`read`]: from a snapshot to verified blobs.
//! - [`check`]: is everything there, whole and consistent.
//!
//! No gRPC, no SQL, no knowledge of jobs. The coordinator never links this
//! crate: it holds the code that decrypts.

pub mod check;
pub mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod read;
pub mod repository;
pub mod store;
pub mod write;

pub use repository::{Repository, RepositoryError};
