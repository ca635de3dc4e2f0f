//! What a difference means on a tree that is in use.
//!
//! A live tree changes while it is backed up, restored and compared. What
//! changed since the run began cannot be identical and is no fault; it is
//! named as changed, apart from what is.

use std::{
    collections::HashMap, fs, os::unix::ffi::OsStrExt as _, os::unix::fs::MetadataExt as _,
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use strongroom_compare::{Comparison, EscapedPath};

use crate::http::dto::Job;

/// The kernel's file times lag behind the clock by up to a tick or two.
const CLOCK_TICKS: SignedDuration = SignedDuration::from_millis(20);

/// The comparison, understood.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Entries and bytes that were compared.
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// What should have been identical and is not.
    pub(super) wrong: Vec<String>,
    /// What changed since the run began.
    pub(super) changed: Vec<String>,
    /// What the backup had warned of.
    pub(super) warned: Vec<String>,
    /// Differences that are not listed.
    pub(super) unlisted: u64,
}

/// Sorts the differences. `began` is from before the backup.
pub(super) fn judge(comparison: &Comparison, backup: &Job, began: Timestamp) -> Verdict {
    let warnings: HashMap<Vec<u8>, &str> = backup
        .warnings
        .iter()
        .map(|warning| (warning.path.to_vec(), warning.cause.as_str()))
        .collect();
    let listed = comparison.differences.len() as u64;
    let mut verdict = Verdict {
        entries: comparison.entries,
        bytes: comparison.bytes,
        unlisted: comparison.difference_count.saturating_sub(listed),
        ..Verdict::default()
    };
    for difference in &comparison.differences {
        let path = difference.path.as_path();
        if let Some(cause) = warnings.get(path.as_os_str().as_bytes()) {
            let path = EscapedPath(path);
            verdict.warned.push(format!("{path}: {cause}"));
        } else if changed_since(path, began) {
            verdict.changed.push(difference.to_string());
        } else {
            verdict.wrong.push(difference.to_string());
        }
    }
    verdict
}

impl Verdict {
    /// Nothing differs at all.
    pub(super) fn is_identical(&self) -> bool {
        self.wrong.is_empty()
            && self.changed.is_empty()
            && self.warned.is_empty()
            && self.unlisted == 0
    }

    /// Something differs without a reason.
    pub(super) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty() || self.unlisted > 0
    }
}

/// Whether the entry, or its absence, is younger than `began`: changed, made,
/// or removed since.
fn changed_since(path: &Path, began: Timestamp) -> bool {
    let since = began.saturating_sub(CLOCK_TICKS).unwrap_or(Timestamp::MIN);
    let younger = |path: &Path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        let nanoseconds = i32::try_from(metadata.ctime_nsec()).ok()?;
        let changed = Timestamp::new(metadata.ctime(), nanoseconds).ok()?;
        Some(changed >= since)
    };
    younger(path).unwrap_or_else(|| {
        // It is gone: the directory that held it knows when.
        path.ancestors().skip(1).find_map(younger).unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_compare::Difference;
    use strongroom_runtime::clock::{Clock as _, SystemClock};

    use super::*;

    fn job(warnings: &serde_json::Value) -> Job {
        serde_json::from_value(json!({
            "id": "1", "kind": "backup", "state": "succeeded", "revision": "",
            "agent": {"id": "a", "name": "dev"}, "policy": "dev", "dataset": "dev@dev",
            "repository": "local/dev", "snapshot": null, "requested_by": "operator:admin",
            "created_at": "2026-11-21T12:00:00Z", "started_at": null, "finished_at": null,
            "not_before": null, "progress": null, "failure": null, "result": null,
            "duration_ms": null, "peak_resident_bytes": null, "cancel_requested": false,
            "warning_count": 1, "warnings": warnings, "attempts": [], "attempts_allowed": 1,
            "trace_id": null,
        }))
        .unwrap()
    }

    fn comparison(paths: &[&Path]) -> Comparison {
        Comparison {
            entries: 9,
            bytes: 90,
            difference_count: paths.len() as u64,
            differences: paths
                .iter()
                .map(|path| Difference {
                    path: path.to_path_buf(),
                    what: "content differs".into(),
                })
                .collect(),
        }
    }

    #[test]
    fn tells_faults_from_changes_and_warnings() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "x").unwrap();
        let gone = scratch.path().join("gone");
        let now = SystemClock.now();
        let (before, after) = (
            now - SignedDuration::from_mins(1),
            now + SignedDuration::from_mins(1),
        );
        let compared = comparison(&[&file, &gone]);

        let verdict = judge(&compared, &job(&json!([])), before);
        assert_eq!((verdict.changed.len(), verdict.wrong.len()), (2, 0));
        assert!(!verdict.is_identical() && !verdict.is_wrong());

        let verdict = judge(&compared, &job(&json!([])), after);
        assert_eq!((verdict.changed.len(), verdict.wrong.len()), (0, 2));
        assert!(verdict.is_wrong());

        let warnings = json!([{"path": {"text": file, "base64": null}, "cause": "unreadable"}]);
        let verdict = judge(&compared, &job(&warnings), after);
        assert_eq!(verdict.warned.len(), 1);
        assert!(verdict.warned[0].ends_with("file: unreadable"));
    }

    #[test]
    fn what_is_not_listed_is_not_excused() {
        let mut compared = comparison(&[]);
        assert!(judge(&compared, &job(&json!([])), SystemClock.now()).is_identical());
        compared.difference_count = 1;
        assert!(judge(&compared, &job(&json!([])), SystemClock.now()).is_wrong());
    }
}
