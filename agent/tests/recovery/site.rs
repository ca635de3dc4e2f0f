//! A cluster, its backup and its archived log; restores of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use strongroom_agent::{
    allowed::{AllowedDirectory, AllowedPaths},
    backup::{self, BackupRequest, BackupSource},
    config::PostgresConnection,
    monitor::Monitor,
    restore::{
        RestoreOptions,
        cluster::{self, ClusterRestoreError, recovery::LogSource},
    },
    sources::{postgres::physical::ClusterSource, throttle::Pace},
};
use strongroom_layout::{ObjectId, position::Lsn};
use strongroom_repository::{
    Repository, format::key_file::KeyOwner, store::SharedStore, store::memory::MemoryStore,
};
use strongroom_runtime::clock::SystemClock;
use strongroom_spec::{
    ClusterPoint, ClusterTarget, Leg, Recovery, RecoveryTarget, RestoreOutcome, RestoreSpec,
};
use strongroom_tests::{
    cluster::{self as server, Cluster, as_postgres, server_programs, sql},
    scratch::Scratch,
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;

/// Parts are dropped in this order.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) archive: Arc<Archive>,
    pub(crate) snapshot: ObjectId,
    pub(crate) base: ClusterPoint,
    pub(crate) repository: Arc<Repository>,
    pub(crate) runtime: Runtime,
    servers: Mutex<Vec<PathBuf>>,
    pub(crate) scratch: Scratch,
}

/// What the restored server must not go by.
const MISLEADING: &str = "wal_keep_size = '1GB'\nmax_wal_size = '1GB'\nrecovery_target_xid = '3'\n\
    recovery_target_timeline = 'current'\nrestore_command = 'false'\n\
    recovery_end_command = 'touch end_command_ran'\nlc_messages = 'C.UTF-8'\n\
    recovery_min_apply_delay = '1h'\nlog_min_messages = 'fatal'\n";

impl Site {
    /// With a backup, and nothing archived yet.
    pub(crate) fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let cluster = Cluster::with(&scratch, "server", MISLEADING);
        cluster.sql("CREATE TABLE rows (n int)");
        let runtime = Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store: SharedStore = Arc::new(MemoryStore::new());
        let owner = KeyOwner {
            created: strongroom_tests::now(),
            username: "test".into(),
            hostname: "test".into(),
        };
        let repository = Repository::create(store, "secret", owner);
        let repository = Arc::new(runtime.block_on(repository).expect("a repository"));
        let (snapshot, base) = back_up(&repository, &runtime, &cluster);
        let archive = Archive::new(Arc::clone(&repository), base.system, base.major);
        Self {
            cluster,
            archive: Arc::new(archive),
            snapshot,
            base,
            repository,
            runtime,
            servers: Mutex::default(),
            scratch,
        }
    }

    /// Inserts a row, and gives the transaction's number.
    pub(crate) fn insert(&self, row: u32) -> u32 {
        insert(self.cluster.port(), row)
    }

    /// Archives all that the cluster has written.
    pub(crate) fn archive(&self, piece: u64) {
        let end = flushed(self.cluster.port());
        let data = self.cluster.data();
        self.archive.take(&self.runtime, &data, 1, end, piece);
    }

    pub(crate) fn recovery(&self, target: RecoveryTarget) -> Recovery {
        Recovery {
            system: self.base.system,
            legs: vec![Leg {
                timeline: self.base.timeline,
                until: None,
            }],
            end: self.archive.end(1),
            target,
            line: 0,
            new_timeline: None,
        }
    }

    pub(crate) fn work(&self, name: &str, recovery: Recovery) -> RestoreSpec<ClusterTarget> {
        RestoreSpec {
            recovery: Some(recovery),
            ..RestoreSpec::new(
                self.snapshot,
                ClusterTarget {
                    directory: self.target(name).to_str().expect("UTF-8").into(),
                    start: true,
                    ..ClusterTarget::default()
                },
            )
        }
    }

    /// Where a restore of this name goes; the server's user can get there.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.scratch.join("restored").join(name)
    }

    pub(crate) fn run(
        &self,
        work: &RestoreSpec<ClusterTarget>,
    ) -> Result<RestoreOutcome, ClusterRestoreError> {
        self.run_on(
            &self.repository,
            work,
            &Arc::new(Monitor::new(CancellationToken::new())),
        )
    }

    pub(crate) fn run_on(
        &self,
        repository: &Arc<Repository>,
        work: &RestoreSpec<ClusterTarget>,
        monitor: &Arc<Monitor>,
    ) -> Result<RestoreOutcome, ClusterRestoreError> {
        self.servers
            .lock()
            .expect("no panic")
            .push(work.target.directory.clone().into());
        let log = LogSource {
            index: Arc::clone(&self.archive) as _,
            program: env!("CARGO_BIN_EXE_strongroom-agent").into(),
        };
        cluster::run(
            Arc::clone(repository),
            self.runtime.handle().clone(),
            work,
            &RestoreOptions::default(),
            &|path| AllowedDirectory::named(Path::new(path)).map_err(|error| error.to_string()),
            &log,
            Arc::clone(monitor),
        )
    }

    /// Restores to a target, starts a server, and gives its rows.
    pub(crate) fn rows_at(&self, name: &str, target: RecoveryTarget) -> (String, Vec<String>) {
        let result = self.run(&self.work(name, self.recovery(target)));
        let result = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let port = port(&result);
        assert_eq!(sql(port, "postgres", "SELECT pg_is_in_recovery()"), "f");
        let rows = rows(port);
        let data = self.target(name);
        assert!(!data.join("strongroom_wal").exists(), "{name}");
        assert!(!data.join("end_command_ran").exists(), "{name}");
        assert!(!data.join("recovery.signal").exists(), "{name}");
        let settings = fs::read_to_string(data.join("postgresql.auto.conf"));
        assert!(
            !settings.expect("settings").contains("restore_command"),
            "{name}"
        );
        server::stop(&data);
        (rows, result.notes)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for data in self.servers.get_mut().expect("no panic").iter() {
            if data.join("postmaster.pid").exists() {
                let mut stop = as_postgres(server_programs().join("pg_ctl"));
                let stop = stop.args(["stop", "-s", "-m", "immediate", "-D"]);
                let _stopped = stop.arg(data).output();
            }
        }
    }
}

fn back_up(
    repository: &Arc<Repository>,
    runtime: &Runtime,
    cluster: &Cluster,
) -> (ObjectId, ClusterPoint) {
    let connection = PostgresConnection {
        url: Some(cluster.url().parse().expect("a URL")),
        ..PostgresConnection::default()
    };
    let request = BackupRequest {
        source: BackupSource::Cluster(ClusterSource {
            name: "main".into(),
            connection,
            fast_checkpoint: true,
        }),
        parent: None,
        tags: vec![],
        hostname: "test".into(),
        threads: None,
        memory_budget: None,
        pace: Pace::unlimited(),
        cache: None,
        clock: SystemClock::shared(),
        allowed: AllowedPaths::default(),
        probe: None,
    };
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let handle = runtime.handle().clone();
    let prepared = backup::run(Arc::clone(repository), handle, request, monitor);
    let prepared = prepared.expect("a backup");
    let id = prepared.object.id().expect("an id");
    let publish = repository.store().put(prepared.object, prepared.body);
    runtime.block_on(publish).expect("published");
    (id, prepared.result.cluster.expect("a cluster's"))
}

pub(crate) fn insert(port: u16, row: u32) -> u32 {
    let insert = format!("INSERT INTO rows VALUES ({row}) RETURNING pg_current_xact_id()");
    sql(port, "postgres", &insert).parse().expect("a number")
}

pub(crate) fn rows(port: u16) -> String {
    let rows = "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM rows";
    sql(port, "postgres", rows)
}

/// All that was written, and is on disk by now.
pub(crate) fn flushed(port: u16) -> Lsn {
    let flush = "DO $$ BEGIN PERFORM pg_logical_emit_message(true, 'now', ''); END $$";
    sql(port, "postgres", flush);
    lsn(&sql(port, "postgres", "SELECT pg_current_wal_flush_lsn()"))
}

pub(crate) fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position")
}

/// Where the server that was started listens.
pub(crate) fn port(result: &RestoreOutcome) -> u16 {
    let notes = result.notes.join("\n");
    let (_, rest) = notes.split_once("127.0.0.1:").expect("a port");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// What lies in a directory, by name.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
