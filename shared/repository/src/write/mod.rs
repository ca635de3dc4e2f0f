//! The pipeline from bytes to durable packs and indexes.
//!
//! A source brings its work to a [`Writer`] as items of any type; a crew of
//! threads carries them out ([`Writer::run`]). Whoever has an item reads,
//! hashes, compresses and seals small files whole, with no hand-over. A large
//! stream is cut by the thread that reads it, while all threads hash, compress
//! and seal its chunks. Sealed blobs go to a few open packs; full packs are
//! uploaded from memory, several at a time; an index file follows when enough
//! packs are durable. Memory is bounded by the number of pack buffers and the
//! bytes of queued chunks: whoever needs one waits, back to the reader.
//!
//! - [`chunker`]: where a stream is cut,
//! - [`membership`]: which blobs need no storing,
//! - [`known`], [`parent`]: what the repository holds before,
//! - [`plan`]: how a memory budget becomes pack sizes and buffers,
//! - `pack`, `buffers`, `uploads`: from sealed blobs to durable packs,
//! - `flow`: how many are on their way at once,
//! - `claims`: what of it index files say truly,
//! - `journal`: what an interrupted run stored is found again,
//! - `work_queue`, [`worker`], [`stream`]: the threads and what they do,
//! - [`writer`]: all of it together; the first error ends everything.

mod buffers;
pub mod chunker;
mod claims;
mod compression_level;
mod error;
mod flow;
mod halt;
mod journal;
pub mod known;
pub mod losses;
pub mod membership;
mod pack;
pub mod parent;
pub mod plan;
pub mod stream;
mod uploads;
mod work_queue;
pub mod worker;
pub mod writer;

pub use error::{StreamError, WriteError};
pub use halt::Halted;
pub use journal::JournalDirectory;
pub use known::Known;
pub use losses::LostPack;
pub use parent::ParentTrees;
pub use stream::Content;
pub use worker::Worker;
pub use writer::{WriteOptions, Writer, Written};

#[cfg(test)]
mod tests;
