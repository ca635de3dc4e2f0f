//! Every database of a snapshot, one after the other.

use strongroom_postgres::logical::{manifest::Manifest, toc::Entry};
use strongroom_spec::{FailureCode, MAX_WARNINGS, PostgresTarget, RestoreOutcome, RestoreSpec};

use super::{PostgresRestoreError, Refusal};

/// Every server has it, so that it can seldom be made; and as a rule it is
/// empty, so that it need not be.
const EVERYWHERE: &str = "postgres";

/// Restores each with `one`. What fails does not stop the others; it is an
/// error at the end that says which were restored. `entries`: of one's dump;
/// `None`: it has no table of contents.
pub(super) fn each(
    work: &RestoreSpec<PostgresTarget>,
    manifest: &Manifest,
    one: impl Fn(&RestoreSpec<PostgresTarget>) -> Result<RestoreOutcome, PostgresRestoreError>,
    entries: impl Fn(&RestoreSpec<PostgresTarget>) -> Result<Option<Vec<Entry>>, PostgresRestoreError>,
) -> Result<RestoreOutcome, PostgresRestoreError> {
    let holds_nothing =
        |work: &_| matches!(entries(work), Ok(Some(entries)) if hold_nothing(&entries));
    let mut total: Option<RestoreOutcome> = None;
    let (mut restored, mut failed) = (Vec::new(), Vec::new());
    for database in &manifest.databases {
        let name = &database.name;
        let work = RestoreSpec {
            target: PostgresTarget {
                database: name.clone(),
                all_databases: false,
                to: Some(work.target.name().replace('*', name)),
                ..work.clone().target
            },
            ..work.clone()
        };
        match one(&work) {
            Ok(result) => {
                restored.push(name.clone());
                add(&mut total, name, result);
            }
            Err(error) if error.code() == FailureCode::Cancelled => return Err(error),
            Err(PostgresRestoreError::Refused(Refusal::Exists(to)))
                if to == EVERYWHERE && holds_nothing(&work) =>
            {
                let note = "it is there already, and the snapshot's holds nothing: left as it is";
                add(&mut total, name, note_of(note));
            }
            Err(error) => failed.push((name.clone(), Box::new(error))),
        }
    }
    for missing in &manifest.missing {
        let name = &missing.name;
        if missing.part {
            let error = PostgresRestoreError::MissingDatabase {
                snapshot: work.snapshot.short(),
                database: name.clone(),
                cause: missing.cause.clone(),
            };
            failed.push((name.clone(), Box::new(error)));
        } else {
            let note = format!("the snapshot does not hold it: {}", missing.cause);
            add(&mut total, name, note_of(&note));
        }
    }
    match total {
        Some(total) if failed.is_empty() => Ok(total),
        _ => Err(PostgresRestoreError::Some { restored, failed }),
    }
}

/// Whether a dump makes nothing that a new database does not have.
fn hold_nothing(entries: &[Entry]) -> bool {
    let public = |it: &Entry| it.rest == "- public" || it.rest.starts_with("- public ");
    entries.iter().all(|it| match it.kind.as_str() {
        "ENCODING" | "STDSTRINGS" | "SEARCHPATH" | "DATABASE" | "DATABASE PROPERTIES" => true,
        "SCHEMA" => public(it),
        "COMMENT" => it.rest.starts_with("- DATABASE ") || it.rest.starts_with("- SCHEMA public "),
        _ => false,
    })
}

fn note_of(note: &str) -> RestoreOutcome {
    RestoreOutcome {
        notes: vec![note.to_owned()],
        ..RestoreOutcome::default()
    }
}

fn add(total: &mut Option<RestoreOutcome>, name: &str, one: RestoreOutcome) {
    let total = total.get_or_insert_default();
    total.files += one.files;
    total.directories += one.directories;
    total.bytes_written += one.bytes_written;
    total.files_kept += one.files_kept;
    // Of all so far.
    total.bytes_fetched = total.bytes_fetched.max(one.bytes_fetched);
    total.plan_count += one.plan_count;
    total.plan.extend(one.plan);
    total.plan.truncate(MAX_WARNINGS);
    let notes = one.notes.into_iter();
    total
        .notes
        .extend(notes.map(|it| format!("{name:?}: {it}")));
}

#[cfg(test)]
mod tests {
    use strongroom_postgres::logical::{manifest::MissingDatabase, toc};

    use super::*;
    use crate::restore::postgres::plan::tests::{manifest, work};

    fn three() -> Manifest {
        let mut manifest = manifest();
        for name in ["postgres", "shop"] {
            let mut more = manifest.databases[0].clone();
            more.name = name.into();
            more.extensions.clear();
            manifest.databases.push(more);
        }
        manifest
    }

    #[test]
    fn one_that_fails_does_not_stop_the_others() {
        let all = RestoreSpec {
            target: PostgresTarget {
                all_databases: true,
                ..work("*_copy", false).target
            },
            ..work("*_copy", false)
        };
        let error = each(
            &all,
            &three(),
            |work| {
                assert_eq!(work.target.name(), format!("{}_copy", work.target.database));
                match work.target.database.as_str() {
                    "postgres" => Err(Refusal::Standby.into()),
                    _ => Ok(note_of("done")),
                }
            },
            |_| Ok(None),
        );
        let error = error.unwrap_err().to_string();
        for wanted in [
            "1 of 3",
            "\"postgres\": the server is a standby",
            "\"orders\", \"shop\"",
        ] {
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn what_a_partial_snapshot_lacks_is_no_success() {
        let mut partial = three();
        let lost = |name: &str, part| MissingDatabase {
            name: name.into(),
            code: "locked".into(),
            cause: "a lock".into(),
            part,
        };
        partial.missing = vec![lost("tmp", false)];
        let each = |manifest: &Manifest| {
            each(
                &work("*", false),
                manifest,
                |_| Ok(note_of("done")),
                |_| Ok(None),
            )
        };
        let notes = each(&partial).unwrap().notes;
        assert!(
            notes[3].starts_with("\"tmp\": the snapshot does"),
            "{notes:?}"
        );
        partial.missing.push(lost("sales", true));
        let error = each(&partial).unwrap_err().to_string();
        assert!(
            error.contains("\"sales\"") && error.contains("a lock"),
            "{error}"
        );
    }

    #[test]
    fn what_every_server_has_need_not_be_made() {
        let all = work("*", false);
        let is_there = |work: &RestoreSpec<PostgresTarget>| match work.target.name() {
            "postgres" => Err(Refusal::Exists(work.target.name().to_owned()).into()),
            _ => Ok(note_of("done")),
        };
        let listing = "1; 0 0 ENCODING - ENCODING \n2; 1262 5 DATABASE - postgres me\n\
             3; 0 0 COMMENT - DATABASE postgres me\n4; 2615 6 SCHEMA - public me\n\
             5; 0 0 COMMENT - SCHEMA public me\n";
        let with = |more: &str| Ok(Some(toc::parse(&format!("{listing}{more}"))));
        let result = each(&all, &three(), is_there, |_| with(""));
        let notes = result.unwrap().notes;
        assert_eq!(notes.len(), 3);
        assert!(
            notes[1].starts_with("\"postgres\": it is there"),
            "{notes:?}"
        );
        for more in [
            "6; 1255 7 FUNCTION public f() me",
            "6; 1247 7 TYPE public t me",
            "6; 2613 7 BLOB - 7 me",
            "6; 3466 7 EVENT TRIGGER - e me",
            "6; 0 0 ACL - SCHEMA public me",
            "6; 826 7 DEFAULT ACL - DEFAULT PRIVILEGES FOR TABLES me",
        ] {
            let error = each(&all, &three(), is_there, |_| with(more)).unwrap_err();
            assert!(error.to_string().contains("\"postgres\""), "{error}");
        }
        let all_there = |work: &RestoreSpec<PostgresTarget>| {
            Err(Refusal::Exists(work.target.name().to_owned()).into())
        };
        let error = each(&all, &three(), all_there, |_| with(""));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("\"shop\""), "{error}");
    }
}
