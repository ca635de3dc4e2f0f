//! Grants: which S3 request of an agent is signed, and how.
//!
//! - [`decide`]: the one pure function that says yes or why not. Start the
//!   security review here.
//! - [`budget`]: how much a job may write in all.
//! - `throttle`: how fast an agent may ask.
//! - `headers`: which part of a pack a backup may read.
//! - `index_files`: which index files jobs are shown.
//! - `claims`: whose an object is.
//! - `spending`: what was written, against the budget and against history.
//! - `service`: asks the catalog, decides, records, signs.
//! - `reported`: is a snapshot there that an agent says it has written?
//! - `wal`: what else is said of a write-ahead log.
//! - `refusals`: the audit of what was refused, which nobody can flood.

pub mod budget;
mod claims;
pub mod decide;
mod headers;
mod index_files;
mod refusals;
mod reported;
mod service;
mod spending;
mod throttle;
mod wal;

pub(crate) use claims::LOCK_STALE_AFTER;
pub use reported::BorneOut;
pub use service::{GrantError, Grants};
