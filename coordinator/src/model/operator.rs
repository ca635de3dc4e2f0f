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
    /// When it ends by itself; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Last use, to the minute.
    pub last_used: Option<Timestamp>,
}

impl Operator {
    /// Whether the token is good.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}
