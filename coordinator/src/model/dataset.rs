//! The name of a dataset: a policy on one agent.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// `policy@agent`. Neither name holds an `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetName {
    /// The policy's name.
    pub policy: String,
    /// The agent's name.
    pub agent: String,
}

impl DatasetName {
    /// Of a policy on an agent.
    pub fn new(policy: impl Into<String>, agent: impl Into<String>) -> Self {
        Self {
            policy: policy.into(),
            agent: agent.into(),
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.policy, self.agent)
    }
}

impl FromStr for DatasetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('@') {
            Some((policy, agent)) if !policy.is_empty() && !agent.is_empty() => {
                Ok(Self::new(policy, agent))
            }
            _ => Err(format!("{text:?} is not a dataset: write policy@agent")),
        }
    }
}

impl Serialize for DatasetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
