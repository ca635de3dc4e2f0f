//! A PostgreSQL cluster, block by block.

use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Result, ensure};
use strongroom_tests::{
    cluster::{self, Cluster, as_postgres, directory_for_postgres, programs},
    port::Port,
    scratch::Scratch,
};

use crate::{
    Options,
    backrest::BackRest,
    measure::{self, Usage},
    report::Report,
    strongroom::{Strongroom, snapshot},
};

pub(crate) const OURS: &str = "strongroom";
pub(crate) const THEIRS: &str = "pgBackRest";

/// All cases on one cluster.
pub(crate) fn compare(options: &Options, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("databases");
    let backrest = BackRest::prepare(&scratch);
    let cluster = Cluster::with(&scratch, "cluster", &backrest.settings());
    backrest.configure(&cluster)?;
    backrest.run(&["stanza-create"])?;
    fill(&cluster, options.scale)?;
    let bytes = cluster.sql("SELECT sum(pg_database_size(oid)) FROM pg_database");
    report.note(format!(
        "The cluster holds {} MiB.",
        bytes.parse::<u64>()? >> 20
    ));
    for run in 0..options.runs {
        report.add("read to nowhere", "pg_basebackup", nowhere(&cluster)?);
        let full = backrest.run(&["backup", "--type=full"])?;
        report.add("full backup", THEIRS, full);
        // A deployment of its own each time: nothing is known yet.
        let place = Scratch::new("ours");
        let ours = start(&place, &cluster, "");
        report.add("full backup", OURS, ours.backup()?.0);
        touch(&cluster, run);
        let incremental = backrest.run(&["backup", "--type=incr"])?;
        report.add("1 % of pages changed", THEIRS, incremental);
        let (usage, job) = ours.backup()?;
        report.add("1 % of pages changed", OURS, usage);
        restore_theirs(&scratch, &backrest, report)?;
        restore_ours(&ours, &snapshot(&job), report)?;
        drop(ours);
        recover(&cluster, report)?;
    }
    Ok(())
}

/// A deployment that backs the cluster up; with more lines in its policy.
pub(crate) fn start(scratch: &Scratch, cluster: &Cluster, more: &str) -> Strongroom {
    let connection = format!("[postgres.bench]\nurl = \"{}\"", cluster.url());
    let source =
        r#"{ postgres = { connection = "bench", method = "physical", fast_checkpoint = true } }"#;
    Strongroom::start(scratch, &connection, &format!("source = {source}\n{more}"))
}

/// Tables of pgbench.
pub(crate) fn fill(cluster: &Cluster, scale: u32) -> Result<()> {
    eprintln!("filling a cluster: pgbench, scale {scale}");
    let mut command = as_postgres(programs().join("pgbench"));
    command
        .args(["-i", "-q", "-h", "127.0.0.1", "-U", "postgres", "-s"])
        .arg(scale.to_string())
        .args(["-p", &cluster.port().to_string(), "postgres"]);
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    cluster.sql("CHECKPOINT");
    Ok(())
}

/// Changes a row on one page in a hundred, other pages each time.
fn touch(cluster: &Cluster, run: usize) {
    cluster.sql(&format!(
        "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE ctid IN (
             SELECT ('(' || page || ',1)')::tid FROM generate_series({run},
                 (pg_relation_size('pgbench_accounts') / 8192 - 1)::int, 100) AS page)"
    ));
    cluster.sql("CHECKPOINT");
}

fn nowhere(cluster: &Cluster) -> Result<Usage> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "'{}' -h 127.0.0.1 -p {} -U postgres -D - -Ft -X none -c fast >/dev/null",
        programs().join("pg_basebackup").display(),
        cluster.port()
    ));
    measure::run(&command)
}

/// A base backup, a row in a hundred pages changed behind it, and all of it
/// back on a server that takes writes.
fn recover(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let place = Scratch::new("recovery");
    let ours = start(&place, cluster, "wal = { flush = \"1s\" }");
    ours.wait_for_archiving();
    ours.backup()?;
    touch(cluster, 50);
    ours.wait_for_log(&cluster.sql("SELECT pg_current_wal_flush_lsn()"));
    let (usage, stages, target) = ours.recover("latest")?;
    report.add("command to connections, with its log", OURS, usage);
    for stage in stages {
        report.figure(&format!("of it: {}", stage.name), OURS, "s", stage.seconds);
    }
    cluster::stop(&target);
    fs::remove_dir_all(&target)?;
    Ok(())
}

fn restore_theirs(scratch: &Scratch, backrest: &BackRest, report: &mut Report) -> Result<()> {
    let target = scratch.join("theirs");
    directory_for_postgres(&target);
    let into = format!("--pg1-path={}", target.display());
    let begin = Instant::now();
    let usage = backrest.run(&["restore", &into])?;
    report.add("restore", THEIRS, usage);
    let port = Port::lease();
    let mut start = as_postgres(programs().join("pg_ctl"));
    start
        .args(["start", "-s", "-w", "-t", "600", "-l", "/dev/null", "-D"])
        .arg(&target)
        .arg("-o")
        .arg(format!(
            "-p {} -c archive_mode=off -c unix_socket_directories=''",
            port.number()
        ))
        .stdin(Stdio::null());
    let status = start.status()?;
    ensure!(
        status.success(),
        "the cluster of pgBackRest does not start: {status}"
    );
    let wall = begin.elapsed().as_secs_f64();
    report.add("command to connections", THEIRS, Usage { wall, ..usage });
    cluster::stop(&target);
    fs::remove_dir_all(&target)?;
    Ok(())
}

fn restore_ours(ours: &Strongroom, snapshot: &str, report: &mut Report) -> Result<()> {
    let (usage, _, target) = ours.restore(snapshot, "files", &["--cluster"])?;
    report.add("restore", OURS, usage);
    fs::remove_dir_all(&target)?;
    let (usage, _, target) = ours.restore(snapshot, "server", &["--cluster", "--start"])?;
    report.add("command to connections", OURS, usage);
    cluster::stop(&target);
    fs::remove_dir_all(&target)?;
    Ok(())
}
