//! Stores, and what was found out about them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stores {
    /// By name.
    pub stores: Vec<Store>,
    /// `before` of the next page; `null` at the end.
    #[serde(default)]
    pub next_before: Option<String>,
}

/// A store of the configuration, and whether requests are signed for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Store {
    /// What policies call it.
    pub name: String,
    /// URL of the S3 service.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Where this coordinator's objects begin in it; may be empty.
    pub prefix: String,
    /// Whether anything is signed for it.
    pub state: StoreState,
    /// When it was last checked to the end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
    /// Why nothing is signed, or why the last check came to no end.
    pub problem: Option<String>,
    /// The last time in which it was away, as far as this coordinator saw since its
    /// start.
    #[serde(default)]
    pub outage: Option<StoreOutage>,
    /// Forgeries that it accepts, by the names that `accept_risks` takes.
    pub risks: Vec<String>,
    /// `accept_risks` of the configuration.
    pub accepted_risks: Vec<String>,
    /// What became of each forged request of the last check.
    pub findings: Vec<StoreFinding>,
}

/// A time in which a store did not answer, or let the coordinator not in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreOutage {
    /// When that was seen.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it was over; `null`: it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// What was wrong.
    pub problem: String,
}

/// Whether anything is signed for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// It could not be checked yet: nothing is signed.
    Unchecked,
    /// It refuses what is forged.
    Safe,
    /// It does not, and the configuration accepts that.
    RiskAccepted,
    /// It does not: nothing is signed.
    Unsafe,
}

impl fmt::Display for StoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "unchecked",
            Self::Safe => "safe",
            Self::RiskAccepted => "risk accepted",
            Self::Unsafe => "UNSAFE",
        })
    }
}

/// What became of a forged request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreFinding {
    /// What was forged.
    pub probe: String,
    /// The risk that it shows; `null`: it is told, and decides nothing.
    pub risk: Option<String>,
    /// `refused`, `ignored`, `accepted` or `untried`.
    pub verdict: String,
    /// The store's answer.
    pub answer: String,
}
