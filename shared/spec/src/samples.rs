//! Arbitrary values of every type, for property tests and as what fuzzing begins with.

use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*};
use strongroom_layout::{
    ObjectId, SystemId,
    position::{Lsn, SegmentSize, TimelineId},
};
use strongroom_transfer::PublicKey;
use uuid::Uuid;

use crate::{
    BackupOutcome, BackupSpec, ClusterPoint, ClusterTarget, CommandSource, DirectoryTarget,
    DownloadOutcome, DownloadSpec, DumpContent, Entry, Failure, FailureCode, FilesSource, JobSpec,
    Leg, ListOutcome, ListSpec, MAX_FIGURE, Outcome, Overwrite, PlannedAction, PostgresLogical,
    PostgresPhysical, PostgresSource, PostgresTarget, RawPath, Recovery, RecoveryTarget,
    RedisSource, RedisTarget, Relocation, RestoreOutcome, RestoreSpec, Source, Sparse,
    StartedServer, Target, TargetKind, UploadFormat, UploadSpec, VerifyRows, WalMethod, WalOutcome,
    WalSpec, Warning, WarningCode,
};

fn id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn word() -> impl Strategy<Value = String> {
    "\\PC{1,12}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

fn path() -> impl Strategy<Value = RawPath> {
    vec(any::<u8>(), 0..20).prop_map(RawPath)
}

fn absolute() -> impl Strategy<Value = String> {
    "/\\PC{0,12}"
}

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

fn system() -> impl Strategy<Value = SystemId> {
    any::<u64>().prop_map(SystemId)
}

fn timeline() -> impl Strategy<Value = TimelineId> {
    (1..=u32::MAX).prop_map(TimelineId)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (-1_000_000_000_000_000..4_000_000_000_000_000_i64)
        .prop_map(|us| Timestamp::from_microsecond(us).unwrap())
}

prop_compose! {
    fn logical()(
        connection in word(), databases in texts(), exclude_databases in texts(),
        schemas in texts(), exclude_schemas in texts(), tables in texts(),
        exclude_tables in texts(),
        content in proptest::sample::select(
            vec![DumpContent::All, DumpContent::Schema, DumpContent::Data]
        ),
        globals: bool,
    ) -> PostgresLogical {
        PostgresLogical {
            connection, databases, exclude_databases, schemas, exclude_schemas, tables,
            exclude_tables, content, globals,
        }
    }
}

prop_compose! {
    fn files()(
        paths in vec(text(), 1..3), include in texts(), exclude in texts(),
        one_file_system: bool, exclude_caches: bool,
    ) -> FilesSource {
        FilesSource { paths, include, exclude, one_file_system, exclude_caches }
    }
}

prop_compose! {
    fn backup()(
        dataset in word(),
        source in prop_oneof![
            files().prop_map(Source::Files),
            word().prop_map(|name| Source::Command(CommandSource { name })),
            logical().prop_map(|it| Source::Postgres(PostgresSource::Logical(it))),
            (word(), any::<bool>()).prop_map(|(connection, fast_checkpoint)| {
                Source::Postgres(PostgresSource::Physical(PostgresPhysical {
                    connection,
                    fast_checkpoint,
                }))
            }),
            word().prop_map(|connection| Source::Redis(RedisSource { connection })),
        ],
        parent in option::of(id()), tags in texts(),
    ) -> BackupSpec {
        BackupSpec { dataset, source, parent, tags }
    }
}

prop_compose! {
    fn directory()(
        directory in absolute(), paths in texts(),
        overwrite in proptest::sample::select(
            vec![Overwrite::Never, Overwrite::IfChanged, Overwrite::Always]
        ),
        numeric_ids: bool,
        sparse in proptest::sample::select(vec![Sparse::Auto, Sparse::Never]),
    ) -> DirectoryTarget {
        DirectoryTarget { directory, paths, overwrite, numeric_ids, sparse }
    }
}

prop_compose! {
    fn database()(
        connection in word(), database in word(), to in option::of(word()), schemas in texts(),
        tables in texts(), roles: bool, jobs in option::of(1..=u32::MAX), keep_incomplete: bool,
        verify in proptest::sample::select(vec![VerifyRows::Content, VerifyRows::Counts]),
    ) -> PostgresTarget {
        let replace = schemas.is_empty() && tables.is_empty();
        PostgresTarget {
            connection, database, all_databases: false, to, replace, schemas, tables, roles, jobs,
            keep_incomplete, verify,
        }
    }
}

prop_compose! {
    fn all_databases()(connection in word(), copy: bool, replace: bool) -> PostgresTarget {
        PostgresTarget {
            connection, all_databases: true, replace, to: copy.then(|| "*_copy".into()),
            ..PostgresTarget::default()
        }
    }
}

prop_compose! {
    fn cluster_target()(
        directory in absolute(), moves in vec((word(), word()), 0..3), start: bool,
        keep_settings: bool,
    ) -> ClusterTarget {
        let tablespaces = moves.into_iter().map(|(from, to)| Relocation { from, to }).collect();
        ClusterTarget { directory, tablespaces, start, keep_settings: start && keep_settings }
    }
}

prop_compose! {
    fn redis()(connection in word(), keys in texts(), allow_replicas: bool) -> RedisTarget {
        let allow_replicas = allow_replicas && keys.is_empty();
        RedisTarget { connection, keys, allow_replicas }
    }
}

/// Of every kind.
pub fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        directory().prop_map(Target::Directory),
        cluster_target().prop_map(Target::Cluster),
        database().prop_map(Target::Postgres),
        all_databases().prop_map(Target::Postgres),
        redis().prop_map(Target::Redis),
    ]
}

prop_compose! {
    fn restore()(
        snapshot in id(), target in target(), recovery in option::of(recovery()), dry_run: bool,
    ) -> RestoreSpec {
        let recovery = recovery.filter(|_| target.kind() == TargetKind::Cluster);
        RestoreSpec { snapshot, target, recovery, dry_run }
    }
}

/// The way to a timeline, without the last leg.
pub fn legs() -> impl Strategy<Value = Vec<Leg>> {
    vec((1..1_000u32, 1..=u64::MAX), 0..3).prop_map(|steps| {
        let mut timeline = 0;
        let legs = steps.into_iter().map(|(step, until)| {
            timeline += step;
            Leg {
                timeline: TimelineId(timeline),
                until: Some(Lsn(until)),
            }
        });
        legs.collect()
    })
}

prop_compose! {
    fn recovery()(
        system in system(), mut legs in legs(), end in lsn(),
        target in prop_oneof![
            Just(RecoveryTarget::Latest),
            moment().prop_map(RecoveryTarget::Time),
            lsn().prop_map(RecoveryTarget::Lsn),
            any::<u32>().prop_map(RecoveryTarget::Xid),
            word().prop_map(RecoveryTarget::RestorePoint),
        ],
        line: u32, new_timeline in option::of(1..=u32::MAX),
    ) -> Recovery {
        let timeline = legs.last().map_or(1, |leg| leg.timeline.0 + 1);
        legs.push(Leg { timeline: TimelineId(timeline), until: None });
        Recovery { system, legs, end, target, line, new_timeline: new_timeline.map(TimelineId) }
    }
}

prop_compose! {
    fn wal()(
        dataset in word(), connection in word(),
        method in prop_oneof![
            (word(), any::<u32>())
                .prop_map(|(slot, flush_seconds)| WalMethod::Stream { slot, flush_seconds }),
            Just(WalMethod::Push),
            word().prop_map(|slot| WalMethod::Forget { slot }),
        ],
        limit in option::of(1..=u64::MAX), drop: bool,
    ) -> WalSpec {
        WalSpec { dataset, connection, method, limit, drop }
    }
}

prop_compose! {
    fn list()(
        snapshot in id(), path in word(), recursive: bool, limit: u32,
        after in option::of(word()),
    ) -> ListSpec {
        ListSpec { snapshot, path, recursive, limit, after }
    }
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

prop_compose! {
    fn upload()(
        dataset in word(), transfer in any::<u128>().prop_map(Uuid::from_u128), manifest in id(), tags in texts(),
        file_name in word(), format in proptest::sample::select(&[
            UploadFormat::File, UploadFormat::Sql, UploadFormat::SqlGzip, UploadFormat::Custom,
        ][..]), database in text(),
    ) -> UploadSpec {
        UploadSpec { dataset, transfer, manifest, tags, file_name, format, database }
    }
}

prop_compose! {
    fn download()(snapshot in id(), path in word(), reader in public_key()) -> DownloadSpec {
        DownloadSpec { snapshot, path, reader }
    }
}

/// Of every kind.
pub fn spec() -> impl Strategy<Value = JobSpec> {
    prop_oneof![
        backup().prop_map(JobSpec::Backup),
        restore().prop_map(JobSpec::Restore),
        list().prop_map(JobSpec::List),
        upload().prop_map(JobSpec::Upload),
        download().prop_map(JobSpec::Download),
        wal().prop_map(JobSpec::Wal),
    ]
}

/// Of every kind.
pub fn warning_code() -> impl Strategy<Value = WarningCode> {
    proptest::sample::select(WarningCode::ALL)
}

prop_compose! {
    /// Of every kind.
    pub fn warning()(
        code in warning_code(), path in path(), cause in text(), accepted: bool,
    ) -> Warning {
        Warning { code, path, cause, accepted }
    }
}

prop_compose! {
    /// Of every kind.
    pub fn failure()(
        code in proptest::sample::select(FailureCode::ALL), message in text(),
        retryable: bool,
    ) -> Failure {
        Failure { code, message, retryable }
    }
}

prop_compose! {
    fn cluster()(
        system in system(), timeline in timeline(), from in lsn(), to in lsn(),
        power in 20..=30u32, major: u32, ended in moment(),
    ) -> ClusterPoint {
        ClusterPoint {
            system, timeline, start: from.min(to), stop: from.max(to),
            segment: SegmentSize::new(1 << power).unwrap(), major, ended,
        }
    }
}

prop_compose! {
    /// Figures that are kept as they are.
    pub fn made()(
        snapshot in id(), n in proptest::array::uniform9(0..=MAX_FIGURE),
        cluster in option::of(cluster()),
        partial: bool,
    ) -> BackupOutcome {
        BackupOutcome {
            snapshot, files: n[0], directories: n[1], files_unmodified: n[2], bytes_read: n[3],
            bytes_total: n[4], bytes_new: n[5], bytes_stored: n[6], blobs_new: n[7],
            packs_new: n[8], cluster, partial,
        }
    }
}

prop_compose! {
    fn planned()(path in path(), action in text(), bytes: u64) -> PlannedAction {
        PlannedAction { path, action, bytes }
    }
}

prop_compose! {
    fn restored()(
        n: [u64; 6], plan in vec(planned(), 0..3), notes in texts(),
        server in option::of((any::<u16>(), text(), text())),
    ) -> RestoreOutcome {
        RestoreOutcome {
            files: n[0], directories: n[1], bytes_written: n[2], files_kept: n[3],
            bytes_fetched: n[4], plan, plan_count: n[5], notes,
            server: server.map(|(port, socket_directory, log)| StartedServer {
                port, socket_directory, log,
            }),
        }
    }
}

prop_compose! {
    fn entry()(
        path in path(), kind in text(), mode: u32, uid: u32, gid: u32, size: u64,
        modified in text(), link_target in option::of(vec(any::<u8>(), 1..20).prop_map(RawPath)),
    ) -> Entry {
        Entry { path, kind, mode, uid, gid, size, modified, link_target }
    }
}

prop_compose! {
    fn download_outcome()(
        manifest in id(), bytes: u64, file_name in word(), files: u64, archive: bool,
    ) -> DownloadOutcome {
        DownloadOutcome { manifest, bytes, file_name, files, archive }
    }
}

/// Of every kind.
pub fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        made().prop_map(Outcome::Backup),
        made().prop_map(Outcome::Upload),
        restored().prop_map(Outcome::Restore),
        download_outcome().prop_map(Outcome::Download),
        any::<[u64; 3]>().prop_map(|n| {
            Outcome::Wal(WalOutcome {
                objects: n[0],
                bytes: n[1],
                bytes_stored: n[2],
            })
        }),
        (vec(entry(), 0..3), any::<bool>())
            .prop_map(|(entries, truncated)| Outcome::List(ListOutcome { entries, truncated })),
    ]
}
