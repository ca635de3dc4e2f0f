//! What the coordinator says of an archive.

use serde_json::Value;
use strongroom_tests::operator::{eventually, only, text};

use crate::{
    postgres_physical::{load::position, site::Site},
    world::POLICY,
};

impl Site {
    /// Archives the cluster's log, with more keys in the policy's `wal`.
    pub(crate) fn archive(&self, wal: &str) {
        self.apply(&format!("limits = {{ attempts = 1 }}\nwal = {{ {wal} }}"));
    }

    /// What can be recovered of the dataset.
    pub(crate) fn recovery(&self) -> Value {
        only(&self.world.operator().json(&["status"])["recovery"])
    }

    /// What is said of the archiving.
    pub(crate) fn archiving(&self) -> Value {
        let status = self.world.operator().json(&["status"]);
        status["recovery"][0]["archiving"].clone()
    }

    /// Waits until the log is archived up to where it is now.
    pub(crate) fn wait_for_archive(&self) {
        let now = self.cluster.sql("SELECT pg_current_wal_flush_lsn()");
        self.wait_for_archive_of(&now);
    }

    /// Waits until the log is archived up to a position.
    pub(crate) fn wait_for_archive_of(&self, lsn: &str) {
        let wanted = position(lsn);
        eventually(&format!("the archive of {lsn}"), || {
            let archiving = self.archiving();
            let archived = position(archiving["lsn"].as_str()?);
            (archived >= wanted).then_some(())
        });
    }

    /// Ends a segment of the log, with something in it.
    pub(crate) fn fill_segment(&self) {
        self.cluster
            .sql("CREATE TABLE filler AS SELECT 1; SELECT pg_switch_wal()");
        self.cluster.sql("DROP TABLE filler");
    }

    /// What can be recovered, once there is a window behind a gap that holds
    /// this moment.
    pub(crate) fn recovery_behind_a_gap(&self, at: &str) -> Value {
        let recovery = eventually("a window behind the gap", || {
            let recovery = self.recovery();
            let windows = recovery["windows"].as_array()?;
            let newest = windows.iter().find(|window| window["open"] == true)?;
            (windows.len() == 2 && text(&newest["to"]).as_str() > at).then_some(recovery)
        });
        assert_eq!(
            recovery["gaps"].as_array().map(Vec::len),
            Some(1),
            "{recovery:#}"
        );
        let shown = self.world.operator().run(["status"]).stdout;
        assert!(shown.contains("GAP from"), "{shown}");
        recovery
    }

    /// The job that archives, once it is at work.
    pub(crate) fn archiving_job(&self) -> String {
        eventually("a job that archives", || {
            let jobs = ["jobs", "list", "--kind", "wal", "--policy", POLICY];
            let jobs = self.world.operator().json(&jobs);
            let job = &jobs["jobs"][0];
            (job["state"] == "running").then(|| text(&job["id"]))
        })
    }
}
