//! Arbitrary values of every plain type.

use std::num::{NonZeroU32, NonZeroU64};

use jiff::Timestamp;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use strongroom_layout::{
    AgentId, AttemptRef, Directory, JobId, ObjectId, ObjectKind, ObjectName, SystemId, WalName,
    WalPart,
    position::{Lsn, SegmentSize, TimelineId},
};
use strongroom_transfer::PublicKey;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{grant::*, identity::*, job::*, session::*, wal::*};

pub(super) fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(super) fn attempt() -> impl Strategy<Value = AttemptRef> {
    (uuid(), 1..=u32::MAX).prop_map(|(job, attempt)| AttemptRef {
        job: JobId(job),
        attempt,
    })
}

fn attempts() -> impl Strategy<Value = Vec<AttemptRef>> {
    vec(attempt(), 0..4)
}

pub(super) fn id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn word() -> impl Strategy<Value = String> {
    "\\PC{1,12}"
}

fn secret() -> impl Strategy<Value = Zeroizing<String>> {
    word().prop_map(Zeroizing::new)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn object() -> impl Strategy<Value = ObjectName> {
    let kind = proptest::sample::select(&ObjectKind::ALL[..]);
    (kind, id(), place(), any::<bool>()).prop_map(|(kind, id, place, history)| match kind {
        ObjectKind::Config => ObjectName::Config,
        ObjectKind::Wal => {
            let (system, timeline, start, end) = place;
            let part = if history {
                WalPart::History
            } else {
                WalPart::Range { start, end }
            };
            ObjectName::Wal(WalName {
                system,
                timeline,
                part,
                id,
            })
        }
        kind => ObjectName::Hashed(kind, id),
    })
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

/// At least one byte of a cluster's log.
fn place() -> impl Strategy<Value = (SystemId, TimelineId, Lsn, Lsn)> {
    (system(), timeline(), 0..u64::MAX).prop_flat_map(|(system, timeline, start)| {
        (start + 1..=u64::MAX).prop_map(move |end| (system, timeline, Lsn(start), Lsn(end)))
    })
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (-1_000_000_000_000_000..4_000_000_000_000_000_i64)
        .prop_map(|us| Timestamp::from_microsecond(us).unwrap())
}

prop_compose! {
    pub(super) fn enrol_request()(
        token_id in word(), token_secret in secret(), csr_pem in word(),
        hostname in text(), agent_version in text(),
    ) -> EnrolRequest {
        EnrolRequest { token_id, token_secret, csr_pem, hostname, agent_version }
    }
}

prop_compose! {
    pub(super) fn enrol_response()(
        agent_id in uuid(), agent_name in word(), certificate_pem in word(), ca_pem in word(),
    ) -> EnrolResponse {
        EnrolResponse { agent_id: AgentId(agent_id), agent_name, certificate_pem, ca_pem }
    }
}

prop_compose! {
    pub(super) fn renew_request()(csr_pem in word()) -> RenewRequest {
        RenewRequest { csr_pem }
    }
}

prop_compose! {
    pub(super) fn renew_response()(certificate_pem in word()) -> RenewResponse {
        RenewResponse { certificate_pem }
    }
}

prop_compose! {
    fn consent()(
        sources in texts(), read_paths in texts(), restore_paths in texts(), commands in texts(),
    ) -> Consent {
        Consent { sources, read_paths, restore_paths, commands }
    }
}

prop_compose! {
    fn agent_hello()(
        boot_id in uuid(), agent_version in text(), hostname in text(), os in text(),
        architecture in text(), running in attempts(), reported in attempts(),
        consent in consent(), transfer_key in option::of(public_key()),
        answers_challenges: bool, clock in option::of(moment()),
    ) -> AgentHello {
        AgentHello {
            boot_id, agent_version, hostname, os, architecture, running, reported, consent,
            transfer_key, answers_challenges, clock,
        }
    }
}

prop_compose! {
    fn progress()(
        attempt in attempt(), stage in text(), files: u64, bytes: u64,
        total_files in option::of(1..=u64::MAX), total_bytes in option::of(1..=u64::MAX),
        bytes_stored: u64, warnings: u64,
    ) -> Progress {
        Progress {
            attempt, stage, files, bytes, total_files, total_bytes, bytes_stored, warnings,
        }
    }
}

prop_compose! {
    fn server()(
        product in text(), version in text(), role in text(),
        databases in vec((text(), any::<u64>(), any::<u64>(), any::<bool>()), 0..3),
        facts in vec((text(), text()), 0..3),
    ) -> Server {
        let databases = databases.into_iter();
        let facts = facts.into_iter();
        Server {
            product,
            version,
            role,
            databases: databases
                .map(|(name, bytes, keys, closed)| Database { name, bytes, keys, closed })
                .collect(),
            facts: facts.map(|(name, value)| Fact { name, value }).collect(),
        }
    }
}

prop_compose! {
    fn connection()(
        kind in word(), name in word(), restore: bool, seconds in 0..4_000_000_000_i64,
        state in prop_oneof![server().prop_map(Ok), text().prop_map(Err)],
    ) -> Connection {
        let checked_at = jiff::Timestamp::from_second(seconds).unwrap();
        Connection { kind, name, restore, checked_at, state }
    }
}

prop_compose! {
    fn coordinator_hello()(
        session_id in uuid(), coordinator_version in text(), heartbeat_seconds in 1..=u32::MAX,
        lease_seconds in 1..=u32::MAX, fenced in attempts(),
    ) -> CoordinatorHello {
        CoordinatorHello {
            session_id, coordinator_version, heartbeat_seconds, lease_seconds, fenced,
        }
    }
}

prop_compose! {
    fn heartbeat()(
        running in vec(progress(), 0..3), resident_bytes: u64, challenge in option::of(uuid()),
        leaving: bool, clock in option::of(moment()),
    ) -> Heartbeat {
        Heartbeat { running, resident_bytes, challenge, leaving, clock }
    }
}

pub(super) fn agent_message() -> impl Strategy<Value = AgentMessage> {
    prop_oneof![
        agent_hello().prop_map(AgentMessage::Hello),
        heartbeat().prop_map(AgentMessage::Heartbeat),
        attempt().prop_map(AgentMessage::JobAccepted),
        report().prop_map(AgentMessage::Report),
        vec(connection(), 0..3).prop_map(AgentMessage::Inventory),
    ]
}

pub(super) fn coordinator_message() -> impl Strategy<Value = CoordinatorMessage> {
    prop_oneof![
        coordinator_hello().prop_map(CoordinatorMessage::Hello),
        offer().prop_map(|offer| CoordinatorMessage::JobOffer(Box::new(offer))),
        (attempt(), text())
            .prop_map(|(attempt, reason)| CoordinatorMessage::CancelJob { attempt, reason }),
        uuid().prop_map(CoordinatorMessage::ReportAck),
        attempts().prop_map(CoordinatorMessage::HeartbeatAck),
        uuid().prop_map(CoordinatorMessage::Challenge),
        (text(), any::<bool>())
            .prop_map(|(reason, reconnect)| CoordinatorMessage::Goodbye { reason, reconnect }),
    ]
}

prop_compose! {
    fn repository()(name in word(), password in secret(), create: bool) -> RepositoryAccess {
        RepositoryAccess { name, password, create }
    }
}

prop_compose! {
    fn limits()(
        upload in option::of(any::<NonZeroU64>()), download in option::of(any::<NonZeroU64>()),
        read in option::of(any::<NonZeroU64>()), threads in option::of(any::<NonZeroU32>()),
        memory in option::of(any::<NonZeroU64>()),
    ) -> ResourceLimits {
        ResourceLimits { upload, download, read, threads, memory }
    }
}

prop_compose! {
    pub(super) fn offer()(
        attempt in attempt(), lease_seconds: u32, timeout_seconds in option::of(1..=u32::MAX),
        traceparent in text(), repository in repository(),
        limits in limits(), work in work(),
        accept in vec(warning_code(), 0..3),
    ) -> JobOffer {
        JobOffer {
            attempt, lease_seconds, timeout_seconds, traceparent, repository,
            limits, accept, work,
        }
    }
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
    ) -> BackupWork {
        BackupWork { dataset, source, parent, tags }
    }
}

prop_compose! {
    fn restore()(
        snapshot in id(), target in word(), paths in texts(),
        overwrite in proptest::sample::select(
            vec![Overwrite::Never, Overwrite::IfChanged, Overwrite::Always]
        ),
        dry_run: bool,
        numeric_ids: bool,
        sparse in proptest::sample::select(vec![Sparse::Auto, Sparse::Never]),
    ) -> RestoreWork {
        RestoreWork { snapshot, target, paths, overwrite, dry_run, numeric_ids, sparse }
    }
}

prop_compose! {
    fn restore_postgres()(
        snapshot in id(), connection in word(), database in word(), to in word(), replace: bool,
        schemas in texts(), tables in texts(), globals: bool, jobs in option::of(1..=u32::MAX),
        dry_run: bool, all: bool, keep_incomplete: bool, counts_only: bool,
    ) -> RestorePostgresWork {
        RestorePostgresWork {
            snapshot, connection, database, to, replace, schemas, tables, globals, jobs, dry_run,
            all, keep_incomplete, counts_only,
        }
    }
}

prop_compose! {
    fn restore_cluster()(
        snapshot in id(), target in word(), moves in vec((word(), word()), 0..3), start: bool,
        keep_settings: bool, recovery in option::of(recovery()), dry_run: bool,
    ) -> RestoreClusterWork {
        let tablespaces = moves.into_iter().map(|(from, to)| Relocation { from, to }).collect();
        RestoreClusterWork {
            snapshot, target, tablespaces, start, keep_settings, recovery, dry_run,
        }
    }
}

fn legs() -> impl Strategy<Value = Vec<Leg>> {
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
    ) -> WalWork {
        WalWork { dataset, connection, method, limit, drop }
    }
}

prop_compose! {
    fn restore_redis()(
        snapshot in id(), connection in word(), keys in texts(), dry_run: bool,
        allow_replicas: bool,
    ) -> RestoreRedisWork {
        RestoreRedisWork { snapshot, connection, keys, dry_run, allow_replicas }
    }
}

prop_compose! {
    fn list()(
        snapshot in id(), path in word(), recursive: bool, limit: u32, after in option::of(word()),
    ) -> ListWork {
        ListWork { snapshot, path, recursive, limit, after }
    }
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

prop_compose! {
    fn upload()(
        dataset in word(), transfer in uuid(), manifest in id(), tags in texts(),
        file_name in word(), format in proptest::sample::select(&[
            UploadFormat::File, UploadFormat::Sql, UploadFormat::SqlGzip, UploadFormat::Custom,
        ][..]), database in text(),
    ) -> UploadWork {
        UploadWork { dataset, transfer, manifest, tags, file_name, format, database }
    }
}

prop_compose! {
    fn download()(snapshot in id(), path in word(), reader in public_key()) -> DownloadWork {
        DownloadWork { snapshot, path, reader }
    }
}

prop_compose! {
    fn download_result()(
        manifest in id(), bytes: u64, file_name in word(), files: u64, archive: bool,
    ) -> DownloadResult {
        DownloadResult { manifest, bytes, file_name, files, archive }
    }
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        backup().prop_map(Work::Backup),
        restore().prop_map(Work::Restore),
        restore_postgres().prop_map(Work::RestorePostgres),
        restore_cluster().prop_map(Work::RestoreCluster),
        restore_redis().prop_map(Work::RestoreRedis),
        list().prop_map(Work::List),
        upload().prop_map(Work::Upload),
        download().prop_map(Work::Download),
        wal().prop_map(Work::Wal),
    ]
}

fn warning_code() -> impl Strategy<Value = WarningCode> {
    proptest::sample::select(WarningCode::ALL)
}

prop_compose! {
    fn warning()(
        code in warning_code(), path in bytes(), cause in text(), accepted: bool,
    ) -> Warning {
        Warning { code, path, cause, accepted }
    }
}

prop_compose! {
    fn failure()(
        code in proptest::sample::select(&FailureCode::ALL[..]), message in text(),
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
    pub(super) fn backup_result()(
        snapshot in id(), n in proptest::array::uniform9(0..=crate::MAX_FIGURE),
        cluster in option::of(cluster()),
        partial: bool,
    ) -> BackupResult {
        BackupResult {
            snapshot, files: n[0], directories: n[1], files_unmodified: n[2], bytes_read: n[3],
            bytes_total: n[4], bytes_new: n[5], bytes_stored: n[6], blobs_new: n[7],
            packs_new: n[8], cluster, partial,
        }
    }
}

prop_compose! {
    fn planned()(path in bytes(), action in text(), bytes: u64) -> PlannedAction {
        PlannedAction { path, action, bytes }
    }
}

prop_compose! {
    fn restore_result()(
        n: [u64; 6], plan in vec(planned(), 0..3), notes in texts(),
        server in option::of((any::<u16>(), text(), text())),
    ) -> RestoreResult {
        RestoreResult {
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
        path in bytes(), kind in text(), mode: u32, uid: u32, gid: u32, size: u64,
        modified in text(), link_target in bytes(),
    ) -> Entry {
        Entry { path, kind, mode, uid, gid, size, modified, link_target }
    }
}

prop_compose! {
    pub(super) fn report()(
        report_id in uuid(), attempt in attempt(),
        outcome in prop_oneof![
            failure().prop_map(Err),
            backup_result().prop_map(|result| Ok(Success::Backup(result))),
            restore_result().prop_map(|result| Ok(Success::Restore(result))),
            download_result().prop_map(|result| Ok(Success::Download(result))),
            any::<[u64; 3]>().prop_map(|n| {
                Ok(Success::Wal(WalResult { objects: n[0], bytes: n[1], bytes_stored: n[2] }))
            }),
            (vec(entry(), 0..3), any::<bool>()).prop_map(|(entries, truncated)| {
                Ok(Success::List(ListResult { entries, truncated }))
            }),
        ],
        warnings in vec(warning(), 0..3), n: [u64; 3],
    ) -> Report {
        Report {
            report_id, attempt, outcome, warnings, warning_count: n[0],
            peak_resident_bytes: n[1], duration_ms: n[2],
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        option::of((any::<u64>(), any::<u64>())).prop_map(|range| Action::Get {
            range: range.map(|(a, b)| (a.min(b), a.max(b)))
        }),
        (any::<u64>(), id()).prop_map(|(length, sha256)| Action::Put { length, sha256 }),
        Just(Action::Head),
        Just(Action::Delete),
    ]
}

prop_compose! {
    pub(super) fn sign_request()(
        attempt in attempt(),
        requests in vec(
            (object(), action()).prop_map(|(object, action)| RequestToSign { object, action }),
            0..4,
        ),
    ) -> SignRequest {
        SignRequest { attempt, requests }
    }
}

fn sign_answer() -> impl Strategy<Value = SignAnswer> {
    let grant = (word(), word(), vec((text(), text()), 0..3), any::<u32>()).prop_map(
        |(method, url, headers, valid_seconds)| {
            SignAnswer::Grant(Grant {
                method,
                url,
                headers,
                valid_seconds,
            })
        },
    );
    let reason = proptest::sample::select(&RefusalReason::ALL[..]);
    let refusal = (reason, text())
        .prop_map(|(reason, message)| SignAnswer::Refusal(Refusal { reason, message }));
    prop_oneof![grant, refusal]
}

prop_compose! {
    pub(super) fn sign_response()(answers in vec(sign_answer(), 0..4)) -> SignResponse {
        SignResponse { answers }
    }
}

prop_compose! {
    pub(super) fn list_objects_request()(
        attempt in attempt(), directory in proptest::sample::select(&Directory::ALL[..]),
        after in option::of(id()),
    ) -> ListObjectsRequest {
        ListObjectsRequest { attempt, directory, after }
    }
}

prop_compose! {
    pub(super) fn list_objects_response()(
        objects in vec(
            (id(), any::<u64>()).prop_map(|(id, size)| ListedObject { id, size }), 0..4,
        ),
        more: bool,
    ) -> ListObjectsResponse {
        ListObjectsResponse { objects, more }
    }
}

prop_compose! {
    pub(super) fn release_locks_request()(
        attempt in attempt(), ids in vec(id(), 0..4),
    ) -> ReleaseLocksRequest {
        ReleaseLocksRequest { attempt, ids }
    }
}

prop_compose! {
    pub(super) fn publish_request()(
        attempt in attempt(), snapshot in id(), length: u64, result in backup_result(),
        snapshot_time_us: i64,
    ) -> PublishRequest {
        PublishRequest { attempt, snapshot, length, result, snapshot_time_us }
    }
}

prop_compose! {
    pub(super) fn publish_response()(answer in sign_answer()) -> PublishResponse {
        PublishResponse { answer }
    }
}

/// Of a part with this start and end.
fn restore_points(start: Lsn, end: Lsn) -> impl Strategy<Value = Vec<RestorePoint>> {
    let point = (word(), start.0 + 1..=end.0, moment());
    vec(
        point.prop_map(|(name, lsn, at)| RestorePoint {
            name,
            lsn: Lsn(lsn),
            at,
        }),
        0..3,
    )
}

prop_compose! {
    fn digest()(at in lsn(), digest in id()) -> WalDigest {
        WalDigest { at, digest }
    }
}

prop_compose! {
    fn behind()(
        system in system(), timeline in timeline(), flushed in 0..u64::MAX / 2, more in 1..u64::MAX / 2,
    ) -> WalBehind {
        WalBehind { system, timeline, flushed: Lsn(flushed), archived: Lsn(flushed + more) }
    }
}

prop_compose! {
    fn stored()(place in place())(
        place in Just(place), id in id(), length in any::<u64>(), count in 0..=crate::MAX_FIGURE,
        last in moment(), xids in any::<(u32, u32)>(),
        restore_points in restore_points(place.2, place.3), digests in vec(digest(), 0..3),
    ) -> StoredWal {
        let (system, timeline, start, end) = place;
        let commits = (count > 0).then_some(Commits {
            count, last, first_xid: xids.0, last_xid: xids.1,
        });
        StoredWal { system, timeline, start, end, id, length, commits, restore_points, digests }
    }
}

prop_compose! {
    fn history()(
        system in system(), timeline in timeline(), id in id(), length: u64, legs in legs(),
        digest in option::of(id()),
    ) -> StoredHistory {
        StoredHistory { system, timeline, id, length, legs, digest }
    }
}

prop_compose! {
    fn position()(
        system in system(), timeline in timeline(), lsn in lsn(),
        as_of in option::of(moment().prop_filter("0 is none", |at| *at != Timestamp::UNIX_EPOCH)),
        waiting in 0..=crate::MAX_FIGURE, problem in option::of(word()),
    ) -> WalPosition {
        WalPosition { system, timeline, lsn, as_of, waiting, problem }
    }
}

prop_compose! {
    pub(super) fn record_wal_request()(
        attempt in attempt(), stored in vec(stored(), 0..3), histories in vec(history(), 0..3),
        position in option::of(position()), behind in option::of(behind()),
    ) -> RecordWalRequest {
        RecordWalRequest { attempt, stored, histories, position, behind }
    }
}

prop_compose! {
    pub(super) fn archived_wal_request()(
        attempt in attempt(), system in system(),
        parts in option::of((timeline(), lsn(), option::of((1..=u64::MAX).prop_map(Lsn)))),
        line: u32,
    ) -> ArchivedWalRequest {
        let parts = parts.map(|(timeline, from, to)| WalRange { timeline, from, to });
        ArchivedWalRequest { attempt, system, parts, line }
    }
}

prop_compose! {
    pub(super) fn archived_wal_response()(
        stored in vec(stored(), 0..3), more: bool, histories in vec(history(), 0..3),
        tails in btree_map(timeline(), lsn(), 0..3),
    ) -> ArchivedWalResponse {
        ArchivedWalResponse { stored, more, histories, tails }
    }
}
