//! What the coordinator believes an agent: a stolen host lies about what is in the
//! store, about the time, about what it has done, and about how much there is.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use strongroom_layout::ObjectId;
use strongroom_proto::v1::{self, Directory, ObjectKind, Verb};
use strongroom_runtime::clock::{Clock as _, SystemClock};
use strongroom_spec::{BackupOutcome, JobKind, Outcome};
use strongroom_tests::{
    hostile_agent::{ask, put},
    operator::{eventually, only, text},
};

use crate::hostile::{Siege, siege, siege_of_a_log, siege_with};

const GIB: u64 = 1 << 30;

/// Puts an object into the rogue's repository as another program does, past the
/// coordinator; gives its id and where it lies.
fn foreign(siege: &Siege, kind: ObjectKind, body: &[u8]) -> (Vec<u8>, PathBuf) {
    let id = put(kind, body).sha256;
    let name = HEXLOWER.encode(&id);
    let place = match kind {
        ObjectKind::Lock => format!("locks/{name}"),
        ObjectKind::Snapshot => format!("snapshots/{name}"),
        ObjectKind::TreePack | ObjectKind::DataPack => format!("data/{}/{name}", &name[..2]),
        other => panic!("no test writes a {other:?}"),
    };
    // The grant of another object says where the repository is.
    let url = siege.granted(put(ObjectKind::Index, b"an index")).url;
    let bucket = siege.coordinator.bucket_directory();
    let bucket_name = bucket.file_name().expect("a name").to_str().expect("UTF-8");
    let prefix = url.split_once("/index/").expect("an index").0;
    let prefix = prefix.split_once(&format!("/{bucket_name}/"));
    let path = bucket.join(prefix.expect("a bucket").1).join(place);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(&path, body).expect("an object");
    (id, path)
}

#[test]
fn what_another_program_wrote_is_not_claimed() {
    let siege = siege("believed-claims", 60);
    for kind in [ObjectKind::Lock, ObjectKind::TreePack] {
        let body = format!("written by another program as {kind:?}");
        let (id, path) = foreign(&siege, kind, body.as_bytes());
        siege.refused(put(kind, body.as_bytes()), "already-there");
        if kind == ObjectKind::Lock {
            let released = siege.rogue.release_locks(&siege.attempt, vec![id]);
            let refused = released.expect_err("it is not the agent's");
            assert!(
                refused.message().contains("delete-forbidden"),
                "{refused:?}"
            );
            let audited = siege.refusals().into_iter().any(|entry| {
                entry["detail"]["request"] == "release locks"
                    && entry["detail"]["reason"] == "delete-forbidden"
            });
            assert!(audited, "{:#?}", siege.refusals());
        } else {
            // History does not become readable by being declared to be trees.
            siege.refused(ask(Verb::Get, kind, &id), "read-forbidden");
        }
        assert!(path.exists(), "{kind:?} was removed");
    }
    let (id, _) = foreign(&siege, ObjectKind::Snapshot, b"a snapshot of restic's");
    assert_eq!(publish(&siege, &id, 22, 1), Err("already-there".into()));
}

#[test]
fn log_that_was_never_written_keeps_no_place() {
    let siege = siege_of_a_log("believed-log");
    // Granted, and never written.
    let place = v1::WalPlace {
        system: 7,
        timeline: 1,
        start: 0,
        end: 100,
    };
    let mut request = put(ObjectKind::Wal, &[0; 100]);
    request.sha256 = vec![1; 32];
    let object = request.object.as_mut().expect("an object");
    (object.id, object.wal) = (vec![1; 32], Some(place));
    siege.granted(request);
    let refused = siege.rogue.record_wal(&siege.attempt).map(drop);
    let refused = refused.expect_err("it is not in the store");
    assert!(refused.message().contains("not-stored"), "{refused:?}");
    let audited = siege.refusals().into_iter().any(|entry| {
        let detail = &entry["detail"];
        detail["request"] == "record wal" && detail["reason"] == "not-stored"
    });
    assert!(audited, "{:#?}", siege.refusals());
}

#[test]
fn locks_of_agents_shut_nobody_out_and_foreign_ones_only_while_they_are_refreshed() {
    let siege = siege("believed-locks", 60);
    let listed = || {
        let listed = siege.rogue.list(&siege.attempt, Directory::Locks);
        listed.expect("an attempt may list locks")
    };
    // Whatever it says of the year 2099: nobody but the agent can read it, and
    // nobody is told of it.
    let lock = put(ObjectKind::Lock, b"sealed: exclusive, 2099");
    let grant = siege.granted(lock.clone());
    let write = || {
        let body = b"sealed: exclusive, 2099".to_vec();
        let (status, answer) = siege.rogue.s3("PUT", &grant.url, &grant.headers, body);
        assert!([200, 412].contains(&status), "{status}: {answer}");
    };
    write();
    assert_eq!(listed(), [] as [String; 0]);
    // Nor when it comes back by its old grant, once it was released.
    let ids = vec![lock.sha256];
    let released = siege.rogue.release_locks(&siege.attempt, ids.clone());
    released.expect("it is its own");
    write();
    assert_eq!(listed(), [] as [String; 0]);
    let released = siege.rogue.release_locks(&siege.attempt, ids);
    released.expect("it still is");

    let (id, path) = foreign(&siege, ObjectKind::Lock, b"a lock of restic's");
    assert_eq!(listed(), [HEXLOWER.encode(&id)]);
    let file = File::options().write(true).open(&path).expect("the lock");
    let long_ago = SystemClock.now() - SignedDuration::from_mins(31);
    file.set_modified(long_ago.into()).expect("a time");
    assert_eq!(listed(), [] as [String; 0]);
}

/// Asks to publish a snapshot; gives the grant or the reason of the refusal.
fn publish(siege: &Siege, id: &[u8], length: u64, time_us: i64) -> Result<v1::Grant, String> {
    let request = v1::PublishRequest {
        attempt: Some(siege.attempt.clone()),
        snapshot: id.to_vec(),
        length,
        outcome: Outcome::Backup(result(id)).to_json(),
        snapshot_time_us: time_us,
    };
    let answer = siege.rogue.publish(request).expect("an answer").answer;
    match answer.and_then(|answer| answer.answer) {
        Some(v1::sign_answer::Answer::Grant(grant)) => Ok(grant),
        Some(v1::sign_answer::Answer::Refusal(refusal)) => Err(refusal.reason),
        None => panic!("no answer"),
    }
}

fn result(id: &[u8]) -> BackupOutcome {
    BackupOutcome {
        files: 7,
        ..BackupOutcome::of(ObjectId::from_slice(id).expect("32 bytes"))
    }
}

fn success(siege: &Siege, result: BackupOutcome) -> v1::Report {
    v1::Report {
        report_id: uuid::Uuid::new_v4().to_string(),
        attempt: Some(siege.attempt.clone()),
        outcome: Some(v1::report::Outcome::Success(v1::Success {
            kind: JobKind::Backup.to_string(),
            outcome: Outcome::Backup(result).to_json(),
        })),
        duration_ms: u64::MAX,
        ..v1::Report::default()
    }
}

fn snapshots(siege: &Siege) -> Vec<serde_json::Value> {
    let listed = siege.coordinator.operator().json(&["snapshots", "list"]);
    listed["snapshots"].as_array().expect("snapshots").clone()
}

#[test]
fn a_snapshot_that_was_never_written_is_no_success() {
    let mut siege = siege("believed-success", 60);
    let id = put(ObjectKind::Snapshot, b"never written").sha256;
    publish(&siege, &id, 13, 1).expect("it may be written");
    let report = success(&siege, result(&id));
    siege.rogue.report(&mut siege.session, report);
    let job = siege.coordinator.operator().job(&siege.job);
    assert_ne!(job["state"], "succeeded", "{job:#}");
    let failure = &job["attempts"][0]["failure"];
    assert_eq!(failure["code"], "not-found", "{job:#}");
    assert!(
        text(&failure["message"]).contains("does not hold it"),
        "{job:#}"
    );
    assert_eq!(snapshots(&siege), [] as [serde_json::Value; 0]);
}

#[test]
fn neither_the_future_nor_a_late_word_changes_the_catalog() {
    let mut siege = siege("believed-times", 60);
    let body = b"a snapshot of the year 2100";
    let id = put(ObjectKind::Snapshot, body).sha256;
    let in_2100: Timestamp = "2100-01-01T00:00:00Z".parse().expect("a time");
    let length = body.len() as u64;
    let grant = publish(&siege, &id, length, in_2100.as_microsecond()).expect("a grant");
    let (status, answer) = siege
        .rogue
        .s3(&grant.method, &grant.url, &grant.headers, body.to_vec());
    assert_eq!(status, 200, "{answer}");
    let report = success(&siege, result(&id));
    siege.rogue.report(&mut siege.session, report);
    let snapshot = only(&serde_json::Value::Array(snapshots(&siege)));
    let time: Timestamp = text(&snapshot["time"]).parse().expect("a time");
    assert!(time <= SystemClock.now(), "{snapshot:#}");
    let job = siege.coordinator.operator().job(&siege.job);
    assert_eq!(job["state"], "succeeded", "{job:#}");

    for files in [8, 9] {
        let other = BackupOutcome {
            files,
            ..result(&id)
        };
        let late = success(&siege, other);
        siege.rogue.report(&mut siege.session, late);
    }
    assert_eq!(snapshots(&siege), [snapshot]);
    assert_eq!(siege.coordinator.operator().job(&siege.job), job);
    let audited = siege.coordinator.operator().audit("job.report");
    let refused = audited.iter().filter(|entry| entry["outcome"] == "refused");
    assert_eq!(refused.count(), 1, "{audited:#?}");
}

/// A pack of this length that is never sent.
fn pack(number: u16, length: u64) -> v1::RequestToSign {
    let mut request = put(ObjectKind::DataPack, &number.to_be_bytes());
    request.length = length;
    request
}

#[test]
fn no_call_is_granted_half_a_tebibyte() {
    let siege = siege("believed-call", 60);
    let requests = (0..1000).map(|number| pack(number, GIB / 2)).collect();
    let answers = siege.rogue.sign(&siege.attempt, requests).expect("answers");
    assert_eq!(answers.len(), 1000);
    for answer in answers {
        match answer.answer {
            Some(v1::sign_answer::Answer::Refusal(refusal)) => {
                assert_eq!(refusal.reason, "over-budget");
            }
            other => panic!("{other:?}"),
        }
    }
    let refusals = siege.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
}

#[test]
fn a_job_writes_what_its_policy_allows() {
    let siege = siege_with("believed-budget", 60, "limits = { new_data = \"1GiB\" }\n");
    siege.granted(pack(1, GIB / 2));
    // Asked again, it is not counted again.
    siege.granted(pack(1, GIB / 2));
    siege.granted(pack(2, GIB / 2));
    let mut refused = siege.rogue.sign(&siege.attempt, vec![pack(3, 1)]);
    let answer = refused.as_mut().expect("an answer").remove(0).answer;
    let Some(v1::sign_answer::Answer::Refusal(refusal)) = answer else {
        panic!("granted: {answer:?}");
    };
    assert_eq!(refusal.reason, "over-budget");
    assert!(
        refusal.message.contains("limits.new_data"),
        "{}",
        refusal.message
    );
    // What it has written it may still read.
    siege.granted(ask(Verb::Get, ObjectKind::Config, &[]));
}

/// Whoever names a small length first and a large one later would write at the
/// price of the small one.
#[test]
fn an_object_keeps_the_length_that_was_paid_for() {
    let siege = siege_with("believed-length", 60, "limits = { new_data = \"1GiB\" }\n");
    siege.granted(pack(1, 1));
    for requests in [vec![pack(1, GIB / 2)], vec![pack(2, 1), pack(2, GIB / 2)]] {
        let mut answers = siege.rogue.sign(&siege.attempt, requests).expect("answers");
        match answers.pop().expect("an answer").answer {
            Some(v1::sign_answer::Answer::Refusal(refusal)) => {
                assert_eq!(refusal.reason, "write-forbidden");
            }
            other => panic!("{other:?}"),
        }
    }
    siege.granted(pack(1, 1));
}

#[test]
fn an_inventory_is_kept_only_as_far_as_hosts_go() {
    let siege = siege("believed-inventory", 60);
    let server = v1::Server {
        databases: (0..9_000)
            .map(|number| v1::Database {
                name: "x".repeat(if number == 0 { 400 } else { 20 }),
                bytes: u64::MAX,
                keys: 0,
                closed: false,
            })
            .collect(),
        ..v1::Server::default()
    };
    let connection = |name: &str| v1::Connection {
        kind: "postgres".into(),
        name: name.into(),
        checked_at: "2100-01-01T00:00:00Z".into(),
        state: Some(v1::connection::State::Server(server.clone())),
        ..v1::Connection::default()
    };
    let told = ["a", "b", "c", "d", "e"].map(connection).to_vec();
    siege.rogue.tell_inventory(&siege.session, told);
    let connections = eventually("the inventory", || {
        let agent = siege
            .coordinator
            .operator()
            .json(&["agents", "show", "rogue"]);
        let connections = agent["connections"].as_array()?.clone();
        (!connections.is_empty()).then_some(connections)
    });
    let databases =
        |it: &serde_json::Value| it["server"]["databases"].as_array().map_or(0, Vec::len);
    let kept = connections.iter().map(databases).sum::<usize>();
    assert!((10_000..=20_000).contains(&kept), "{kept}");
    let bytes = serde_json::to_string(&connections).map_or(0, |json| json.len());
    assert!(bytes < 3 << 20, "{bytes}");
    let longest = connections[0]["server"]["databases"][0]["name"]
        .as_str()
        .map(str::len);
    assert_eq!(longest, Some(255));
    let checked: Timestamp = text(&connections[0]["checked_at"]).parse().expect("a time");
    assert!(checked <= SystemClock.now());
}
