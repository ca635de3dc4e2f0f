//! The write-ahead log as a stream: what it says of transactions.
//!
//! Bytes come in, from a server or from segments; facts go out:
//!
//! - [`scanner`]: commits, aborts, restore points and new tablespaces, and where
//!   records end,
//! - [`tablespace`]: what replay makes of a new tablespace, and how it makes
//!   something else of it,
//! - [`history`]: which timeline counts up to where.
//!
//! A stream is of one timeline. Where the next begins, a segment is shared:
//! the new timeline's copy of it holds all that the old one had up to the
//! switch. So whoever follows a server to its next timeline takes that segment
//! from its start, and begins a new [`Scanner`] there.
//!
//! All layouts are those of little-endian 64-bit servers, versions 13 to 18.

mod edit;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod history;
mod open;
mod page;
mod record;
pub mod scanner;
pub mod tablespace;

#[cfg(test)]
mod tests;

pub use edit::{Edit, Edits, Unexpected};
pub use history::{History, HistoryEntry, InvalidHistory, Span};
pub use page::{DEFAULT_BLOCK_SIZE, Fault, InvalidWal, Layout, block_size};
pub use record::Found;
pub use scanner::Scanner;
pub use tablespace::{Replayed, TablespaceCreation};

/// PostgreSQL counts time from 2000-01-01: this many microseconds after 1970.
pub(crate) const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A server's time in microseconds since 1970.
pub(crate) fn unix_micros(timestamp: i64) -> i64 {
    // What comes from outside may be anything.
    timestamp.saturating_add(POSTGRES_EPOCH)
}
