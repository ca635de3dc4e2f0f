//! Ids of agents and jobs: UUIDs with a type, so that one is never taken for
//! another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_newtype! {
    /// An agent, as its certificate's URI SAN names it:
    /// `strongroom:agent:<uuid>`.
    AgentId
}

uuid_newtype! {
    /// A job in the catalog.
    JobId
}

/// The scheme of the URI SAN in an agent's certificate.
const AGENT_URI_PREFIX: &str = "strongroom:agent:";

impl AgentId {
    /// The URI SAN that stands for this agent in its certificate.
    pub fn to_uri(self) -> String {
        format!("{AGENT_URI_PREFIX}{self}")
    }

    /// The agent that a URI SAN names; `None` for any other URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(AGENT_URI_PREFIX)?.parse().ok()
    }
}

/// One try of a job. The lease belongs to the attempt; once it is lost, the
/// attempt is fenced and its requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The job.
    pub job: JobId,
    /// Counts from 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.job, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_uri_round_trips_and_refuses_others() {
        let id = AgentId(Uuid::from_u128(7));
        assert_eq!(AgentId::from_uri(&id.to_uri()), Some(id));
        assert_eq!(AgentId::from_uri("strongroom:agent:"), None);
        assert_eq!(AgentId::from_uri(&format!("spiffe://{id}")), None);
    }
}
