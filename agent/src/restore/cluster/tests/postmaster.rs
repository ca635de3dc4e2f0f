//! Pid files that lie.

use std::fs;

use strongroom_tests::cluster::{as_postgres, server_programs, succeed};

use super::site::{Restored, Site, stop};
use crate::restore::cluster::{
    owner::Owner,
    recovery::directory::{Stage, State, WalDirectory},
};

#[test]
fn a_resumed_recovery_does_not_stop_the_server_that_a_stale_pid_file_names() {
    let site = Site::new("cluster-pid", "");
    let mut work = site.work(site.store());
    work.recovery = Some(site.recovery());
    let first = site.server(&site.run(&work).unwrap());
    let production = fs::read(site.cluster.data().join("postmaster.pid")).unwrap();
    for boot in [super::super::recovery::directory::boot(), "another".into()] {
        stop(&site.data());
        // As if it had been interrupted, and the host given its number away.
        let target = site.target();
        let owner = Owner::of_host("postgres", &target).unwrap();
        let directory = WalDirectory::create(&target, Some(&owner)).unwrap();
        let state = State {
            snapshot: work.snapshot,
            target: site.recovery().target,
            timeline: site.manifest.timeline,
            stage: Stage::Replay,
            made: std::collections::BTreeMap::new(),
            choices: None,
            boot,
        };
        directory.set_state(&state).unwrap();
        let pid_file = site.data().join("postmaster.pid");
        fs::write(&pid_file, &production).unwrap();
        let postgres = owner.uid;
        std::os::unix::fs::chown(&pid_file, Some(postgres), Some(owner.gid)).unwrap();

        let again = site.server(&site.run(&work).unwrap());
        assert_eq!(again.sql("SELECT count(*) FROM ledger"), "1000");
        assert_eq!(site.cluster.sql("SELECT count(*) FROM ledger"), "1000");
        std::mem::forget(again);
    }
    drop(first);
}

#[test]
fn a_server_that_is_started_by_hand_is_the_restored_one() {
    let scratch = strongroom_tests::scratch::Scratch::new("cluster-by-hand-included");
    let included = scratch.join("included.conf");
    fs::write(&included, "").unwrap();
    let settings = format!("include '{}'", included.display());
    let mut site = Site::new("cluster-by-hand", &settings);
    let data = site.cluster.data();
    let pid = site.scratch.join("server/pid");
    // In a file that is read on this host, and in what was set by statement.
    let says = format!(
        "data_directory = '{0}'\nhba_file = '{0}/pg_hba.conf'\nexternal_pid_file = '{1}'\n",
        data.display(),
        pid.display()
    );
    fs::write(&included, says).unwrap();
    site.cluster.stop();
    site.cluster.start_again();
    let by_statement = format!("hba_file = '{}/pg_hba.conf'\n", data.display());
    fs::write(site.pgdata("postgresql.auto.conf"), by_statement).unwrap();
    let port = site.cluster.port();
    let snapshot = site.store();
    site.cluster.stop();

    let mut work = site.work(snapshot);
    work.target.start = false;
    let result = site.run(&work).unwrap();
    let notes = result.notes.join("\n");
    assert!(notes.contains("data_directory"), "{notes}");
    let mut start = as_postgres(server_programs().join("pg_ctl"));
    start.args(["start", "-s", "-w", "-D"]).arg(site.data());
    start.arg("-l").arg(site.data().join("by-hand"));
    succeed(start.stdin(std::process::Stdio::null()));
    let restored = Restored {
        port,
        data: site.data(),
    };
    for (name, wanted) in [
        ("data_directory", site.data()),
        ("hba_file", site.data().join("pg_hba.conf")),
        ("ident_file", site.data().join("pg_ident.conf")),
        ("external_pid_file", "".into()),
    ] {
        let shown = restored.sql(&format!("SHOW {name}"));
        assert_eq!(shown, wanted.to_str().unwrap(), "{name}");
    }
    drop(restored);
    assert!(!site.cluster.data().join("postmaster.pid").exists());
    assert!(!pid.exists());
}
