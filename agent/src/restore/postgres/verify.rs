//! What came of it is compared with what the manifest says: rows must be whole,
//! and of anything else that is missing each is named.

use strongroom_postgres::logical::{manifest::Content, phases, toc::Wanted, verify};
use strongroom_wire::job::{RestoreResult, WarningCode};

use super::{
    NAMED, PostgresRestoreError, Restore,
    fill::Unmade,
    objects::Objects,
    plan::{Plan, Way},
};

impl Restore<'_> {
    /// Compares with the manifest.
    pub(super) fn verify(
        &self,
        plan: &Plan,
        objects: &Objects,
        unmade: &[Unmade<'_>],
        result: &mut RestoreResult,
    ) -> Result<(), PostgresRestoreError> {
        let mut lost: Vec<String> = Vec::new();
        for it in unmade {
            if phases::has_rows(it.entry) || phases::closes(it.entry) {
                lost.push(format!("{}: {}", name(it), it.cause));
            }
        }
        self.compare(plan, objects, unmade, &mut lost, result)?;
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
        for it in unmade {
            self.name_missing(it);
        }
        Ok(())
    }

    fn compare(
        &self,
        plan: &Plan,
        objects: &Objects,
        unmade: &[Unmade<'_>],
        lost: &mut Vec<String>,
        result: &mut RestoreResult,
    ) -> Result<(), PostgresRestoreError> {
        if plan.way == Way::Into && self.manifest.selection.content == Content::Data {
            result.notes.push(
                "rows were added to tables that are there, so their number was not compared".into(),
            );
            return Ok(());
        }
        if self.manifest.foreign {
            return Ok(());
        }
        let whole = matches!(objects, Objects::All) && !self.manifest.selection.is_narrow();
        let blobs = whole.then_some(self.database.large_objects);
        let expected = objects.relations(self.database);
        let verified = self.wait(verify::verify(self.connection, &plan.fill, expected, blobs))?;
        lost.extend(verified.lost);
        if !lost.is_empty() {
            return Ok(());
        }
        for missing in verified.missing {
            let rest = Wanted {
                schema: &missing.schema,
                name: &missing.name,
                owner: &missing.owner,
            }
            .rest();
            // Said with its cause already.
            if !unmade.iter().any(|it| it.entry.rest == rest) {
                let kind = missing.kind;
                let object = format!("{kind:?} {}.{}", missing.schema, missing.name);
                let cause = "the manifest says that it is in the dump, and it is not in the \
                    restored database";
                self.monitor
                    .warn(WarningCode::ObjectNotRestored, object, cause);
            }
        }
        result.files = verified.tables;
        result.notes.push(match verified.tables {
            0 => "the snapshot has no table with rows in this selection: there was nothing to \
                  compare"
                .into(),
            tables => format!(
                "verified: {tables} tables with {} rows are as the manifest says",
                verified.rows
            ),
        });
        Ok(())
    }

    fn name_missing(&self, unmade: &Unmade<'_>) {
        let cause = &unmade.cause;
        let (code, cause) = if is_missing_role(cause) {
            let kept = match unmade.entry.kind.as_str() {
                "POLICY" => "; row security stays on",
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
        self.monitor.warn(code, name(unmade), cause);
    }
}

/// As the dump's table of contents has it.
fn name(unmade: &Unmade<'_>) -> String {
    format!("{} {}", unmade.entry.kind, unmade.entry.rest)
}

fn is_missing_role(cause: &str) -> bool {
    cause.starts_with("role \"") && cause.contains("\" does not exist")
}
