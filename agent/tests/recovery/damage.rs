//! Of log that is not one, or is damaged, nothing is taken for a success.

use strongroom_agent::restore::cluster::{ClusterRestoreError, recovery::RecoveryError};
use strongroom_layout::{ObjectId, position::Lsn};
use strongroom_spec::RecoveryTarget;
use strongroom_wire::wal::{StoredWal, UNIT};

use crate::site::Site;

/// A text that is in the log once, within a record.
const MARK: &[u8] = b"a text of which there is only one";

/// With a row of that text, and all of it archived.
fn marked(name: &str) -> (Site, Lsn) {
    let site = Site::new(name);
    site.insert(1);
    let mark = std::str::from_utf8(MARK).expect("UTF-8");
    site.cluster
        .sql(&format!("CREATE TABLE marks AS SELECT '{mark}' AS mark"));
    site.insert(2);
    site.archive(1 << 20);
    let at = site.archive.find(&site.cluster.data(), MARK);
    (site, at)
}

fn holds(part: &StoredWal, at: Lsn) -> bool {
    part.start <= at && at < part.end
}

/// The error that a restore to the end is refused with, and nothing was written.
fn refused(site: &Site, name: &str) -> String {
    let error = site.run(&site.work(name, site.recovery(RecoveryTarget::Latest)));
    let error = error.expect_err("two logs");
    assert!(
        matches!(
            error,
            ClusterRestoreError::Recovery(RecoveryError::TwoLogs { .. })
        ),
        "{error}"
    );
    assert!(!site.target(name).exists());
    error.to_string()
}

#[test]
fn what_lies_in_two_places_must_be_the_same() {
    let (site, at) = marked("recovery-two-logs");
    let (data, genuine) = (site.cluster.data(), site.archive.parts());
    let part = genuine.iter().find(|part| holds(part, at));
    let part = part.expect("a part").clone();

    // Of the same bytes there may be as many as there are.
    let mut parts = genuine.clone();
    let within = site
        .archive
        .part_from(&site.runtime, &data, Lsn(part.start.0 + 8192));
    parts.extend(within);
    site.archive.set_parts(parts);
    let (rows, _) = site.rows_at("twice", RecoveryTarget::Latest);
    assert_eq!(rows, "1 2");

    let forged = site.archive.forged(&site.runtime, &data, &part, at);
    let mut parts = genuine.clone();
    parts.push(forged.clone());
    site.archive.set_parts(parts);
    let said = refused(&site, "forged");
    for named in [part.object().to_string(), forged.object().to_string()] {
        assert!(said.contains(&named), "{named} is not in: {said}");
    }
    assert!(said.contains(&format!("behind {at}")), "{said}");

    // The snapshot holds the first of it, too.
    let near_stop = Lsn(site.base.stop.0 - 7);
    let first = genuine.iter().find(|part| holds(part, near_stop));
    let first = first.expect("the log of the backup").clone();
    let other = site.archive.forged(&site.runtime, &data, &first, near_stop);
    let mut parts = genuine;
    parts.retain(|part| part.id != first.id);
    parts.push(other.clone());
    site.archive.set_parts(parts);
    let said = refused(&site, "other");
    assert!(said.contains(&other.object().to_string()), "{said}");
    assert!(said.contains("of the snapshot"), "{said}");
}

#[test]
fn what_cannot_be_read_is_done_without_where_another_holds_the_same() {
    let (site, at) = marked("recovery-unread");
    let genuine = site.archive.parts();
    let part = genuine.iter().find(|part| holds(part, at));
    let part = part.expect("a part").clone();
    let last = genuine.last().expect("a part").clone();

    // It is longer, and so it is what would be taken.
    let unit = Lsn((part.start.0 / UNIT + 1) * UNIT).min(last.end);
    let longer = site.archive.junk(&site.runtime, &part, unit);
    // And one that is not there at all.
    let gone = StoredWal {
        id: ObjectId([0x77; 32]),
        ..longer.clone()
    };
    let with = |more: &[StoredWal]| {
        site.archive.set_parts([&genuine[..], more].concat());
    };
    with(&[longer.clone(), gone]);
    let (rows, _) = site.rows_at("beside", RecoveryTarget::Latest);
    assert_eq!(rows, "1 2");

    // The end of the log cannot be had when nothing else holds it: less would be
    // taken for all. What lies before can.
    let beyond = Lsn(last.end.0 + 8192);
    let ahead = site.archive.junk(&site.runtime, &last, beyond);
    with(std::slice::from_ref(&ahead));
    let mut recovery = site.recovery(RecoveryTarget::Latest);
    recovery.end = beyond;
    let error = site.run(&site.work("end", recovery)).expect_err("junk");
    let said = error.to_string();
    assert!(said.contains(&ahead.object().to_string()), "{said}");
    assert!(!site.target("end").exists());
    let mut recovery = site.recovery(RecoveryTarget::Lsn(at));
    recovery.end = beyond;
    site.run(&site.work("before", recovery)).expect("a restore");

    // Without another, nothing is.
    let mut parts = genuine.clone();
    parts.retain(|it| it.id != part.id);
    parts.push(longer);
    site.archive.set_parts(parts);
    let work = site.work("alone", site.recovery(RecoveryTarget::Latest));
    site.run(&work).expect_err("a part that nobody can read");
    assert!(!site.target("alone").exists());
}

#[test]
fn a_replay_that_ends_before_the_end_of_the_log_fails() {
    let (site, at) = marked("recovery-short");
    let data = site.cluster.data();
    let mut parts = site.archive.parts();
    for part in &mut parts {
        if holds(part, at) {
            *part = site.archive.forged(&site.runtime, &data, part, at);
        }
    }
    site.archive.set_parts(parts);
    let work = site.work("short", site.recovery(RecoveryTarget::Latest));
    let error = site.run(&work).expect_err("a damaged record");
    assert!(
        matches!(
            error,
            ClusterRestoreError::Recovery(RecoveryError::Short { .. })
        ),
        "{error}"
    );
    // Nobody takes it for what was asked for.
    assert!(!site.target("short").join("postmaster.pid").exists());
    site.run(&work).expect_err("a directory that is not empty");
}
