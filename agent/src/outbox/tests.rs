use strongroom_layout::JobId;
use strongroom_spec::{Failure, FailureCode};

use super::*;

fn report(n: u128) -> Report {
    Report {
        report_id: Uuid::from_u128(n),
        attempt: AttemptRef {
            job: JobId(Uuid::from_u128(n + 1000)),
            attempt: 1,
        },
        outcome: Err(Failure {
            code: FailureCode::Source,
            message: "cannot read /srv".into(),
            retryable: true,
        }),
        warnings: Vec::new(),
        warning_count: 0,
        peak_resident_bytes: 1,
        duration_ms: 2,
    }
}

fn names(state: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(state.join(DIRECTORY))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn reports_survive_the_process_until_acknowledged() {
    let state = tempfile::tempdir().unwrap();
    Outbox::open(state.path()).unwrap().put(&report(1));

    let outbox = Outbox::open(state.path()).unwrap();
    let id = Uuid::from_u128(1);
    assert_eq!(outbox.waiting(), [(id, report(1).attempt)]);
    assert_eq!(outbox.load(id), Some(report(1)));
    outbox.acknowledge(id);
    assert_eq!(outbox.load(id), None);
    assert!(Outbox::open(state.path()).unwrap().is_empty());
    assert!(names(state.path()).is_empty());
}

#[test]
fn an_unknown_acknowledgement_is_harmless() {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    outbox.put(&report(1));
    outbox.acknowledge(Uuid::from_u128(2));
    assert_eq!(outbox.waiting().len(), 1);
}

#[test]
fn damaged_and_misnamed_reports_are_set_aside() {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    outbox.put(&report(1));
    outbox.put(&report(2));
    outbox.put(&report(3));
    let directory = state.path().join(DIRECTORY);
    let file = |n| directory.join(format!("{}.json", Uuid::from_u128(n)));
    let whole = fs::read(file(1)).unwrap();
    fs::write(file(1), &whole[..whole.len() / 2]).unwrap();
    fs::copy(file(3), file(2)).unwrap();
    fs::write(directory.join("left.json.7.tmp"), b"{").unwrap();

    let outbox = Outbox::open(state.path()).unwrap();
    assert_eq!(outbox.waiting(), [(Uuid::from_u128(3), report(3).attempt)]);
    let names = names(state.path());
    assert_eq!(names.iter().filter(|n| n.ends_with(".damaged")).count(), 2);
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_report_damaged_while_it_waits_is_set_aside() {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    outbox.put(&report(1));
    let id = Uuid::from_u128(1);
    fs::write(outbox.path(id), b"\0\0\0").unwrap();
    assert_eq!(outbox.load(id), None);
    assert!(outbox.is_empty());
    assert_eq!(names(state.path()), [format!("{id}.json.damaged")]);
}

#[test]
fn a_report_that_cannot_be_written_is_kept_in_memory() {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    fs::remove_dir(state.path().join(DIRECTORY)).unwrap();
    outbox.put(&report(1));
    assert_eq!(outbox.load(Uuid::from_u128(1)), Some(report(1)));
    outbox.acknowledge(Uuid::from_u128(1));
    assert!(outbox.is_empty());
}

#[test]
fn watchers_hear_of_every_change() {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    let mut changes = outbox.changes();
    outbox.put(&report(1));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    outbox.acknowledge(Uuid::from_u128(1));
    assert!(changes.has_changed().unwrap());
}
