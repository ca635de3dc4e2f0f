//! Plain types for every message between agents and the coordinator.
//!
//! Generated types stop here: `TryFrom<v1::X> for X` checks what came over the
//! wire and says precisely what is wrong ([`InvalidMessage`]); `From<X> for
//! v1::X` cannot fail. Both programs work with the plain types only.
//!
//! What a job is asked and what comes of it is said by `strongroom-spec`; here it only
//! travels, as a word and JSON.
//!
//! To add a message: write its plain type in the module of its subject
//! ([`identity`], [`session`], [`job`], [`grant`], [`wal`]), the two conversions next
//! to it, and add it to the round-trip property test.

mod field;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grant;
pub mod identity;
pub mod job;
pub mod session;
#[cfg(test)]
mod tests;
pub mod wal;

/// The protocol that this version speaks. What is offered and reported has been JSON of
/// `strongroom-spec` since 2; before, it was typed, and the two do not understand each other.
pub const PROTOCOL: u32 = 2;

/// How large a message either side takes: a report with a thousand warnings
/// about long paths and a page of a listing both fit.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A message that does not say what its type requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {message}: {field} {problem}")]
pub struct InvalidMessage {
    /// The message's name in the `.proto` file.
    pub message: &'static str,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}
