//! What a restored server does of all that the original does: nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use strongroom_tests::{
    cluster::{self, Cluster, as_postgres, programs, server_programs, sql, succeed},
    operator::{eventually, text},
    scratch::Scratch,
};

use super::site::{Restored, Site};

/// Settings of any major version, and what they are in a restored server.
const OFF: [(&str, &str); 17] = [
    ("archive_mode", "off"),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("max_logical_replication_workers", "0"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("synchronous_standby_names", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("listen_addresses", "127.0.0.1"),
    ("bonjour", "off"),
    ("ssl", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("external_pid_file", ""),
    ("autovacuum", "off"),
];

/// Those that this major version has.
fn off(port: u16) -> BTreeMap<&'static str, &'static str> {
    let mut off = BTreeMap::from(OFF);
    let version = show(port, "server_version_num");
    let major: u32 = version.parse::<u32>().expect("a number") / 10_000;
    if major <= 14 {
        off.insert("stats_temp_directory", "pg_stat_tmp");
    }
    if major >= 17 {
        off.insert("event_triggers", "off");
    }
    off
}

/// A library that every packager of servers has.
const LIBRARY: &str = "libpqwalreceiver";

/// The scheduler, where the tests' host has it.
fn has_cron() -> bool {
    let beside = programs().join("../lib/pg_cron.so");
    server_programs() == programs() && beside.is_file()
}

/// With everything that a server can do to the world around it, each leaving a
/// mark in a directory.
fn busy(scratch: &Scratch, marks: &Path) -> Cluster {
    let mut libraries = vec![LIBRARY];
    let mut cron = "";
    if has_cron() {
        libraries.push("pg_cron");
        cron = "cron.use_background_workers = on\n";
    }
    let marks = marks.display();
    let settings = format!(
        "wal_level = logical\narchive_mode = on\narchive_command = 'pwd >> {marks}/archived'\n\
         archive_cleanup_command = 'pwd >> {marks}/cleaned'\n\
         recovery_end_command = 'pwd >> {marks}/recovered'\n\
         shared_preload_libraries = '{}'\nsession_preload_libraries = '{LIBRARY}'\n\
         synchronous_commit = local\nsynchronous_standby_names = 'nobody'\n\
         primary_conninfo = 'host=127.0.0.1 port=1'\nexternal_pid_file = '{marks}/pid'\n\
         logging_collector = on\nlog_directory = '{marks}/log'\nautovacuum = on\n\
         primary_slot_name = 'of_the_original'\nlog_destination = 'csvlog'\n{cron}",
        libraries.join(",")
    );
    Cluster::with(scratch, "server", &settings)
}

/// A table that follows one of another server.
fn subscribe(cluster: &Cluster, publisher: &Cluster) {
    publisher.sql("CREATE TABLE followed (n int PRIMARY KEY)");
    publisher.sql("CREATE PUBLICATION all_of_it FOR TABLE followed");
    cluster.sql("CREATE TABLE followed (n int PRIMARY KEY)");
    let publisher = publisher.port();
    cluster.sql(&format!(
        "CREATE SUBSCRIPTION following CONNECTION \
         'host=127.0.0.1 port={publisher} user=postgres dbname=postgres' PUBLICATION all_of_it"
    ));
}

fn show(port: u16, name: &str) -> String {
    sql(
        port,
        "postgres",
        &format!("SELECT current_setting('{name}')"),
    )
}

fn assert_off(port: u16) {
    for (name, wanted) in off(port) {
        assert_eq!(show(port, name), wanted, "{name}");
    }
    let workers = "SELECT string_agg(backend_type, ',') FROM pg_stat_activity WHERE backend_type \
         ~ 'logical replication|archiver|cron|walreceiver'";
    assert_eq!(sql(port, "postgres", workers), "");
}

/// Whatever they were in the original: these and no others are set by our lines, and
/// hold because of them. Only what this run concerns is on the command line.
fn assert_off_by_our_lines(port: u16, data: &Path) {
    let conf = data.join("postgresql.auto.conf");
    let all = fs::read_to_string(&conf).expect("settings");
    let (_, rest) = all
        .split_once("# Strongroom: switched off")
        .expect("lines of ours");
    let (ours, _) = rest.split_once("# Strongroom: end").expect("their end");
    let names = ours.lines().filter_map(|line| line.split_once(" = "));
    let names: BTreeSet<_> = names.map(|(name, _)| name).collect();
    assert_eq!(names, off(port).into_keys().collect(), "{ours}");
    let conf = conf.display();
    for name in names {
        let from = format!("SELECT sourcefile FROM pg_settings WHERE name = '{name}'");
        assert_eq!(sql(port, "postgres", &from), conf.to_string(), "{name}");
    }
}

/// Lines that commands of a server in that directory have written.
fn marks_of(marks: &Path, data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(marks).expect("a directory");
    let files = files.map(|file| file.expect("an entry").path());
    let says = |file: &PathBuf| {
        let content = fs::read_to_string(file).unwrap_or_default();
        content.lines().any(|line| Path::new(line) == data)
    };
    files.filter(says).collect()
}

/// Ends a server that was restored, and starts it again as somebody does who
/// knows nothing of us.
fn start_by_hand(data: &Path, port: u16, log: &Path) {
    cluster::stop(data);
    let mut start = as_postgres(server_programs().join("pg_ctl"));
    start
        .args(["start", "-s", "-w", "-t", "600", "-D"])
        .arg(data);
    start.arg("-l").arg(log).args(["-o", &format!("-p {port}")]);
    succeed(start.stdin(Stdio::null()));
}

fn notes(job: &Value) -> String {
    job["result"]["restore"]["notes"].to_string()
}

#[test]
fn a_restored_server_does_nothing_of_what_the_original_does() {
    let scratch = Scratch::new("physical-quiet");
    let marks = scratch.join("marks");
    cluster::directory_for_postgres(&marks);
    let publisher = Cluster::with(&scratch, "publisher", "wal_level = logical");
    let cluster = busy(&scratch, &marks);
    subscribe(&cluster, &publisher);
    if has_cron() {
        cluster.sql("CREATE EXTENSION pg_cron");
        cluster.sql("SELECT cron.schedule('a job', '* * * * *', 'SELECT 1')");
    }
    let holder = "SELECT active_pid IS NOT NULL FROM pg_replication_slots";
    eventually("a subscriber", || {
        (publisher.sql(holder) == "t").then_some(())
    });
    let site = Site::of("physical-quiet", scratch, cluster, |agent| agent);
    let pid = fs::read(marks.join("pid")).expect("a file");
    let (snapshot, _) = site.backup();

    let data = site.world.restores.join("data");
    let job = site.restore(0, &snapshot, &data, &["--start"]);
    let said = notes(&job);
    for part in [
        "switched off",
        "archiving",
        "subscriptions",
        LIBRARY,
        "--keep-settings",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!has_cron() || said.contains("pg_cron"), "{said}");
    let restored = Restored::of(&job, data.clone());
    assert_off(restored.port);
    // Commits do not wait, and what is written is archived by nobody.
    restored.sql("SET synchronous_commit = on; CREATE TABLE t AS SELECT 1; SELECT pg_switch_wal()");
    restored.sql("CHECKPOINT");
    let ready = fs::read_dir(data.join("pg_wal/archive_status")).expect("a directory");
    let mut ready = ready.map(|it| it.expect("an entry").file_name());
    assert!(!ready.any(|it| it.to_string_lossy().ends_with(".ready")));

    // Nor when somebody starts it again by hand.
    let log = marks.join("by-hand");
    start_by_hand(&data, restored.port, &log);
    assert_off(restored.port);
    assert_off_by_our_lines(restored.port, &data);
    assert_eq!(marks_of(&marks, &data), <[PathBuf; 0]>::default());
    assert_eq!(fs::read(marks.join("pid")).expect("a file"), pid);
    assert_eq!(publisher.sql(holder), "t");

    // Until the lines go. Beside the publisher, that would take the slot.
    restored.sql("ALTER SUBSCRIPTION following DISABLE");
    let conf = data.join("postgresql.auto.conf");
    let all = fs::read_to_string(&conf).expect("settings");
    let (before, rest) = all
        .split_once("# Strongroom: switched off")
        .expect("lines of ours");
    let (_, behind) = rest.split_once("# Strongroom: end").expect("their end");
    let behind = behind.split_once('\n').map_or("", |(_, behind)| behind);
    fs::write(&conf, format!("{before}{behind}")).expect("settings");
    start_by_hand(&data, restored.port, &log);
    assert_eq!(show(restored.port, "archive_mode"), "on");
    assert!(show(restored.port, "shared_preload_libraries").contains(LIBRARY));
}

#[test]
fn a_restored_server_keeps_the_original_s_settings_when_asked() {
    let scratch = Scratch::new("physical-kept");
    let marks = scratch.join("marks");
    cluster::directory_for_postgres(&marks);
    let cluster = busy(&scratch, &marks);
    let site = Site::of("physical-kept", scratch, cluster, |agent| agent);
    let (snapshot, _) = site.backup();
    let data = site.world.restores.join("data");
    let job = site.restore(0, &snapshot, &data, &["--start", "--keep-settings"]);
    let said = notes(&job);
    assert!(!said.contains("switched off"), "{said}");
    let (_, rest) = said.split_once("on port ").expect("a port");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let restored = Restored::at(port.parse().expect("a number"), data.clone());
    assert_eq!(show(restored.port, "archive_mode"), "on");
    assert_eq!(show(restored.port, "max_logical_replication_workers"), "4");
    assert!(show(restored.port, "shared_preload_libraries").contains(LIBRARY));
    restored.sql("CREATE TABLE t AS SELECT 1; SELECT pg_switch_wal()");
    eventually("an archived segment", || {
        (!marks_of(&marks, &data).is_empty()).then_some(())
    });
    // Where it lies is its own all the same.
    assert_eq!(show(restored.port, "external_pid_file"), "");

    // And only of a server that is started.
    let target = site.world.restores.join("other");
    let target = text(&Value::from(target.to_str().expect("UTF-8")));
    let agent = crate::world::AGENT;
    let arguments = [
        "restore",
        &snapshot,
        "--agent",
        agent,
        "--target",
        &target,
        "--cluster",
        "--keep-settings",
    ];
    let output = site.world.operator().run(arguments);
    assert!(
        output.code != 0 && output.stderr.contains("--start"),
        "{}",
        output.stderr
    );
}
