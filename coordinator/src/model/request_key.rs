//! Requests that may be sent again without being done again.

use jiff::Timestamp;

use super::Actor;

/// A request that was sent under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Who sent it.
    pub sender: Actor,
    /// As the sender chose it.
    pub key: String,
    /// SHA-256 of all that makes it this request and no other, hex.
    pub hash: String,
}

/// What is known of a keyed request when it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing: it is under way from now on.
    New,
    /// It is under way since then, or was when a coordinator died.
    UnderWay(Timestamp),
    /// It was answered.
    Answered(KeptAnswer),
    /// It broke in the middle: nobody knows whether it has happened.
    Unknown(Timestamp),
    /// The key was another request's.
    Reused,
}

/// A success that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// Where what was made or started is.
    pub location: Option<String>,
    /// What it said.
    pub body: KeptBody,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptBody {
    /// JSON, never empty.
    Json(String),
    /// It held a secret, and was not kept.
    Secret,
    /// It was too long to be kept.
    TooLong,
}
