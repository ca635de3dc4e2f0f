//! What came of it is compared with what the manifest says: rows must be whole,
//! and of anything else that is missing each is named.

use strongroom_postgres::{
    connection::Session,
    logical::{
        manifest::Relation,
        toc::Wanted,
        verify::{self, Verified, Verify},
    },
    name,
};
use strongroom_spec::{RestoreOutcome, VerifyRows, WarningCode};

use super::{
    NAMED, PostgresRestoreError, Restore, into::Before, objects::Objects, plan::Plan, policies,
    unmade::Unmade,
};

impl Restore<'_> {
    /// Compares a database that was made with the manifest.
    pub(super) fn verify(
        &self,
        plan: &Plan,
        objects: &Objects,
        unmade: &[Unmade],
        result: &mut RestoreOutcome,
    ) -> Result<(), PostgresRestoreError> {
        let verified = if self.manifest.foreign {
            None
        } else {
            let whole = matches!(objects, Objects::All) && !self.manifest.selection.is_narrow();
            let how = Verify {
                large_objects: whole.then_some(self.database.large_objects),
                jobs: plan.jobs as usize,
                ..self.how()
            };
            let expected = objects.relations(self.database);
            let verified = verify::verify(self.connection, &plan.fill, how, expected);
            Some(self.wait(verified)?)
        };
        self.judge(verified, unmade, result)
    }

    /// Compares what came into a database that is there. `before`: the rows of
    /// tables that were there before.
    pub(super) fn verify_within<'r>(
        &self,
        session: &Session,
        expected: &(impl Iterator<Item = &'r Relation> + Clone),
        before: Option<&Before>,
        unmade: &[Unmade],
        result: &mut RestoreOutcome,
    ) -> Result<(), PostgresRestoreError> {
        if self.manifest.foreign {
            return self.judge(None, unmade, result);
        }
        let had = |it: &Relation| {
            let key = (it.schema.clone(), it.name.clone());
            before.and_then(|before| before.get(&key).copied())
        };
        // With rows from before there is no checksum of all.
        let fresh = expected.clone().filter(|it| had(it).unwrap_or(0) == 0);
        let mut verified = self.wait(verify::verify_within(session, self.how(), fresh))?;
        let grown = || expected.clone().filter(|it| had(it).unwrap_or(0) > 0);
        let after = self.wait(verify::rows(session, grown()))?;
        for relation in grown() {
            let key = (relation.schema.clone(), relation.name.clone());
            let (Some(wanted), Some(rows)) = (relation.rows, after.get(&key)) else {
                continue;
            };
            let came = rows.saturating_sub(had(relation).unwrap_or(0));
            verified.tables += 1;
            verified.rows += came;
            if came != wanted {
                let (schema, name) = key;
                verified.lost.push(format!(
                    "{came} rows came into {schema}.{name} instead of {wanted}"
                ));
            }
        }
        self.judge(Some(verified), unmade, result)
    }

    fn how(&self) -> Verify<'_> {
        Verify {
            encoding: &self.database.locale.encoding,
            extensions: &self.database.extensions,
            large_objects: None,
            content: self.work.target.verify == VerifyRows::Content,
            jobs: 1,
        }
    }

    /// `verified`: `None` if nothing is known of what there was.
    fn judge(
        &self,
        verified: Option<Verified>,
        unmade: &[Unmade],
        result: &mut RestoreOutcome,
    ) -> Result<(), PostgresRestoreError> {
        let lost = unmade.iter().filter(|it| it.has_rows() || it.closes());
        let mut lost: Vec<_> = lost
            .map(|it| format!("{}: {}", it.name(), it.cause))
            .collect();
        let missing = verified.as_ref().map(|it| it.missing.clone());
        if let Some(verified) = verified {
            lost.splice(0..0, verified.lost);
            result.files = verified.tables;
            result.notes.push(match verified.tables {
                0 => "the snapshot has no table with rows in this selection: there was nothing to \
                      compare"
                    .into(),
                tables => format!(
                    "verified: {tables} tables with {} rows are as the manifest says{}",
                    verified.rows,
                    self.how_far(tables, verified.summed)
                ),
            });
        }
        if !lost.is_empty() {
            let more = match lost.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            lost.truncate(NAMED);
            return Err(PostgresRestoreError::Differs {
                differences: lost,
                more,
            });
        }
        for relation in missing.into_iter().flatten() {
            self.name_relation(&relation, unmade);
        }
        Ok(())
    }

    /// What was compared besides the number of rows.
    fn how_far(&self, tables: u64, summed: u64) -> String {
        if self.work.target.verify == VerifyRows::Counts {
            return ", counts only, as was asked for".into();
        }
        match tables - summed {
            0 => ", their content included".into(),
            _ if summed == 0 => ", counts only: there are no checksums to compare".into(),
            others => format!(
                ", their content included, but for {others} of which only rows were counted: \
                 there is no checksum of them, or an extension of another version writes their \
                 values"
            ),
        }
    }

    fn name_relation(&self, relation: &Relation, unmade: &[Unmade]) {
        let Relation {
            schema,
            name,
            owner,
            kind,
            ..
        } = relation;
        let rest = Wanted {
            schema,
            name,
            owner,
        }
        .rest();
        // Said with its cause.
        if unmade.iter().any(|it| it.rest == rest) {
            return;
        }
        let object = format!("{}: {kind:?} {schema}.{name}", self.work.target.name());
        let cause = "the manifest says that it is in the dump, and it is not in the restored \
            database";
        self.warn(WarningCode::ObjectNotRestored, &object, cause);
    }

    /// With names as they are shown.
    pub(super) fn warn(&self, code: WarningCode, object: &str, cause: &str) {
        let [object, cause] = [object, cause].map(|it| name::shown(it).into_owned());
        self.monitor.warn(code, object, cause);
    }

    pub(super) fn name_missing(&self, unmade: &Unmade) {
        let cause = &unmade.cause;
        let (code, cause) = if unmade.lacks_role() {
            let kept = match &unmade.policy {
                Some(policy) if policies::stand_in(&policy.statement).is_some() => {
                    "; it restricts, so a policy that refuses every row stands in its place"
                }
                _ if unmade.is_policy() => "; row security stays on",
                _ => "",
            };
            let cause = format!(
                "left out, because {cause}{kept}: create the role (restore with --roles does), \
                 then make it by hand or restore again"
            );
            (WarningCode::RoleMissing, cause)
        } else {
            (WarningCode::ObjectNotRestored, format!("left out: {cause}"))
        };
        let object = format!("{}: {}", self.work.target.name(), unmade.name());
        self.warn(code, &object, &cause);
    }
}
