//! Handed over by the server's `archive_command`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_tests::{
    cluster::{Cluster, as_postgres, succeed},
    operator::eventually,
    program::binary,
    scratch::Scratch,
};

use crate::postgres_physical::site::Site;

/// The agent's program where the server's user may run it.
pub(super) fn program(scratch: &Scratch) -> PathBuf {
    let program = scratch.join("strongroom-agent");
    let built = binary("strongroom-agent");
    if fs::hard_link(&built, &program).is_err() {
        fs::copy(&built, &program).expect("a program can be copied");
    }
    program
}

/// Settings of a server that pushes its log to the agent with this socket.
pub(super) fn push_settings(program: &Path, socket: &Path) -> String {
    format!(
        "archive_mode = on\narchive_command = '{} wal push %p --socket {}'\n",
        program.display(),
        socket.display()
    )
}

#[test]
fn a_server_forgets_a_segment_once_it_is_in_the_archive() {
    let scratch = Scratch::new("wal-push");
    let program = program(&scratch);
    let settings = "archive_mode = on\nwal_keep_size = '512MB'\n";
    let cluster = Cluster::with(&scratch, "server", settings);
    let site = Site::of("wal-push-site", scratch, cluster, |agent| agent);
    let socket = site.world.agent.wal_socket();
    site.cluster.sql(&format!(
        "ALTER SYSTEM SET archive_command = '{} wal push %p --socket {}'",
        program.display(),
        socket.display()
    ));
    site.cluster.sql("SELECT pg_reload_conf()");

    // Nobody has asked for the log: the server is told so, and keeps it.
    let segment = site.cluster.sql("SELECT pg_walfile_name(pg_switch_wal())");
    eventually("a refusal", || {
        let failed = "SELECT last_failed_wal FROM pg_stat_archiver";
        (site.cluster.sql(failed) == segment).then_some(())
    });

    site.archive("method = 'push'");
    site.archiving_job();
    eventually("an archived segment", || {
        let archived = "SELECT last_archived_wal FROM pg_stat_archiver";
        (site.cluster.sql(archived) >= segment).then_some(())
    });
    let (snapshot, _) = site.backup();
    site.cluster.sql("CREATE TABLE t AS SELECT 1 AS n");
    let end = site.cluster.sql("SELECT pg_switch_wal()");
    site.wait_for_archive_of(&end);
    let recovery = site.recovery();
    assert_eq!(
        recovery["windows"][0]["snapshots"][0],
        snapshot.as_str(),
        "{recovery:#}"
    );
    assert_eq!(recovery["gaps"].as_array().map(Vec::len), Some(0));
    assert_eq!(site.slots(), "0");

    // What is pushed again, as after a crash, is there already.
    let archived = "SELECT last_archived_wal FROM pg_stat_archiver";
    let path = site
        .cluster
        .data()
        .join("pg_wal")
        .join(site.cluster.sql(archived));
    let mut again = as_postgres(&program);
    again.args(["wal", "push"]).arg(path);
    succeed(again.arg("--socket").arg(&socket));
}

/// The server's user names files to an agent that can read more than he.
#[test]
fn nothing_but_the_servers_own_files_is_pushed() {
    let scratch = Scratch::new("wal-push-foreign");
    let program = program(&scratch);
    let secret = scratch.file("secret", "hush\n");
    let settings = "archive_mode = on\narchive_command = '/bin/true'\n";
    let cluster = Cluster::with(&scratch, "server", settings);
    let site = Site::of("wal-push-foreign-site", scratch, cluster, |agent| agent);
    let socket = site.world.agent.wal_socket();
    site.archive("method = 'push'");
    site.archiving_job();
    let log = site.cluster.data().join("pg_wal");
    let push = |name: &str| {
        let mut push = as_postgres(&program);
        push.args(["wal", "push"]).arg(log.join(name));
        let output = push.arg("--socket").arg(&socket).output().expect("it runs");
        assert!(!output.status.success(), "{name} was archived");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The job takes its place at the desk a moment after it has begun.
    let segment = "0000000100000000000000F0";
    eventually("somebody who takes the log", || {
        push(segment).contains("No such file").then_some(())
    });
    let path = |name: &str| log.join(name);
    let history = "000000F0.history";
    for name in [segment, history] {
        symlink(&secret, path(name)).expect("a symlink");
        assert!(!push(name).contains("hush"));
        fs::remove_file(path(name)).expect("the symlink");

        fs::hard_link(&secret, path(name)).expect("a hard link");
        let said = push(name);
        assert!(said.contains("no regular file of user"), "{said}");
        fs::remove_file(path(name)).expect("the hard link");

        // Nobody writes to it.
        mknodat(CWD, path(name), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        let said = push(name);
        assert!(said.contains("no regular file of user"), "{said}");
        fs::remove_file(path(name)).expect("the pipe");

        // His own, but no log: it is not told what it is.
        succeed(
            as_postgres(PathBuf::from("/bin/sh"))
                .args(["-c", "printf 'hush\\n' > \"$0\""])
                .arg(path(name)),
        );
        let said = push(name);
        assert!(
            said.contains("history") || said.contains("5 bytes"),
            "{said}"
        );
        assert!(!said.contains("hush"), "{said}");
        fs::remove_file(path(name)).expect("the file");
    }
}
