//! The write-ahead log.

use jiff::Timestamp;
use strongroom_layout::{
    AttemptRef, ObjectId, ObjectKind, ObjectName, SystemId,
    position::{Lsn, SegmentSize, TimelineId},
};
use strongroom_spec::{
    ClusterPoint, ClusterTarget, FailureCode, JobSpec, Leg, Outcome, Recovery, RecoveryTarget,
    RestoreSpec, WalMethod, WalSpec, WarningCode,
};
use strongroom_wire::wal::{
    Commits, RecordWalRequest, RestorePoint, StoredHistory, StoredWal, UNIT, WalBehind, WalDigest,
    WalPosition, WalRange,
};

use super::{
    Fixture, contract,
    fixture::{failure, policy, report, snapshot_id, success},
};
use crate::{
    catalog::{Publication, RecordError, wal::warn_of_end_in},
    jobs::request,
    model::{
        Agent, Comparison, DatasetName, JobState, LostObject, Repository, RepositoryState,
        WalArchive, WalBreak,
    },
};

const SYSTEM: SystemId = SystemId(u64::MAX);

struct Log {
    fixture: Fixture,
    agent: Agent,
    repository: Repository,
    attempt: AttemptRef,
}

/// A part of timeline 1; every object has an id of its own.
fn part(start: u64, end: u64) -> StoredWal {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&start.to_be_bytes());
    id[8..16].copy_from_slice(&end.to_be_bytes());
    StoredWal {
        system: SYSTEM,
        timeline: TimelineId(1),
        start: Lsn(start),
        end: Lsn(end),
        id: ObjectId(id),
        length: end - start,
        commits: None,
        restore_points: vec![],
        digests: match start % UNIT {
            0 => vec![digest(end)],
            _ => vec![digest(start), digest(end)],
        },
    }
}

/// A part that also speaks of where others ended.
fn whole(start: u64, end: u64, others: &[u64]) -> StoredWal {
    let mut part = part(start, end);
    part.digests.extend(others.iter().map(|at| digest(*at)));
    part
}

/// The same place in another log.
fn other(mut part: StoredWal) -> StoredWal {
    part.id.0[31] = 1;
    for said in &mut part.digests {
        said.digest.0[31] = 1;
    }
    part
}

/// Of the one log that is told here.
fn digest(at: u64) -> WalDigest {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&at.to_be_bytes());
    WalDigest {
        at: Lsn(at),
        digest: ObjectId(digest),
    }
}

/// Some days before the fixture's clock.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

fn dataset() -> DatasetName {
    DatasetName::new("orders", "db-1")
}

impl Log {
    async fn new(fixture: Fixture) -> Self {
        let agent = fixture.agent("db-1").await;
        let repository = fixture.repository(&agent).await;
        let attempt = fixture.started(&agent, "orders").await;
        Self {
            fixture,
            agent,
            repository,
            attempt,
        }
    }

    fn archive(&self) -> WalArchive {
        WalArchive {
            repository: self.repository.name.clone(),
            system: SYSTEM,
            line: 0,
        }
    }

    async fn grant(&self, objects: &[ObjectName]) {
        let objects: Vec<_> = objects.iter().map(|it| (*it, 100)).collect();
        let catalog = &self.fixture.catalog;
        catalog
            .record_objects(&self.repository.name, self.attempt, &objects)
            .await
            .unwrap();
    }

    async fn record(&self, request: RecordWalRequest) -> Result<(), RecordError> {
        self.record_of(&dataset(), request).await
    }

    async fn record_of(
        &self,
        dataset: &DatasetName,
        request: RecordWalRequest,
    ) -> Result<(), RecordError> {
        let catalog = &self.fixture.catalog;
        catalog
            .record_wal(&self.repository.name, dataset, &request, u64::MAX)
            .await
            .map(drop)
    }

    /// Grants and enters, as whoever else shares the repository.
    async fn store_of(
        &self,
        dataset: &DatasetName,
        parts: &[StoredWal],
    ) -> Result<(), RecordError> {
        let objects: Vec<_> = parts.iter().map(StoredWal::object).collect();
        self.grant(&objects).await;
        self.record_of(dataset, self.request(parts.to_vec())).await
    }

    /// The line of a dataset, and whether it goes on.
    async fn line_of(&self, dataset: &DatasetName) -> (u32, bool) {
        let catalog = &self.fixture.catalog;
        let line = catalog.wal_line(&self.repository.name, SYSTEM, dataset);
        let line = line.await.unwrap();
        (line.archive.line, line.broken.is_none())
    }

    async fn conflicts(&self) -> usize {
        let filter = crate::catalog::AuditFilter {
            action: Some("wal.conflict".into()),
            ..Default::default()
        };
        let audited = self.fixture.catalog.audit_log(&filter, 10).await;
        audited.unwrap().items.len()
    }

    fn request(&self, stored: Vec<StoredWal>) -> RecordWalRequest {
        RecordWalRequest {
            attempt: self.attempt,
            stored,
            histories: vec![],
            position: None,
            behind: None,
        }
    }

    /// Grants and enters.
    async fn store(&self, parts: &[StoredWal]) {
        let objects: Vec<_> = parts.iter().map(StoredWal::object).collect();
        self.grant(&objects).await;
        self.record(self.request(parts.to_vec())).await.unwrap();
    }

    async fn stretches(&self) -> Vec<(u64, u64)> {
        let catalog = &self.fixture.catalog;
        let stretches = catalog.wal_stretches(&self.archive()).await.unwrap();
        stretches.iter().map(|it| (it.start.0, it.end.0)).collect()
    }

    async fn parts(&self, from: u64, to: Option<u64>) -> Vec<(u64, u64)> {
        let range = WalRange {
            timeline: TimelineId(1),
            from: Lsn(from),
            to: to.map(Lsn),
        };
        let catalog = &self.fixture.catalog;
        let page = catalog
            .wal_parts(&self.archive(), None, range)
            .await
            .unwrap();
        assert!(!page.more);
        page.parts.iter().map(|it| (it.start.0, it.end.0)).collect()
    }
}

async fn parts_join_and_gaps_stay(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, 100), part(100, 150)]).await;
    assert_eq!(log.stretches().await, [(0, 150)]);
    log.store(&[part(200, 300)]).await;
    assert_eq!(log.stretches().await, [(0, 150), (200, 300)]);
    // Out of order, and overlapping.
    log.store(&[part(140, 210)]).await;
    assert_eq!(log.stretches().await, [(0, 300)]);
    // Said again, it is said once.
    log.record(log.request(vec![part(0, 100)])).await.unwrap();
    assert_eq!(
        log.parts(0, None).await,
        [(0, 100), (100, 150), (140, 210), (200, 300)]
    );
    assert_eq!(log.parts(100, Some(200)).await, [(100, 150), (140, 210)]);
}

async fn what_the_store_has_lost_is_covered_no_more(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, 100), part(100, 150), part(150, 200)])
        .await;
    let catalog = &log.fixture.catalog;
    let name = &log.repository.name;
    let expected = catalog.expected_wal(name, None, 99).await.unwrap();
    assert_eq!(expected.len(), 3);
    let first = expected[0].name.path();
    let behind = catalog.expected_wal(name, Some(&first), 99).await.unwrap();
    assert_eq!(behind, expected[1..]);

    let compared = async |parts: &[StoredWal]| {
        let lost = parts.iter().map(|part| LostObject {
            path: part.object().path(),
            kind: ObjectKind::Wal,
            length: part.length,
            found: None,
            granted_at: log.fixture.now(),
            noticed_at: log.fixture.now(),
            accepted_at: None,
        });
        let found = Comparison {
            lost: lost.collect(),
            lost_count: parts.len() as u64,
            lost_log: parts.iter().map(|part| part.id).collect(),
            found_log: [part(0, 100), part(100, 150), part(150, 200)]
                .iter()
                .filter(|found| !parts.contains(*found))
                .map(|found| found.id)
                .collect(),
        };
        let record = catalog.record_comparison(name, None, &found);
        record.await.unwrap();
    };
    compared(&[part(100, 150)]).await;
    assert_eq!(log.stretches().await, [(0, 100), (150, 200)]);
    assert_eq!(log.parts(0, None).await, [(0, 100), (150, 200)]);
    compared(&[]).await;
    assert_eq!(log.stretches().await, [(0, 200)]);
    assert_eq!(log.parts(0, None).await.len(), 3);

    // What gave way to something that is lost counts again.
    log.store(&[whole(0, UNIT, &[200])]).await;
    assert_eq!(log.parts(0, None).await, [(0, UNIT)]);
    compared(&[part(0, UNIT)]).await;
    assert_eq!(log.stretches().await, [(0, 200)]);
    assert_eq!(log.parts(0, None).await.len(), 3);
    // And what was lost can be stored again, under another name.
    let mut again = whole(0, UNIT, &[200]);
    again.id.0[31] = 9;
    log.store(std::slice::from_ref(&again)).await;
    assert_eq!(log.stretches().await, [(0, UNIT)]);
    assert_eq!(log.parts(0, None).await, [(0, UNIT)]);
}

async fn what_lies_in_another_part_is_superseded_for_a_while(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, 100), part(100, 150)]).await;
    log.fixture.advance(3600);
    log.store(&[whole(0, UNIT, &[150])]).await;
    assert_eq!(log.parts(0, None).await, [(0, UNIT)]);
    assert_eq!(log.stretches().await, [(0, UNIT)]);

    let catalog = &log.fixture.catalog;
    let since = |hours| log.fixture.now() - jiff::SignedDuration::from_hours(hours);
    assert_eq!(catalog.useless_wal(since(1)).await.unwrap(), []);
    log.fixture.advance(2 * 3600);
    let useless = catalog.useless_wal(since(1)).await.unwrap();
    let names: Vec<_> = useless.iter().map(|it| it.name).collect();
    assert_eq!(names, [part(0, 100).object(), part(100, 150).object()]);
    catalog.forget_wal(&useless).await.unwrap();
    assert_eq!(catalog.useless_wal(since(1)).await.unwrap(), []);
    assert_eq!(log.stretches().await, [(0, UNIT)]);
}

async fn old_parts_are_never_superseded(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, 100)]).await;
    log.fixture.advance(72 * 3600);
    // As a stolen agent would claim it.
    log.store(&[whole(0, UNIT, &[100])]).await;
    log.fixture.advance(72 * 3600);
    let catalog = &log.fixture.catalog;
    assert_eq!(catalog.useless_wal(log.fixture.now()).await.unwrap(), []);
    // Both are listed: whoever restores compares them.
    assert_eq!(log.parts(0, None).await, [(0, UNIT), (0, 100)]);
}

/// Takes a base backup of the cluster.
async fn take_base(log: &Log, number: u8) {
    let attempt = begin_base(log, &log.agent, "base").await;
    publish_base(log, &log.agent, (attempt, number)).await;
}

/// Begins a base backup into the log's repository.
async fn begin_base(log: &Log, agent: &Agent, policy: &str) -> AttemptRef {
    let attempt = log.fixture.started(agent, policy).await;
    sqlx::query("UPDATE jobs SET repository = $1 WHERE id = $2")
        .bind(log.repository.name.clone())
        .bind(attempt.job.to_string())
        .execute(log.fixture.catalog.0.backend.writers())
        .await
        .unwrap();
    attempt
}

async fn publish_base(log: &Log, agent: &Agent, (attempt, number): (AttemptRef, u8)) {
    let point = ClusterPoint {
        system: SYSTEM,
        timeline: TimelineId(1),
        start: Lsn(0),
        stop: Lsn(10),
        segment: SegmentSize::new(16 << 20).unwrap(),
        major: 15,
        ended: log.fixture.now(),
    };
    let Outcome::Backup(mut result) = success(number) else {
        unreachable!("success is of a backup");
    };
    result.cluster = Some(point);
    let publication = Publication {
        attempt,
        length: 300,
        result: result.clone(),
        time: log.fixture.now(),
    };
    log.fixture.catalog.publish(&publication).await.unwrap();
    let done = Ok(Outcome::Backup(result));
    log.fixture.finish(agent, attempt, done).await;
}

async fn the_same_place_with_other_content_ends_the_line(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let name = log.repository.name.clone();
    let history = |id: u8, until: u64| StoredHistory {
        system: SYSTEM,
        timeline: TimelineId(2),
        id: ObjectId([id; 32]),
        length: 50,
        legs: vec![Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(until)),
        }],
        digest: Some(ObjectId([id; 32])),
    };
    let behind = WalBehind {
        system: SYSTEM,
        timeline: TimelineId(1),
        flushed: Lsn(90),
        archived: Lsn(150),
    };
    for round in 0..3_u32 {
        log.fixture.advance(60);
        log.store(&[part(0, 100), part(100, 150)]).await;
        log.grant(&[history(1, 90).object()]).await;
        let mut known = log.request(vec![]);
        known.histories = vec![history(1, 90)];
        log.record(known).await.unwrap();

        let conflicting = match round {
            0 => RecordWalRequest {
                histories: vec![history(2, 90)],
                ..log.request(vec![])
            },
            1 => RecordWalRequest {
                behind: Some(behind),
                ..log.request(vec![])
            },
            _ => log.request(vec![
                part(UNIT, UNIT + 10),
                other(part(100, 150)),
                part(UNIT + 10, UNIT + 20),
            ]),
        };
        let parts = conflicting.stored.iter().map(StoredWal::object);
        let histories = conflicting.histories.iter().map(StoredHistory::object);
        log.grant(&parts.chain(histories).collect::<Vec<_>>()).await;
        let refused = log.record(conflicting.clone()).await.unwrap_err();
        let RecordError::Conflict(end) = refused else {
            panic!("{refused}");
        };
        assert_eq!(
            (end.line, end.timeline.0),
            (round, 1 + u32::from(round == 0))
        );
        // It names both.
        if round == 2 {
            for object in [part(100, 150).object(), other(part(100, 150)).object()] {
                assert!(end.cause.contains(&object.to_string()), "{}", end.cause);
            }
        }
        let line = catalog.wal_line(&name, SYSTEM, &dataset()).await.unwrap();
        assert_eq!(line.broken.as_ref(), Some(&end));
        says_that_it_ended(&log, round, &end).await;
        // Nothing of it is entered but what came before, and nothing more is,
        // whatever it is.
        let more = log.record(log.request(vec![part(0, 100)])).await;
        assert!(matches!(more, Err(RecordError::Conflict(_))));
        let archive = WalArchive {
            line: round,
            ..log.archive()
        };
        let stretches = catalog.wal_stretches(&archive).await.unwrap();
        let stretches: Vec<_> = stretches.iter().map(|it| (it.start.0, it.end.0)).collect();
        let before = (UNIT, UNIT + 10);
        let wanted = [(0, 150), before];
        assert_eq!(stretches, wanted[..=usize::from(round == 2)]);
        // A base backup begins another line, which knows nothing of this one.
        log.fixture.advance(60);
        take_base(&log, 1 + u8::try_from(round).unwrap()).await;
        let line = catalog.wal_line(&name, SYSTEM, &dataset()).await.unwrap();
        assert_eq!((line.archive.line, line.broken), (round + 1, None));
        if round == 2 {
            log.record(conflicting).await.unwrap();
        }
    }
    let filter = crate::catalog::AuditFilter {
        action: Some("wal.conflict".into()),
        ..Default::default()
    };
    let audited = catalog.audit_log(&filter, 10).await.unwrap().items;
    assert_eq!(audited.len(), 3);
    // Both contents stay.
    log.fixture.advance(72 * 3600);
    let useless = catalog.useless_wal(log.fixture.now()).await.unwrap();
    let kept = other(part(100, 150)).object();
    assert!(useless.iter().all(|it| it.name != kept), "{useless:?}");
}

/// A restore to the latest moment of a line is told that there is more, and a
/// restore to another one, or of another line, is not.
async fn says_that_it_ended(log: &Log, line: u32, end: &WalBreak) {
    let catalog = &log.fixture.catalog;
    let mut job = catalog.job(log.attempt.job).await.unwrap();
    let mut connection = catalog.begin().await.unwrap();
    let latest = RecoveryTarget::Latest;
    for (target, line, said) in [
        (latest.clone(), line, true),
        (RecoveryTarget::Time(at(0)), line, false),
        (latest, line + 1, false),
    ] {
        job.spec = JobSpec::Restore(to(target, line));
        let mut report = report(log.attempt, Ok(success(1)));
        let before = report.warning_count;
        let warned = warn_of_end_in(&mut connection, &job, &mut report).await;
        warned.unwrap();
        assert_eq!(report.warning_count, before + u64::from(said));
        let first = report.warnings.first();
        let cause = first.filter(|it| it.code == WarningCode::LogEnded);
        assert_eq!(cause.is_some(), said, "{report:?}");
        assert!(cause.is_none_or(|it| it.cause.contains(&end.cause)));
    }
}

/// A restore of the cluster, with the log of that line.
fn to(target: RecoveryTarget, line: u32) -> RestoreSpec {
    let data = ClusterTarget {
        directory: "/srv/data".into(),
        start: true,
        ..ClusterTarget::default()
    };
    RestoreSpec {
        recovery: Some(Recovery {
            system: SYSTEM,
            legs: Vec::new(),
            end: Lsn(150),
            target,
            line,
            new_timeline: None,
        }),
        ..RestoreSpec::new(snapshot_id(1), data.into())
    }
}

/// A stolen agent enters what it thinks will come, before it comes: that takes the
/// place of nothing.
async fn log_that_was_claimed_in_advance_displaces_nothing(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    log.store(&[part(0, 100)]).await;
    let claimed = StoredWal {
        digests: other(part(0, UNIT)).digests,
        ..other(part(100, UNIT))
    };
    log.store(&[claimed]).await;
    // What is genuine comes in pieces that end where nothing was said. All stay, and
    // all are listed.
    log.store(&[part(100, 150), part(150, 200)]).await;
    let all = [(0, 100), (100, UNIT), (100, 150), (150, 200)];
    assert_eq!(log.parts(0, None).await, all);
    // Where the claim ends, it is found out; nothing has given way to it.
    let unit = whole(0, UNIT, &[200]);
    log.grant(&[unit.object()]).await;
    let refused = log.record(log.request(vec![unit])).await.unwrap_err();
    assert!(matches!(refused, RecordError::Conflict(_)), "{refused}");
    assert_eq!(log.parts(0, None).await, all);
    log.fixture.advance(72 * 3600);
    let useless = catalog.useless_wal(log.fixture.now()).await.unwrap();
    let genuine = [part(0, 100), part(100, 150), part(150, 200)];
    let genuine = genuine.map(|part| part.object());
    assert!(useless.iter().all(|it| !genuine.contains(&it.name)));
    // Behind a new base backup the genuine log goes on.
    take_base(&log, 1).await;
    log.store(&[part(0, 100)]).await;
    let line = catalog
        .wal_line(&log.repository.name, SYSTEM, &dataset())
        .await;
    assert_eq!(line.unwrap().broken, None);
}

/// In a repository of several agents.
async fn whoever_contradicts_another_leaves_and_ends_nobodys_line(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let agent = log.fixture.agent("db-2").await;
    log.fixture.repository(&agent).await;
    let (one, two) = (dataset(), DatasetName::new("orders", "db-2"));
    log.store(&[part(0, 100), part(100, 150)]).await;
    log.fixture.advance(60);
    // After a failover another agent goes on where the first was.
    log.store_of(&two, &[part(150, 200)]).await.unwrap();
    assert_eq!(log.stretches().await, [(0, 200)]);
    log.fixture.advance(60);
    let behind = WalBehind {
        system: SYSTEM,
        timeline: TimelineId(1),
        flushed: Lsn(90),
        archived: Lsn(200),
    };
    let put_back = RecordWalRequest {
        behind: Some(behind),
        ..log.request(vec![])
    };
    let refused = log.record_of(&two, put_back).await.unwrap_err();
    assert!(matches!(refused, RecordError::Conflict(_)), "{refused}");
    let three = DatasetName::new("orders", "web-3");
    let refused = log.store_of(&three, &[other(part(100, 150))]).await;
    let Err(RecordError::Conflict(end)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((end.line, &end.dataset), (0, &three));
    assert!(end.cause.contains("orders@db-1"), "{}", end.cause);
    for left in [&two, &three] {
        assert_eq!(log.line_of(left).await, (0, false), "{left}");
    }
    assert_eq!(log.conflicts().await, 2);
    assert_eq!(log.line_of(&one).await, (0, true));
    log.store(&[part(200, 250)]).await;
    assert_eq!(log.stretches().await, [(0, 250)]);

    // Another's base backup is none of theirs.
    log.fixture.advance(60);
    take_base(&log, 1).await;
    assert_eq!(log.line_of(&two).await, (0, false));
    let attempt = begin_base(&log, &agent, "orders").await;
    publish_base(&log, &agent, (attempt, 2)).await;
    assert_eq!(log.line_of(&two).await, (1, true));
    assert_eq!(log.line_of(&one).await, (0, true));
    log.store_of(&two, &[other(part(100, 150))]).await.unwrap();
    assert_eq!(log.stretches().await, [(0, 250)]);
    assert_eq!(log.line_of(&three).await, (0, false));
}

/// A stolen agent claims what another's server will write.
async fn what_others_claim_ahead_is_nothing_to_whose_timeline_it_is(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let (one, two) = (dataset(), DatasetName::new("orders", "db-2"));
    log.store(&[part(0, 100)]).await;
    log.fixture.advance(60);
    log.store_of(&two, &[part(100, 120)]).await.unwrap();
    let claimed = StoredWal {
        digests: other(part(0, 6 * UNIT)).digests,
        ..other(part(5 * UNIT, 6 * UNIT))
    };
    log.store_of(&two, std::slice::from_ref(&claimed))
        .await
        .unwrap();
    // Neither does the one hear of it whose timeline it is, nor who goes on from there;
    // and who has compared nothing is not told of what only touches the owner's end.
    let archive = log.archive();
    let stranger = DatasetName::new("orders", "db-3");
    for (who, end) in [(&one, 100), (&two, 120), (&stranger, 100)] {
        let tails = catalog.wal_tails(&archive, who).await.unwrap();
        assert_eq!(tails[&TimelineId(1)], Lsn(end), "{who}");
    }
    let behind = WalBehind {
        system: SYSTEM,
        timeline: TimelineId(1),
        flushed: Lsn(100),
        archived: Lsn(6 * UNIT),
    };
    let request = RecordWalRequest {
        behind: Some(behind),
        ..log.request(vec![])
    };
    log.record(request).await.unwrap();
    log.store(&[part(120, 150)]).await;
    for who in [&one, &two] {
        assert_eq!(log.line_of(who).await, (0, true), "{who}");
    }
    // Whoever contradicts leaves, and what was entered stays where it is.
    let refused = log.store_of(&one, &[part(5 * UNIT, 6 * UNIT)]).await;
    assert!(matches!(refused, Err(RecordError::Conflict(_))));
    assert_eq!(log.line_of(&one).await, (0, false));
    assert_eq!(log.line_of(&two).await, (0, true));
    assert_eq!(log.stretches().await, [(0, 150), (5 * UNIT, 6 * UNIT)]);
}

/// A base backup that was under way when a line ended would begin the next with a
/// hole.
async fn a_base_backup_is_of_the_line_that_went_on_when_it_began(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    log.store(&[part(0, 100)]).await;
    log.fixture.advance(10);
    let refused = log.store_of(&dataset(), &[other(part(0, 100))]).await;
    assert!(matches!(refused, Err(RecordError::Conflict(_))));
    log.fixture.advance(10);
    // It was begun with the log.
    publish_base(&log, &log.agent, (log.attempt, 1)).await;
    assert_eq!(log.line_of(&dataset()).await, (0, false));
    let lines = async || {
        let clusters = crate::recovery::load(catalog, &dataset()).await.unwrap();
        let lines = clusters.iter().map(|it| (it.line, it.bases.len()));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(lines().await, [(0, 1)]);

    log.fixture.advance(60);
    let attempt = begin_base(&log, &log.agent, "orders").await;
    publish_base(&log, &log.agent, (attempt, 2)).await;
    assert_eq!(log.line_of(&dataset()).await, (1, true));
    assert_eq!(lines().await, [(0, 1), (1, 1)]);
}

async fn a_timeline_had_begun_with_its_first_commit_or_when_its_history_came(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let history = StoredHistory {
        system: SYSTEM,
        timeline: TimelineId(2),
        id: ObjectId([9; 32]),
        length: 50,
        legs: vec![Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(90)),
        }],
        digest: None,
    };
    let begun = async || {
        let begun = catalog.timeline_begun(&log.archive(), &history).await;
        begun.unwrap()
    };
    assert_eq!(begun().await, None);
    log.grant(&[history.object()]).await;
    let came = log.fixture.now();
    log.fixture.advance(60);
    assert_eq!(begun().await, Some(came));
    let committed = |part, second| StoredWal {
        timeline: TimelineId(2),
        commits: Some(Commits {
            count: 1,
            last: at(second),
            first_xid: 700,
            last_xid: 700,
        }),
        ..part
    };
    // The copy of what was before it has commits of timeline 1.
    log.store(&[committed(part(0, 95), 3)]).await;
    assert_eq!(begun().await, Some(came));
    log.store(&[committed(part(95, 120), 7), committed(part(120, 130), 8)])
        .await;
    assert_eq!(begun().await, Some(at(7)));
}

async fn what_cannot_be_compared_is_refused(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let mute = StoredWal {
        digests: vec![digest(50)],
        ..part(0, 100)
    };
    log.grant(&[mute.object()]).await;
    let error = log.record(log.request(vec![mute])).await.unwrap_err();
    assert!(error.to_string().contains("update the agent"), "{error}");
}

async fn what_stands_somewhere_is_no_less_needed_for_another_place(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, UNIT)]).await;
    log.fixture.advance(72 * 3600);
    // A stolen agent enters the same content elsewhere, and a longer part there.
    let forged = StoredWal {
        start: Lsn(5 * UNIT),
        end: Lsn(5 * UNIT + 100),
        length: 100,
        digests: vec![digest(5 * UNIT + 100)],
        ..part(0, UNIT)
    };
    log.store(&[forged]).await;
    log.store(&[whole(5 * UNIT, 5 * UNIT + 200, &[5 * UNIT + 100])])
        .await;
    log.fixture.advance(72 * 3600);
    let catalog = &log.fixture.catalog;
    assert_eq!(catalog.useless_wal(log.fixture.now()).await.unwrap(), []);
    assert_eq!(log.parts(0, None).await[0], (0, UNIT));
}

async fn what_was_not_granted_or_not_entered_in_time_is_refused(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let unknown = log.record(log.request(vec![part(0, 100)])).await;
    assert!(matches!(unknown, Err(RecordError::NotStored(_))));
    log.grant(&[part(0, 100).object()]).await;
    log.fixture.advance(24 * 3600);
    let late = log.record(log.request(vec![part(0, 100)])).await;
    assert!(matches!(late, Err(RecordError::NotStored(_))));
    let catalog = &log.fixture.catalog;
    let useless = catalog.useless_wal(log.fixture.now()).await.unwrap();
    assert_eq!(useless.len(), 1);
    assert_eq!(log.stretches().await, []);
}

async fn impossible_parts_are_refused_and_nothing_is_entered(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let good = part(0, 100);
    for bad in [part(UNIT - 1, UNIT + 1), part(u64::MAX - 10, u64::MAX)] {
        log.grant(&[good.object(), bad.object()]).await;
        let error = log
            .record(log.request(vec![good.clone(), bad]))
            .await
            .unwrap_err();
        assert!(
            matches!(error, RecordError::Crosses(_) | RecordError::Impossible(_)),
            "{error}"
        );
        assert_eq!(log.stretches().await, []);
    }
}

async fn histories_positions_names_and_commits_are_kept(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let committed = StoredWal {
        commits: Some(Commits {
            count: 2,
            last: at(7),
            first_xid: 700,
            last_xid: 800,
        }),
        restore_points: vec![RestorePoint {
            name: "before".into(),
            lsn: Lsn(50),
            at: at(5),
        }],
        ..part(0, 100)
    };
    let history = StoredHistory {
        system: SYSTEM,
        timeline: TimelineId(2),
        id: ObjectId([9; 32]),
        length: 50,
        legs: vec![Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(90)),
        }],
        digest: None,
    };
    log.grant(&[committed.object(), history.object()]).await;
    let mut request = log.request(vec![committed.clone()]);
    request.histories = vec![history.clone()];
    request.position = Some(WalPosition {
        system: SYSTEM,
        timeline: TimelineId(1),
        lsn: Lsn(100),
        as_of: Some(at(8)),
        waiting: 16,
        problem: Some("the slot holds much".into()),
    });
    log.record(request.clone()).await.unwrap();

    assert_eq!(
        catalog.wal_histories(&log.archive()).await.unwrap(),
        [history]
    );
    let points = catalog
        .wal_restore_points(&log.archive(), &dataset(), "before")
        .await;
    assert_eq!(points.unwrap()[0].point, committed.restore_points[0]);
    // A listing has them where they are.
    log.store(&[part(100, 150)]).await;
    let all = WalRange {
        timeline: TimelineId(1),
        from: Lsn(0),
        to: None,
    };
    let own = dataset();
    let listed = catalog.wal_parts(&log.archive(), Some(&own), all).await;
    let listed = listed.unwrap().parts;
    let without_digests = |part: StoredWal| StoredWal {
        digests: Vec::new(),
        ..part
    };
    let known = [committed, part(100, 150)].map(without_digests);
    assert_eq!(listed, known);
    for (xid, count) in [(699, 0), (700, 1), (742, 1), (800, 1), (801, 0)] {
        let parts = catalog.wal_parts_with_xid(&log.archive(), xid).await;
        assert_eq!(parts.unwrap().len(), count, "{xid}");
    }
    let archive = log.archive();
    let ends = [99, 100, 150].map(|end| (TimelineId(1), Lsn(end)));
    let found = catalog.last_commits_before(&archive, &ends).await.unwrap();
    let found: Vec<_> = found.into_iter().collect();
    assert_eq!(found, [(ends[1], at(7)), (ends[2], at(7))]);
    let progress = catalog.wal_progress().await.unwrap();
    assert_eq!(progress.len(), 1);
    assert_eq!(progress[0].dataset, dataset());
    assert_eq!(Some(progress[0].position.clone()), request.position);
    // The last word counts; and nothing is entered for saying it.
    request.stored.clear();
    request.histories.clear();
    if let Some(position) = &mut request.position {
        position.lsn = Lsn(101);
        position.problem = None;
    }
    log.record(request.clone()).await.unwrap();
    let progress = catalog.wal_progress().await.unwrap();
    assert_eq!(Some(progress[0].position.clone()), request.position);
}

async fn no_number_of_a_timeline_is_reserved_twice(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let reserve = async |known: u32| {
        let archive = log.archive();
        let reserved = catalog.reserve_timeline(&archive, TimelineId(known)).await;
        reserved.unwrap().0
    };
    // Of recoveries of one base that were never put to use.
    assert_eq!((reserve(1).await, reserve(1).await), (2, 3));
    // Behind what a base backup is of, archived log and archived histories.
    assert_eq!(reserve(7).await, 8);
    let mut ahead = part(0, 100);
    ahead.timeline = TimelineId(11);
    log.store(&[ahead]).await;
    assert_eq!(reserve(1).await, 12);
    let history = StoredHistory {
        system: SYSTEM,
        timeline: TimelineId(20),
        id: ObjectId([9; 32]),
        length: 50,
        legs: vec![Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(90)),
        }],
        digest: None,
    };
    log.grant(&[history.object()]).await;
    let mut request = log.request(vec![]);
    request.histories = vec![history];
    log.record(request).await.unwrap();
    assert_eq!((reserve(1).await, reserve(13).await), (21, 22));

    // Whose line it is is all the same; another cluster has numbers of its own.
    let mut other = log.archive();
    other.line = 3;
    let reserved = catalog.reserve_timeline(&other, TimelineId(1)).await;
    assert_eq!(reserved.unwrap(), TimelineId(23));
    other.system = SystemId(5);
    let reserved = catalog.reserve_timeline(&other, TimelineId(1)).await;
    assert_eq!(reserved.unwrap(), TimelineId(2));
}

async fn no_time_in_a_log_is_later_than_the_coordinators_own(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let (catalog, now) = (&log.fixture.catalog, log.fixture.now());
    let in_2100: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    let told = StoredWal {
        commits: Some(Commits {
            count: 1,
            last: in_2100,
            first_xid: 7,
            last_xid: 7,
        }),
        restore_points: vec![RestorePoint {
            name: "later".into(),
            lsn: Lsn(50),
            at: in_2100,
        }],
        ..part(0, 100)
    };
    log.grant(&[told.object()]).await;
    let mut request = log.request(vec![told]);
    request.position = Some(WalPosition {
        system: SYSTEM,
        timeline: TimelineId(1),
        lsn: Lsn(100),
        as_of: Some(in_2100),
        waiting: 0,
        problem: None,
    });
    log.record(request).await.unwrap();
    let points = catalog
        .wal_restore_points(&log.archive(), &dataset(), "later")
        .await;
    assert_eq!(points.unwrap()[0].point.at, now);
    let archive = log.archive();
    let end = (TimelineId(1), Lsn(100));
    let last = catalog.last_commits_before(&archive, &[end]).await.unwrap();
    assert_eq!(last[&end], now);
    let progress = catalog.wal_progress().await.unwrap();
    assert_eq!(progress[0].position.as_of, Some(now));
}

/// A part with so many restore points of one name.
fn named(start: u64, end: u64, points: u64) -> StoredWal {
    let point = |n| RestorePoint {
        name: "again".into(),
        lsn: Lsn(start + 1 + n),
        at: at(5),
    };
    StoredWal {
        restore_points: (0..points).map(point).collect(),
        ..part(start, end)
    }
}

impl Log {
    async fn again(&self) -> Vec<u64> {
        let catalog = &self.fixture.catalog;
        let (archive, own) = (self.archive(), dataset());
        let points = catalog.wal_restore_points(&archive, &own, "again");
        points
            .await
            .unwrap()
            .iter()
            .map(|it| it.point.lsn.0)
            .collect()
    }
}

async fn a_job_enters_so_many_restore_points_and_no_more(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let first = [named(0, 500, 100), named(500, 1000, 100)];
    let second = [named(1000, 1500, 100)];
    let objects = first.iter().chain(&second).map(StoredWal::object);
    log.grant(&objects.collect::<Vec<_>>()).await;
    let record = async |parts: &[StoredWal]| {
        let request = log.request(parts.to_vec());
        catalog
            .record_wal(&log.repository.name, &dataset(), &request, 250)
            .await
            .unwrap()
    };
    assert_eq!(record(&first).await, 0);
    // Said again, nothing is entered and nothing counted.
    assert_eq!(record(&first).await, 0);
    assert_eq!(log.again().await.len(), 200);
    assert_eq!(record(&second).await, 50);
    assert_eq!(log.again().await.len(), 250);
    // The log itself is there.
    assert_eq!(log.stretches().await, [(0, 1500)]);
}

async fn restore_points_go_with_the_last_part_that_holds_them(fixture: Fixture) {
    let log = Log::new(fixture).await;
    log.store(&[part(0, 100), named(100, 200, 3)]).await;
    log.store(&[whole(0, 300, &[200])]).await;
    log.fixture.advance(3 * 3600);
    let catalog = &log.fixture.catalog;
    let useless = catalog.useless_wal(log.fixture.now()).await.unwrap();
    assert_eq!(useless.len(), 2);
    catalog.forget_wal(&useless).await.unwrap();
    assert_eq!(
        log.again().await,
        [101, 102, 103],
        "they lie in another part"
    );

    log.store(&[whole(0, 400, &[300])]).await;
    sqlx::query("DELETE FROM wal_parts WHERE end_lsn = 400")
        .execute(catalog.0.backend.writers())
        .await
        .unwrap();
    log.fixture.advance(3 * 3600);
    let useless = catalog.useless_wal(log.fixture.now()).await.unwrap();
    catalog.forget_wal(&useless).await.unwrap();
    assert_eq!(log.again().await.len(), 0);
}

async fn a_dataset_sees_no_names_that_another_claims(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let (one, two) = (dataset(), DatasetName::new("orders", "db-2"));
    let three = DatasetName::new("orders", "db-3");
    log.store(&[named(0, 100, 1)]).await;
    log.fixture.advance(60);
    // The same log with another name in it, and one that is not there.
    let mut claimed = named(0, 100, 1);
    claimed.restore_points[0].lsn = Lsn(70);
    log.store_of(&two, &[claimed, named(100, 200, 1)])
        .await
        .unwrap();
    let seen = async |who: &DatasetName| -> Vec<u64> {
        let points = catalog
            .wal_restore_points(&log.archive(), who, "again")
            .await;
        let all = WalRange {
            timeline: TimelineId(1),
            from: Lsn(0),
            to: None,
        };
        let listed = catalog.wal_parts(&log.archive(), Some(who), all).await;
        let listed = listed.unwrap().parts.into_iter();
        let listed = listed.flat_map(|part| part.restore_points);
        let listed: Vec<_> = listed.map(|it| it.lsn.0).collect();
        let points = points.unwrap();
        let points: Vec<_> = points.iter().map(|it| it.point.lsn.0).collect();
        assert_eq!(points, listed);
        points
    };
    assert_eq!(seen(&one).await, [1]);
    assert_eq!(seen(&two).await, [70, 101]);
    // Who has none of his own takes those of whose log it is.
    assert_eq!(seen(&three).await, [1]);
}

async fn of_an_owner_who_lost_all_nobody_takes_the_place(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let (one, two) = (dataset(), DatasetName::new("orders", "db-2"));
    log.store(&[part(0, 100)]).await;
    log.fixture.advance(60);
    log.store_of(&two, &[part(100, 120)]).await.unwrap();
    let found = Comparison {
        lost_log: [part(0, 100).id].into(),
        ..Comparison::default()
    };
    let record = catalog.record_comparison(&log.repository.name, None, &found);
    record.await.unwrap();
    let told = async |who: &DatasetName| {
        let tails = catalog.wal_tails(&log.archive(), who).await.unwrap();
        tails.get(&TimelineId(1)).map(|end| end.0)
    };
    assert_eq!(told(&one).await, None);
    assert_eq!(told(&two).await, Some(120));
    assert_eq!(told(&DatasetName::new("orders", "db-3")).await, None);
}

async fn the_last_commit_is_that_of_the_last_unit_with_one(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let committed = |part: StoredWal, second| StoredWal {
        commits: Some(Commits {
            count: 1,
            last: at(second),
            first_xid: 700,
            last_xid: 700,
        }),
        ..part
    };
    // A piece begins later than the whole that holds it, and ends before.
    log.store(&[
        committed(part(0, 100), 1),
        committed(part(100, 150), 2),
        part(150, 160),
    ])
    .await;
    log.store(&[committed(whole(0, UNIT, &[160]), 9), part(UNIT, 2 * UNIT)])
        .await;
    let ends = [99, 100, 155, 160, UNIT, UNIT + 5, 2 * UNIT, 9 * UNIT];
    let ends = ends.map(|end| (TimelineId(1), Lsn(end)));
    let catalog = &log.fixture.catalog;
    let found = catalog.last_commits_before(&log.archive(), &ends).await;
    let found = found.unwrap();
    let at_ends = ends.map(|end| found.get(&end).copied());
    let at = |second| Some(at(second));
    assert_eq!(
        at_ends,
        [None, at(1), at(2), at(2), at(9), at(9), at(9), at(9)]
    );
}

async fn whoever_enters_has_opened_the_repository(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    log.record(log.request(vec![])).await.unwrap();
    let repository = catalog.repository(&log.repository.name).await.unwrap();
    assert!(matches!(repository.state, RepositoryState::Ready { .. }));
}

async fn a_dataset_has_one_job_for_its_log(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let work = WalSpec {
        dataset: dataset().to_string(),
        connection: "orders".into(),
        method: WalMethod::Push,
        limit: None,
        drop: true,
    };
    let new = request::wal(&policy("orders"), &log.agent, work);
    let first = catalog.create_wal_job(&new).await.unwrap().unwrap();
    assert_eq!(catalog.create_wal_job(&new).await.unwrap(), None);
    let by = super::fixture::operator();
    catalog.cancel_job(first.id, &by, "enough").await.unwrap();
    let second = catalog.create_wal_job(&new).await.unwrap().unwrap();
    let latest = catalog.latest_wal_jobs().await.unwrap();
    let latest: Vec<_> = latest.iter().map(|job| job.id).collect();
    assert_eq!(latest, [second.id]);
}

async fn what_drops_an_old_slot_is_a_job_beside_what_archives(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    let of = |connection: &str| WalSpec {
        dataset: dataset().to_string(),
        connection: connection.into(),
        method: WalMethod::Stream {
            slot: "s".into(),
            flush_seconds: 5,
        },
        limit: None,
        drop: true,
    };
    let stream = |connection| request::wal(&policy("orders"), &log.agent, of(connection));
    let made = async |new| catalog.create_wal_job(&new).await.unwrap();
    let old = made(stream("old")).await.unwrap();
    let forget = || request::forget_wal(&log.agent, &old, &of("old"), "s");
    // What it would drop is in use.
    assert_eq!(made(forget()).await, None);
    let by = super::fixture::operator();
    catalog.cancel_job(old.id, &by, "moved").await.unwrap();
    let forgetting = made(forget()).await.unwrap();
    assert_eq!(made(forget()).await, None);
    assert_eq!(made(stream("old")).await, None);
    made(stream("new")).await.unwrap();
    let left = catalog.forgetting_wal_jobs().await.unwrap();
    assert_eq!(left, [forgetting]);
}

/// Perhaps it waited for that.
async fn a_log_that_waits_is_tried_again_when_there_is_a_base_backup(fixture: Fixture) {
    let log = Log::new(fixture).await;
    let catalog = &log.fixture.catalog;
    publish_base(&log, &log.agent, (log.attempt, 1)).await;
    let work = WalSpec {
        dataset: dataset().to_string(),
        connection: "orders".into(),
        method: WalMethod::Push,
        limit: None,
        drop: true,
    };
    let new = request::wal(&policy("orders"), &log.agent, work);
    let job = catalog.create_wal_job(&new).await.unwrap().unwrap();
    let dispatched = log.fixture.dispatch(&log.agent).await;
    let attempt = dispatched[0].attempt_ref().unwrap();
    assert_eq!(attempt.job, job.id);
    let accepted = catalog.accept_attempt(log.agent.id, attempt).await;
    assert!(accepted.unwrap().is_some());
    let failed = Err(failure(FailureCode::OtherCluster, true));
    log.fixture.finish(&log.agent, attempt, failed).await;
    let waits = async || match catalog.job(job.id).await.unwrap().state {
        JobState::Pending { not_before, .. } => not_before > log.fixture.now(),
        other => panic!("{other:?}"),
    };
    assert!(waits().await);

    // A backup of another dataset is nothing to it.
    let attempt = begin_base(&log, &log.agent, "others").await;
    publish_base(&log, &log.agent, (attempt, 2)).await;
    assert!(waits().await);
    let attempt = begin_base(&log, &log.agent, "orders").await;
    publish_base(&log, &log.agent, (attempt, 3)).await;
    assert!(!waits().await);
}

contract! {
    a_log_that_waits_is_tried_again_when_there_is_a_base_backup,
    parts_join_and_gaps_stay,
    what_the_store_has_lost_is_covered_no_more,
    what_lies_in_another_part_is_superseded_for_a_while,
    old_parts_are_never_superseded,
    the_same_place_with_other_content_ends_the_line,
    log_that_was_claimed_in_advance_displaces_nothing,
    whoever_contradicts_another_leaves_and_ends_nobodys_line,
    what_others_claim_ahead_is_nothing_to_whose_timeline_it_is,
    a_base_backup_is_of_the_line_that_went_on_when_it_began,
    a_timeline_had_begun_with_its_first_commit_or_when_its_history_came,
    what_cannot_be_compared_is_refused,
    what_stands_somewhere_is_no_less_needed_for_another_place,
    what_was_not_granted_or_not_entered_in_time_is_refused,
    impossible_parts_are_refused_and_nothing_is_entered,
    histories_positions_names_and_commits_are_kept,
    no_number_of_a_timeline_is_reserved_twice,
    no_time_in_a_log_is_later_than_the_coordinators_own,
    a_job_enters_so_many_restore_points_and_no_more,
    restore_points_go_with_the_last_part_that_holds_them,
    a_dataset_sees_no_names_that_another_claims,
    of_an_owner_who_lost_all_nobody_takes_the_place,
    the_last_commit_is_that_of_the_last_unit_with_one,
    whoever_enters_has_opened_the_repository,
    a_dataset_has_one_job_for_its_log,
    what_drops_an_old_slot_is_a_job_beside_what_archives,
}
