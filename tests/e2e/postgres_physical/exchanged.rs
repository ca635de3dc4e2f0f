//! Servers on what was restored where others may rename it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use strongroom_tests::{
    cluster::{Cluster, as_postgres, directory_for_postgres, succeed},
    scratch::Scratch,
};

use super::site::{Restored, Site};

/// Whatever is put into its place, at the start or later, the server works in the
/// directory that was restored.
#[test]
fn what_is_put_in_the_place_of_a_restored_directory_is_never_read() {
    let scratch = Scratch::new("physical-exchanged");
    let cluster = Cluster::start(&scratch, "server");
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 10000) id");
    let (source, home) = (scratch.dir("source"), scratch.path().to_owned());
    let site = Site::of("physical-exchanged-site", scratch, cluster, |agent| {
        agent.allow(&source, &home)
    });
    let snapshot = site.backup().0;
    let open = home.join("open");
    fs::create_dir(&open).expect("a directory");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");

    let data = open.join("data");
    let job = site.restore(0, &snapshot, &data, &["--start"]);
    let notes = job["result"]["restore"]["notes"].to_string();
    assert!(
        notes.contains("holds its directory open") && notes.contains("chmod go-w"),
        "{notes}"
    );
    let mut restored = Restored::of(&job, data.clone());
    assert_eq!(restored.sql("SELECT count(*) FROM t"), "10000");

    let files = "SELECT sourcefile, name, setting, error FROM pg_file_settings ORDER BY 1, 2, 3";
    let before = restored.sql(files);
    assert!(before.contains("postgresql.conf"), "{before}");

    // A stranger exchanges it for a configuration of his own.
    let moved = open.join("moved");
    fs::rename(&data, &moved).expect("a directory that moves");
    directory_for_postgres(&data);
    fs::write(data.join("postgresql.conf"), "work_mem = '77MB'\n").expect("a file");
    fs::write(data.join("pg_hba.conf"), "local all all reject\n").expect("a file");
    restored.sql("SELECT pg_reload_conf()");
    restored.sql("INSERT INTO t SELECT generate_series(1, 10000); CHECKPOINT");
    restored.sql("SELECT pg_sleep(1)");
    assert_ne!(restored.sql("SHOW work_mem"), "77MB");
    assert_eq!(restored.sql(files), before);
    restored.data = moved;
    restored.stop();

    // By its own path it is a cluster like any other.
    let mut control =
        as_postgres(strongroom_tests::cluster::server_programs().join("pg_controldata"));
    succeed(control.arg("-D").arg(&restored.data));
}
