//! The write-ahead log: how fast it is pushed, and what is lost with the
//! server's disk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use strongroom_tests::{
    cluster::{self, Cluster},
    program::binary,
    scratch::Scratch,
};

use crate::{
    Options,
    backrest::BackRest,
    physical::{OURS, THEIRS, fill, start},
    report::Report,
};

/// Scale of the tables whose changes are logged.
const SCALE: u32 = 20;
/// How long a workload runs before the disk goes.
const WORK: Duration = Duration::from_secs(20);

/// Pushes, and a disk that vanishes.
pub(crate) fn compare(options: &Options, report: &mut Report) -> Result<()> {
    push(options, report)?;
    for run in 0..options.runs {
        // At another moment between two flushes each time.
        lose(
            WORK + Duration::from_millis(1_700) * u32::try_from(run)?,
            report,
        )?;
    }
    Ok(())
}

/// Segments that wait, handed over by `archive_command` until none waits.
fn push(options: &Options, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("push");
    let backrest = BackRest::prepare(&scratch);
    let cluster = Cluster::with(&scratch, "cluster", &backrest.settings());
    backrest.configure(&cluster)?;
    backrest.run(&["stanza-create"])?;
    fill(&cluster, SCALE)?;
    let program = scratch.join("strongroom-agent");
    fs::copy(binary("strongroom-agent"), &program)?;
    let log = Waiting::of(&cluster)?;
    for _ in 0..options.runs {
        log.fill(options.segments)?;
        let theirs = log.hand_over(&backrest.archive_command())?;
        report.figure("segments pushed", THEIRS, "/s", theirs);

        log.fill(options.segments)?;
        let place = Scratch::new("ours");
        let mut ours = start(&place, &cluster, "wal = { method = \"push\" }");
        ours.wait_for_archiving();
        let socket = ours.agent().wal_socket();
        let ours = log.hand_over(&format!(
            "{} wal push %p --socket {}",
            program.display(),
            socket.display()
        ))?;
        report.figure("segments pushed", OURS, "/s", ours);
    }
    Ok(())
}

/// The log of a cluster, which waits until somebody takes it.
struct Waiting<'a> {
    cluster: &'a Cluster,
    status: PathBuf,
}

impl<'a> Waiting<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self> {
        let this = Self {
            cluster,
            status: cluster.data().join("pg_wal/archive_status"),
        };
        this.wait()?;
        this.set("");
        Ok(this)
    }

    /// Has the server hand over by this command; an empty one takes nothing.
    fn set(&self, command: &str) {
        self.cluster
            .sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        self.cluster.sql("SELECT pg_reload_conf()");
    }

    /// Logs changes until so many segments wait.
    fn fill(&self, segments: u64) -> Result<()> {
        while self.count()? < segments {
            self.cluster
                .sql("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 8 = 0");
        }
        self.cluster.sql("SELECT pg_switch_wal()");
        Ok(())
    }

    /// Files that are not archived yet.
    fn count(&self) -> Result<u64> {
        let entries = fs::read_dir(&self.status).context("the server's archive_status")?;
        let ready = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            Path::new(&name).extension().is_some_and(|it| it == "ready")
        });
        Ok(ready.count() as u64)
    }

    fn wait(&self) -> Result<()> {
        while self.count()? > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Segments that this command took a second.
    fn hand_over(&self, command: &str) -> Result<f64> {
        let segments = self.count()?;
        let begin = Instant::now();
        self.set(command);
        self.wait()?;
        let seconds = begin.elapsed().as_secs_f64();
        self.set("");
        Ok(segments as f64 / seconds)
    }
}

/// Commits row after row until the server, its disk and the agent beside it are
/// gone at once; then brings back what was archived.
fn lose(after: Duration, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("loss");
    let mut cluster = Cluster::start(&scratch, "cluster");
    cluster.sql("CREATE TABLE ledger (n bigint PRIMARY KEY)");
    let place = Scratch::new("ours");
    // What a policy has that says nothing of it.
    let mut ours = start(&place, &cluster, "wal = {}");
    ours.wait_for_archiving();
    ours.backup()?;

    let stop = AtomicBool::new(false);
    let url = cluster.url();
    let committed = thread::scope(|scope| {
        let work = scope.spawn(|| commit(&url, &stop));
        thread::sleep(after);
        stop.store(true, Relaxed);
        ours.agent().kill();
        work.join()
            .map_err(|_| anyhow::anyhow!("the workload panicked"))?
    })?;
    cluster.kill();
    fs::remove_dir_all(cluster.data())?;

    ours.agent().start();
    let (_, _, target) = ours.recover("rest")?;
    let port = fs::read_to_string(target.join("postmaster.pid"))?;
    let port = port.lines().nth(3).context("a port")?.parse()?;
    let found = cluster::sql(port, "postgres", "SELECT count(*), max(n) FROM ledger");
    let (count, last) = found.split_once('|').context("two columns")?;
    ensure!(count == last, "{found}: rows are missing in the middle");
    // A commit whose answer never came may be there.
    let lost = committed.len().saturating_sub(last.parse()?);
    let newest = committed.last().context("commits")?;
    let seconds = match lost {
        0 => 0.0,
        lost => {
            let kept = committed[committed.len() - lost - 1];
            newest.duration_since(kept).as_secs_f64()
        }
    };
    report.figure("commits lost with the disk", OURS, "s", seconds);
    report.figure(
        "the same, of so many a second",
        OURS,
        "/s",
        committed.len() as f64 / after.as_secs_f64(),
    );
    cluster::stop(&target);
    Ok(())
}

/// When each of the rows was committed; as fast as one client can.
fn commit(url: &str, stop: &AtomicBool) -> Result<Vec<Instant>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let mut committed = Vec::new();
        while !stop.load(Relaxed) {
            let row = format!("INSERT INTO ledger VALUES ({})", committed.len() + 1);
            connection
                .execute(sqlx::raw_sql(AssertSqlSafe(row)))
                .await?;
            committed.push(Instant::now());
        }
        Ok(committed)
    })
}
