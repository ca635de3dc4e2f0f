//! Operators: who may use the REST API.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// A bearer token of an operator. The token itself is shown once, when made;
/// the catalog holds its hash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Of the token.
    pub id: Uuid,
    /// Who uses it; unique among tokens that are not revoked.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Last use, to the minute.
    pub last_used: Option<Timestamp>,
}
