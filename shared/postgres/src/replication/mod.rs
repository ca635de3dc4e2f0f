//! Streaming replication: the write-ahead log as the server writes it.
//!
//! Source: the PostgreSQL manual, 55.4 (Streaming Replication Protocol) and
//! 55.7 (Message Formats), and what `walsender.c` makes of them.
//!
//! - [`session`]: a connection for replication, and what it says of the server,
//! - [`stream`]: the log, piece by piece, and what we confirm of it,
//! - [`slot`]: what makes the server keep the log until we have it,
//! - [`facts`]: what matters of a server's settings.
//!
//! How to follow a server: make a slot ([`slot::create`]), open a session,
//! stream from the start of the segment that the slot keeps, and confirm what
//! is safe. At the end of a timeline stream the next one, from the start of
//! the segment that holds the switch. After an error that
//! [`ReplicationError::is_transient`], open a session anew and stream from
//! what was safe.

mod channel;
mod classify;
mod dial;
pub mod error;
mod error_response;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod login;
pub mod session;
pub mod slot;
pub mod stream;
mod update;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use error::ReplicationError;
pub use facts::{ServerFacts, server_facts};
pub use session::{HistoryFile, Identity, ReplicationSession};
pub use slot::{SlotState, WalStatus};
pub use stream::Event;
