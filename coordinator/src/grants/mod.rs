//! Grants: which S3 request of an agent is signed, and how.
//!
//! - [`decide`]: the one pure function that says yes or why not. Start the
//!   security review here.
//! - [`sign`]: SigV4 for exactly that request.
//! - `service`: asks the catalog, decides, records, signs.
//! - `wal`: what else is said of a write-ahead log.
//! - `refusals`: the audit of what was refused, which nobody can flood.

pub mod decide;
mod refusals;
mod service;
pub mod sign;
mod wal;

pub use service::{GrantError, Grants};
