//! What is known of a store, and whether anything may be signed for it. Pure.

use std::collections::BTreeSet;

use super::{Report, Risk};

/// What is known of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last check that could be made to its end.
    pub report: Option<Report>,
    /// Why the last one could not.
    pub problem: Option<String>,
}

/// Nothing is signed for a store. Its own words name it; [`NotSigned::nameless`] are for
/// whoever has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// It was not there to be checked.
    #[error(
        "nothing is signed for store {store:?} until it was checked, and it could not be: \
         {problem}"
    )]
    Unchecked {
        /// Which.
        store: String,
        /// Why it could not.
        problem: String,
    },
    /// It lets signed requests be changed.
    #[error(
        "nothing is signed for store {store:?}, which accepts forged requests ({}): \
         `strongroom stores check {store}` says more; use another store or version of it, or \
         accept the risk by accept_risks in [store.{store}] of coordinator.toml",
        words(.risks)
    )]
    Unsafe {
        /// Which.
        store: String,
        /// What it lets happen and nobody has accepted.
        risks: Vec<Risk>,
    },
}

impl NotSigned {
    /// For whoever has said which store it is.
    pub fn nameless(&self) -> String {
        match self {
            Self::Unchecked { problem, .. } => format!(
                "nothing is signed for it until it was checked, and it could not be: {problem}"
            ),
            Self::Unsafe { store, risks } => format!(
                "nothing is signed for it, because it accepts forged requests ({}): `strongroom \
                 stores check {store}` says more; use another store or version of it, or accept \
                 the risk by accept_risks in [store.{store}] of coordinator.toml",
                words(risks)
            ),
        }
    }
}

fn words(risks: &[Risk]) -> String {
    let words: Vec<_> = risks.iter().map(|risk| risk.as_str()).collect();
    words.join(", ")
}

impl Standing {
    /// After one more check. One that could not be made to its end takes
    /// nothing of what an earlier one found; what it saw happen counts.
    #[must_use]
    pub fn after(self, outcome: Result<Report, String>) -> Self {
        let report = match outcome {
            Ok(report) => report,
            Err(problem) => {
                return Self {
                    problem: Some(problem),
                    ..self
                };
            }
        };
        let problem = report.untried().map(|finding| {
            format!(
                "the forged request {} could not be tried: {}",
                finding.probe, finding.answer
            )
        });
        let known = self.report.as_ref().map(Report::risks).unwrap_or_default();
        let whole = problem.is_none();
        let worse = !report.risks().is_subset(&known);
        Self {
            report: if whole || worse {
                Some(report)
            } else {
                self.report
            },
            problem,
        }
    }

    /// What the store lets happen and is not `accepted`.
    pub fn open_risks(&self, accepted: &BTreeSet<Risk>) -> Vec<Risk> {
        let found = self.report.as_ref().map(Report::risks).unwrap_or_default();
        found.difference(accepted).copied().collect()
    }

    /// The report on which requests are signed for the store `name`.
    pub fn trusted(&self, name: &str, accepted: &BTreeSet<Risk>) -> Result<&Report, NotSigned> {
        let unchecked = |problem: &Option<String>| NotSigned::Unchecked {
            store: name.to_owned(),
            problem: problem
                .clone()
                .unwrap_or_else(|| "the check has not ended yet; try again".into()),
        };
        let Some(report) = &self.report else {
            return Err(unchecked(&self.problem));
        };
        let risks = self.open_risks(accepted);
        if !risks.is_empty() {
            let store = name.to_owned();
            return Err(NotSigned::Unsafe { store, risks });
        }
        match report.untried() {
            Some(_) => Err(unchecked(&self.problem)),
            None => Ok(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        stores::check::{Finding, Probe, Verdict},
        stores::sign::PutTerms,
    };

    fn report(verdicts: &[(Probe, Verdict)]) -> Report {
        let verdict = |probe| {
            let found = verdicts.iter().find(|(of, _)| *of == probe);
            found.map_or(Verdict::Refused, |(_, verdict)| *verdict)
        };
        Report {
            at: Timestamp::UNIX_EPOCH,
            skew: None,
            terms: PutTerms::default(),
            findings: Probe::ALL
                .into_iter()
                .map(|probe| Finding {
                    probe,
                    verdict: verdict(probe),
                    answer: "403".into(),
                })
                .collect(),
        }
    }

    fn none() -> BTreeSet<Risk> {
        BTreeSet::new()
    }

    #[test]
    fn nothing_is_signed_before_a_check_has_ended() {
        let standing = Standing::default();
        let refused = standing.trusted("primary", &none());
        assert!(matches!(refused, Err(NotSigned::Unchecked { .. })));
        let standing = standing.after(Err("no answer".into()));
        let message = standing.trusted("primary", &none()).unwrap_err();
        assert!(message.to_string().contains("no answer"), "{message}");
        let standing = standing.after(Ok(report(&[])));
        assert!(standing.trusted("primary", &none()).is_ok());
        assert_eq!(standing.problem, None);
    }

    #[test]
    fn each_forgery_that_decides_stops_signing_until_its_risk_is_accepted() {
        for probe in Probe::ALL {
            let accepted = Standing::default().after(Ok(report(&[(probe, Verdict::Accepted)])));
            let ignored = Standing::default().after(Ok(report(&[(probe, Verdict::Ignored)])));
            assert!(ignored.trusted("primary", &none()).is_ok());
            let Some(risk) = probe.risk() else {
                assert!(accepted.trusted("primary", &none()).is_ok(), "{probe}");
                continue;
            };
            let refused = accepted.trusted("primary", &none()).unwrap_err();
            assert!(refused.to_string().contains(risk.as_str()), "{refused}");
            assert!(accepted.trusted("primary", &BTreeSet::from([risk])).is_ok());
            let others = Risk::ALL.into_iter().filter(|other| *other != risk);
            assert!(accepted.trusted("primary", &others.collect()).is_err());
        }
    }

    #[test]
    fn what_could_not_be_tried_is_no_proof_and_takes_none_away() {
        let gap = [(Probe::Acl, Verdict::Untried)];
        let standing = Standing::default().after(Ok(report(&gap)));
        let message = standing.trusted("primary", &none()).unwrap_err();
        assert!(message.to_string().contains("acl"), "{message}");
        // An earlier check stands, and what a later one saw counts.
        let standing = Standing::default()
            .after(Ok(report(&[])))
            .after(Ok(report(&gap)));
        assert!(standing.trusted("primary", &none()).is_ok());
        assert!(standing.problem.is_some());
        let both = [gap[0], (Probe::CopySource, Verdict::Accepted)];
        let standing = standing.after(Ok(report(&both)));
        assert_eq!(standing.open_risks(&none()), [Risk::UnsignedCopySource]);
        // To accept what was seen is not to accept what was not.
        let accepted = BTreeSet::from([Risk::UnsignedCopySource]);
        assert!(standing.trusted("primary", &accepted).is_err());
        // Of what decides nothing neither is asked.
        let told = Standing::default().after(Ok(report(&[(Probe::Tagging, Verdict::Untried)])));
        assert!(told.trusted("primary", &none()).is_ok());
    }
}
