//! What a check found.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Probe, Risk};
use crate::stores::sign::PutTerms;

/// What became of a forged request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The store answered with an error, and nothing happened.
    Refused,
    /// The store answered that all is well and did nothing of it.
    Ignored,
    /// It had its effect.
    Accepted,
    /// There was no answer, or its effect could not be seen.
    Untried,
}

impl Verdict {
    /// The word in the API and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Ignored => "ignored",
            Self::Accepted => "accepted",
            Self::Untried => "untried",
        }
    }
}

/// One forged request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub probe: Probe,
    /// What became of it.
    pub verdict: Verdict,
    /// The store's answer: status, code and message.
    pub answer: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it ended.
    pub at: Timestamp,
    /// By how much this host's clock was ahead of the store's.
    pub skew: Option<SignedDuration>,
    /// What the store knows of a PUT's terms: one on others is not written at
    /// all.
    pub terms: PutTerms,
    /// One per [`Probe`], in their order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What the store lets happen.
    pub fn risks(&self) -> BTreeSet<Risk> {
        self.with(Verdict::Accepted)
            .filter_map(|finding| finding.probe.risk())
            .collect()
    }

    /// The first forgery that decides and could not be tried.
    pub fn untried(&self) -> Option<&Finding> {
        self.with(Verdict::Untried)
            .find(|finding| finding.probe.risk().is_some())
    }

    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.verdict == verdict)
    }
}
