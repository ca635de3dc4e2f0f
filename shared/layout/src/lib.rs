//! Names that both programs need: ids and the places of objects in a
//! repository. No keys, no I/O.
//!
//! The coordinator signs requests for objects that it cannot read, and the
//! agent reads objects that it cannot sign for. This crate is the vocabulary
//! in which they speak of them:
//!
//! - [`ObjectId`], [`ObjectKind`], [`ObjectName`]: an object of a restic v2
//!   repository and its path below the repository's prefix,
//! - [`Directory`]: what can be listed,
//! - [`WalName`]: an object of PostgreSQL's write-ahead log beside it, and the
//!   [positions](position) in its name,
//! - [`AgentId`], [`JobId`], [`AttemptRef`]: who and what a request is for.
//!
//! To add a kind of object: add the variant, its directory and path in
//! `object.rs`; the round-trip test there covers it by `ObjectKind::ALL`.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod object;
pub mod position;
mod wal;

pub use ids::{AgentId, AttemptRef, JobId};
pub use object::{Directory, ObjectId, ObjectKind, ObjectName, ParseObjectError};
pub use wal::{SystemId, WalName, WalPart};
