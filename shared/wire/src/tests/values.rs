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
    position::{Lsn, TimelineId},
};
use strongroom_spec::{MAX_FIGURE, ResourceLimits, samples};
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
        boot_id in uuid(), agent_version in text(), protocol in 1..9u32, hostname in text(), os in text(),
        architecture in text(), running in attempts(), reported in attempts(),
        consent in consent(), transfer_key in option::of(public_key()),
        answers_challenges: bool, clock in option::of(moment()),
    ) -> AgentHello {
        AgentHello {
            boot_id, agent_version, protocol, hostname, os, architecture, running, reported, consent,
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
        session_id in uuid(), coordinator_version in text(), protocol in 1..9u32,
        heartbeat_seconds in 1..=u32::MAX,
        lease_seconds in 1..=u32::MAX, fenced in attempts(),
    ) -> CoordinatorHello {
        CoordinatorHello {
            session_id, coordinator_version, protocol, heartbeat_seconds, lease_seconds, fenced,
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
        limits in limits(), spec in samples::spec(),
        accept in vec(samples::warning_code(), 0..3),
    ) -> JobOffer {
        JobOffer {
            attempt, lease_seconds, timeout_seconds, traceparent, repository,
            limits, accept, spec: Ok(spec),
        }
    }
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

prop_compose! {
    pub(super) fn report()(
        report_id in uuid(), attempt in attempt(),
        outcome in prop_oneof![samples::failure().prop_map(Err), samples::outcome().prop_map(Ok)],
        warnings in vec(samples::warning(), 0..3), n: [u64; 3],
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
        attempt in attempt(), snapshot in id(), length: u64, result in samples::made(),
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
        place in Just(place), id in id(), length in any::<u64>(), count in 0..=MAX_FIGURE,
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
        system in system(), timeline in timeline(), id in id(), length: u64, legs in samples::legs(),
        digest in option::of(id()),
    ) -> StoredHistory {
        StoredHistory { system, timeline, id, length, legs, digest }
    }
}

prop_compose! {
    fn position()(
        system in system(), timeline in timeline(), lsn in lsn(),
        as_of in option::of(moment().prop_filter("0 is none", |at| *at != Timestamp::UNIX_EPOCH)),
        waiting in 0..=MAX_FIGURE, problem in option::of(word()),
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
