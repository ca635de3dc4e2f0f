//! Of log that is not one, or is damaged, nothing is taken for a success.

use strongroom_agent::restore::cluster::{ClusterRestoreError, recovery::RecoveryError};
use strongroom_layout::position::Lsn;
use strongroom_wire::{job::RecoveryTarget, wal::StoredWal};

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
