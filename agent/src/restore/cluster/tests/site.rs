//! A production server, a snapshot of its cluster that a test has had its hands
//! on, and restores of it beside the original.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use futures::future::BoxFuture;
use serde_json::Value;
use strongroom_layout::{
    ObjectId, SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_postgres::physical::{
    control::{CONTROL_FILE_SIZE, ControlFile},
    manifest::{FORMAT, METHOD, Manifest, Pages},
};
use strongroom_repository::{
    Repository,
    store::{StoreError, fs::FsStore},
};
use strongroom_spec::{ClusterTarget, Leg, Recovery, RecoveryTarget, RestoreOutcome, RestoreSpec};
use strongroom_tests::{
    cluster::{self, Cluster, as_postgres, programs, server_programs, succeed},
    scratch::Scratch,
};
use strongroom_wire::wal::{ArchivedWalResponse, WalRange};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{
        RestoreOptions,
        cluster::{
            ClusterRestoreError,
            programs::Version,
            recovery::{LogIndex, LogSource},
        },
    },
};

const PASSWORD: &str = "correct horse battery staple";

/// Serves a server's log as our program does, without waiting.
const PROGRAM: &str = "#!/bin/sh\nexec cp \"$3/$4\" \"$5\" 2>/dev/null\n";

/// See the module. The server is dropped before its directory.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) manifest: Manifest,
    pub(super) monitor: Arc<Monitor>,
    pub(super) options: RestoreOptions,
    runtime: Runtime,
    pub(super) scratch: Scratch,
}

/// No log is archived but that of the snapshot.
struct Nothing;

impl LogIndex for Nothing {
    fn archived(
        &self,
        _log: (SystemId, u32),
        _range: Option<WalRange>,
    ) -> BoxFuture<'_, Result<ArchivedWalResponse, StoreError>> {
        Box::pin(async {
            Ok(ArchivedWalResponse {
                stored: vec![],
                more: false,
                histories: vec![],
                tails: BTreeMap::new(),
            })
        })
    }
}

impl Site {
    /// A server with a table of 1000 rows, and its base backup in `snapshot`.
    pub(super) fn new(name: &str, settings: &str) -> Self {
        let scratch = Scratch::new(name);
        let cluster = Cluster::with(&scratch, "server", settings);
        cluster.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) n");
        let snapshot = scratch.join("snapshot");
        cluster::directory_for_postgres(&snapshot);
        let pgdata = snapshot.join("pgdata");
        let mut backup = as_postgres(programs().join("pg_basebackup"));
        let port = cluster.port().to_string();
        backup.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
        backup.args(["-c", "fast", "-X", "fetch", "--no-sync", "-D"]);
        succeed(backup.arg(&pgdata));
        let manifest = manifest(&cluster, &pgdata);
        fs::write(snapshot.join("manifest.json"), manifest.to_json()).unwrap();
        let program = scratch.file("program", PROGRAM);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            cluster,
            manifest,
            monitor: Arc::new(Monitor::new(CancellationToken::new())),
            options: RestoreOptions::default(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap(),
            scratch,
        }
    }

    /// A path in the snapshot's data directory.
    pub(super) fn pgdata(&self, path: &str) -> PathBuf {
        self.scratch.join("snapshot/pgdata").join(path)
    }

    /// Where clusters are restored to.
    pub(super) fn data(&self) -> PathBuf {
        self.scratch.join("restored")
    }

    /// What serves log to a server.
    pub(super) fn program(&self) -> PathBuf {
        self.scratch.join("program")
    }

    pub(super) fn target(&self) -> AllowedDirectory {
        AllowedDirectory::named(&self.data()).unwrap()
    }

    /// Stores what lies in `snapshot` now.
    pub(super) fn store(&self) -> ObjectId {
        self.restic(&["init"]);
        self.restic(&["backup", "manifest.json", "pgdata"]);
        let (repository, id) = self.runtime.block_on(async {
            let store = Arc::new(FsStore::new(self.scratch.join("repository")));
            let repository = Repository::open(store, PASSWORD).await.unwrap();
            let id = repository.find_snapshot("latest").await.unwrap().0;
            (repository, id)
        });
        drop(repository);
        id
    }

    fn restic(&self, arguments: &[&str]) {
        let mut restic = Command::new("restic");
        restic
            .args(["--quiet", "--no-cache", "--repo"])
            .arg(self.scratch.join("repository"))
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .current_dir(self.scratch.join("snapshot"));
        succeed(&mut restic);
    }

    /// A restore with a server, as far as the snapshot goes.
    pub(super) fn work(&self, snapshot: ObjectId) -> RestoreSpec<ClusterTarget> {
        RestoreSpec::new(
            snapshot,
            ClusterTarget {
                directory: self.data().to_str().unwrap().into(),
                start: true,
                ..ClusterTarget::default()
            },
        )
    }

    /// To the end of the log, of which there is no more than in the snapshot.
    pub(super) fn recovery(&self) -> Recovery {
        Recovery {
            system: self.manifest.system_identifier.parse().unwrap(),
            legs: vec![Leg {
                timeline: self.manifest.timeline,
                until: None,
            }],
            end: self.manifest.stop_lsn,
            target: RecoveryTarget::Latest,
            line: 0,
            new_timeline: None,
        }
    }

    pub(super) fn run(
        &self,
        work: &RestoreSpec<ClusterTarget>,
    ) -> Result<RestoreOutcome, ClusterRestoreError> {
        let store = Arc::new(FsStore::new(self.scratch.join("repository")));
        let repository = self.runtime.block_on(Repository::open(store, PASSWORD));
        let consent = |path: &str| {
            AllowedDirectory::named(Path::new(path)).map_err(|error| error.to_string())
        };
        let log = LogSource {
            index: Arc::new(Nothing),
            program: self.program(),
        };
        super::super::run(
            Arc::new(repository.unwrap()),
            self.runtime.handle().clone(),
            work,
            &self.options,
            &consent,
            &log,
            Arc::clone(&self.monitor),
        )
    }

    /// Runs a restore that is refused, and gives why.
    pub(super) fn refusal(&self, work: &RestoreSpec<ClusterTarget>) -> String {
        self.run(work).unwrap_err().to_string()
    }

    /// The server that a restore has started.
    pub(super) fn server(&self, result: &RestoreOutcome) -> Restored {
        Restored {
            port: result.server.as_ref().expect("a server").port,
            data: self.data(),
        }
    }
}

/// A server on a restored cluster, stopped when dropped.
pub(super) struct Restored {
    pub(super) port: u16,
    pub(super) data: PathBuf,
}

impl Restored {
    pub(super) fn sql(&self, statements: &str) -> String {
        cluster::sql(self.port, "postgres", statements)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        stop(&self.data);
    }
}

/// Stops the server of a directory, if there is one.
pub(super) fn stop(data: &Path) {
    let mut stop = as_postgres(server_programs().join("pg_ctl"));
    let stop = stop.args(["stop", "-s", "-w", "-m", "immediate", "-D"]);
    let _stopped = stop.arg(data).output();
}

/// What a backup of ours would say of it.
fn manifest(cluster: &Cluster, pgdata: &Path) -> Manifest {
    let control = fs::read(pgdata.join("global/pg_control")).unwrap();
    let control = ControlFile::parse(&control[..CONTROL_FILE_SIZE]).unwrap();
    let said = fs::read(pgdata.join("backup_manifest")).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    let range = &said["WAL-Ranges"][0];
    let lsn = |name: &str| -> Lsn { range[name].as_str().unwrap().parse().unwrap() };
    let segments = fs::read_dir(pgdata.join("pg_wal")).unwrap();
    let segments = segments.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut segments: Vec<_> = segments.filter(|name| name.len() == 24).collect();
    segments.sort();
    let version = cluster.sql("SHOW server_version");
    // Not of a cluster, but of a backup of another program.
    fs::remove_file(pgdata.join("backup_manifest")).unwrap();
    Manifest {
        format: FORMAT,
        method: METHOD.into(),
        major: Version::parse(&version).unwrap().major,
        server_version: version,
        system_identifier: control.system_identifier.to_string(),
        catalog_version: control.catalog_version,
        start_lsn: lsn("Start-LSN"),
        stop_lsn: lsn("End-LSN"),
        timeline: TimelineId(1),
        wal_segment_size: control.wal_segment_size,
        wal_segments: segments,
        block_size: 8192,
        from_standby: false,
        began: "2026-11-20T12:00:00Z".into(),
        ended: "2026-11-20T12:00:01Z".into(),
        data_directory: cluster.data().to_str().unwrap().into(),
        owner: "postgres".into(),
        tablespaces: vec![],
        settings: std::collections::BTreeMap::new(),
        pages: Pages::default(),
    }
}
