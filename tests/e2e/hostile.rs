//! A stolen host: an enrolled agent that asks for what it must not have, of
//! the coordinator and of the store.

use std::fs;

use strongroom_layout::ObjectId;
use strongroom_proto::v1::{self, ObjectKind, Verb};
use strongroom_spec::{BackupOutcome, Outcome};
use strongroom_tests::{
    coordinator::{Coordinator, Setup},
    hostile_agent::{Rogue, Session, ask, put},
    operator::{eventually, text},
    scratch::Scratch,
};

use crate::world::assert_says;

pub(crate) struct Siege {
    pub(crate) coordinator: Coordinator,
    pub(crate) rogue: Rogue,
    pub(crate) session: Session,
    pub(crate) attempt: v1::AttemptRef,
    pub(crate) job: String,
    _scratch: Scratch,
}

/// A rogue that holds a backup job of its own.
pub(crate) fn siege(name: &str, lease_seconds: u32) -> Siege {
    siege_with(name, lease_seconds, "")
}

/// As [`siege`], with more lines in the policy.
pub(crate) fn siege_with(name: &str, lease_seconds: u32, more: &str) -> Siege {
    let scratch = Scratch::new(name);
    let setup = Setup {
        lease_seconds,
        ..Setup::default()
    };
    let coordinator = setup.start(&scratch, "coordinator");
    let rogue = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("rogue"));
    coordinator.operator().apply(&(policy("rogue") + more));
    let job = coordinator.operator().start("of-rogue");
    let mut session = rogue.open_session();
    let offer = rogue.accept_job(&mut session);
    Siege {
        attempt: offer.attempt.expect("an offer names its attempt"),
        coordinator,
        rogue,
        session,
        job,
        _scratch: scratch,
    }
}

/// At work on a log that nobody has.
pub(crate) fn siege_of_a_log(name: &str) -> Siege {
    let scratch = Scratch::new(name);
    let setup = Setup {
        lease_seconds: 60,
        ..Setup::default()
    };
    let coordinator = setup.start(&scratch, "coordinator");
    let rogue = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("rogue"));
    let mut session = rogue.open_session();
    coordinator.operator().apply(
        "[[policy]]\nname = \"of-rogue\"\nagents = { names = [\"rogue\"] }\nstore = \"primary\"\n\
         source = { postgres = { connection = \"main\", method = \"physical\" } }\n\
         wal = { method = \"push\" }\n",
    );
    let attempt = rogue.accept_job(&mut session).attempt;
    let attempt = attempt.expect("an offer names its attempt");
    Siege {
        job: attempt.job_id.clone(),
        attempt,
        coordinator,
        rogue,
        session,
        _scratch: scratch,
    }
}

fn policy(agent: &str) -> String {
    format!(
        "[[policy]]\nname = \"of-{agent}\"\nagents = {{ names = [\"{agent}\"] }}\n\
         source = {{ files = {{ paths = [\"/srv\"] }} }}\nstore = \"primary\"\n"
    )
}

impl Siege {
    /// Asks for a grant that must be refused for this reason, and be audited.
    pub(crate) fn refused(&self, request: v1::RequestToSign, reason: &str) {
        let before = self.refusals().len();
        let answer = self.rogue.sign_one(&self.attempt, request);
        assert_eq!(answer.expect_err("this must be refused"), reason);
        let audited = eventually("the refusal in the audit log", || {
            let entries = self.refusals();
            (entries.len() > before).then(|| entries[0].clone())
        });
        assert_eq!(
            audited["actor"],
            format!("agent:{}", self.rogue.id),
            "{audited:#}"
        );
        assert_says(&audited.to_string(), &[reason]);
    }

    pub(crate) fn refusals(&self) -> Vec<serde_json::Value> {
        self.coordinator.operator().audit("grant.refuse")
    }

    /// Asks for a grant that must be given.
    pub(crate) fn granted(&self, request: v1::RequestToSign) -> v1::Grant {
        let answer = self.rogue.sign_one(&self.attempt, request);
        answer.unwrap_or_else(|reason| panic!("refused: {reason}"))
    }
}

#[test]
fn deleting_and_reading_history_are_refused_and_audited() {
    let siege = siege("rogue-grants", 60);
    let id = [7; 32];
    for kind in [
        ObjectKind::Config,
        ObjectKind::Key,
        ObjectKind::DataPack,
        ObjectKind::TreePack,
        ObjectKind::Index,
        ObjectKind::Snapshot,
        ObjectKind::Lock,
        ObjectKind::Transfer,
    ] {
        let id: &[u8] = if kind == ObjectKind::Config { &[] } else { &id };
        siege.refused(ask(Verb::Delete, kind, id), "delete-forbidden");
    }
    siege.refused(ask(Verb::Get, ObjectKind::DataPack, &id), "read-forbidden");
    siege.refused(ask(Verb::Get, ObjectKind::Snapshot, &id), "read-forbidden");

    // A data pack does not become readable by calling it a tree pack.
    let body = b"a pack that this agent wrote itself";
    siege.granted(put(ObjectKind::DataPack, body));
    let id = put(ObjectKind::DataPack, body).sha256;
    siege.refused(ask(Verb::Get, ObjectKind::TreePack, &id), "read-forbidden");
}

#[test]
fn a_name_that_is_not_the_hash_and_a_giant_are_refused() {
    let siege = siege("rogue-names", 60);
    let mut request = put(ObjectKind::DataPack, b"honest bytes");
    request.object.as_mut().expect("an object").id = vec![9; 32];
    siege.refused(request, "hash-mismatch");

    let mut request = put(ObjectKind::Index, b"honest bytes");
    request.length = 1 << 40;
    siege.refused(request, "too-large");

    siege.refused(put(ObjectKind::Snapshot, b"history"), "not-published");
}

#[test]
fn an_existing_repository_gets_no_other_config_or_key() {
    let siege = siege("rogue-config", 60);
    // The first backup creates the repository: it may write both, but the
    // store lets nobody replace the one object that no hash names.
    let send = |config: &[u8]| {
        let grant = siege.granted(put_config(config));
        siege
            .rogue
            .s3(&grant.method, &grant.url, &grant.headers, config.into())
    };
    let (status, body) = send(b"a config");
    assert_eq!(status, 200, "{body}");
    let (status, body) = send(b"another config");
    assert_eq!(status, 412, "{body}");
}

fn put_config(body: &[u8]) -> v1::RequestToSign {
    let mut request = put(ObjectKind::Config, body);
    request.object.as_mut().expect("an object").id = Vec::new();
    request
}

#[test]
fn another_agents_attempt_is_out_of_reach() {
    let siege = siege("rogue-others", 60);
    let other = Rogue::enrol(
        siege.coordinator.agents_address(),
        &siege.coordinator.invite("other"),
    );
    let _session = other.open_session();
    let request = put(ObjectKind::DataPack, b"into another agent's repository");
    assert_eq!(
        other.sign_one(&siege.attempt, request),
        Err("unknown-attempt".into())
    );
    let audited = siege.coordinator.operator().audit("grant.refuse");
    assert_eq!(
        audited[0]["actor"],
        format!("agent:{}", other.id),
        "{audited:#?}"
    );

    // Nor can it publish there, or see what is there.
    let publish = v1::PublishRequest {
        attempt: Some(siege.attempt.clone()),
        snapshot: vec![1; 32],
        length: 100,
        outcome: Outcome::Backup(BackupOutcome::of(ObjectId([1; 32]))).to_json(),
        snapshot_time_us: 1,
    };
    match other.publish(publish) {
        Err(_status) => {}
        Ok(response) => {
            let answer = response.answer.and_then(|answer| answer.answer);
            let Some(v1::sign_answer::Answer::Refusal(refusal)) = answer else {
                panic!("published in another agent's name: {answer:?}");
            };
            assert_eq!(refusal.reason, "unknown-attempt");
        }
    }
    let snapshots = siege.coordinator.operator().json(&["snapshots", "list"]);
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(0));
}

#[test]
fn only_a_job_that_archives_enters_parts_of_a_log() {
    let siege = siege("rogue-wal", 60);
    let other = Rogue::enrol(
        siege.coordinator.agents_address(),
        &siege.coordinator.invite("other"),
    );
    let _session = other.open_session();
    for (rogue, reason) in [
        (&siege.rogue, "write-forbidden"),
        (&other, "unknown-attempt"),
    ] {
        let recorded = rogue.record_wal(&siege.attempt).map(|_| ());
        let listed = rogue.archived_wal(&siege.attempt).map(|_| ());
        for (action, answer) in [("record wal", recorded), ("list wal", listed)] {
            let refused = answer.expect_err("this must be refused");
            assert!(refused.message().contains(reason), "{refused:?}");
            let audited = siege.refusals().into_iter().find(|entry| {
                let detail = &entry["detail"];
                detail["request"] == action && detail["reason"] == reason
            });
            let audited = audited.expect("the refusal in the audit log");
            assert_eq!(audited["actor"], format!("agent:{}", rogue.id));
        }
    }
}

#[test]
fn an_expired_lease_signs_nothing() {
    let mut siege = siege("rogue-lease", 3);
    assert!(siege.rogue.heartbeat(&mut siege.session, &siege.attempt));
    siege.granted(put(ObjectKind::DataPack, b"while the lease holds"));
    // No more signs of life: the lease runs out.
    let reason = eventually("a refusal", || {
        let request = put(ObjectKind::DataPack, b"when the lease is lost");
        siege.rogue.sign_one(&siege.attempt, request).err()
    });
    assert!(
        ["lease-expired", "attempt-ended"].contains(&reason.as_str()),
        "{reason}"
    );
    let refusals = siege.refusals();
    let audited = refusals
        .iter()
        .find(|entry| entry["detail"]["reason"] == reason.as_str());
    let audited = audited.unwrap_or_else(|| panic!("no {reason}: {refusals:#?}"));
    assert_eq!(audited["actor"], format!("agent:{}", siege.rogue.id));
    assert!(
        !siege.rogue.heartbeat(&mut siege.session, &siege.attempt),
        "a lost lease is not renewed"
    );
    let job = siege.coordinator.operator().job(&siege.job);
    assert_eq!(job["attempts"][0]["failure"]["code"], "fenced", "{job:#}");
}

#[test]
fn the_store_takes_no_other_bytes_and_no_other_request_than_were_signed() {
    let siege = siege("rogue-s3", 60);
    let honest = b"what was announced".to_vec();
    let grant = siege.granted(put(ObjectKind::DataPack, &honest));
    let bucket_directory = siege.coordinator.bucket_directory();
    let before = files_below(&bucket_directory);
    let send = |method: &str, url: &str, headers: &[v1::Header], body: &[u8]| {
        siege.rogue.s3(method, url, headers, body.to_vec())
    };

    let mut forged = honest.clone();
    forged[0] ^= 1;
    let (status, body) = send("PUT", &grant.url, &grant.headers, &forged);
    assert_eq!(status, 400, "other bytes under the same name: {body}");

    let other = grant.url.replace("/data/", "/index/");
    assert_eq!(
        send("PUT", &other, &grant.headers, &honest).0,
        403,
        "another key"
    );
    assert_eq!(
        send("DELETE", &grant.url, &grant.headers, b"").0,
        403,
        "another verb"
    );
    assert_eq!(
        send("GET", &grant.url, &grant.headers, b"").0,
        403,
        "another verb"
    );
    assert_eq!(send("GET", &grant.url, &[], b"").0, 403, "no signature");
    assert_eq!(send("PUT", &grant.url, &[], &honest).0, 403, "no signature");
    let bucket = grant.url.split("/data/").next().expect("a prefix");
    let bucket = bucket.rsplit_once('/').expect("a bucket").0;
    assert_eq!(
        send("GET", &format!("{bucket}?list-type=2"), &[], b"").0,
        403,
        "a listing"
    );

    // Other hash, signature as granted.
    let mut headers = grant.headers.clone();
    for header in &mut headers {
        if header.name.eq_ignore_ascii_case("x-amz-content-sha256") {
            header.value = "UNSIGNED-PAYLOAD".into();
        }
    }
    assert_eq!(
        send("PUT", &grant.url, &headers, &forged).0,
        403,
        "an unsigned payload"
    );

    // None of it left a trace; the honest request passes.
    assert_eq!(
        files_below(&bucket_directory),
        before,
        "something was stored"
    );
    let (status, body) = send("PUT", &grant.url, &grant.headers, &honest);
    assert_eq!(status, 200, "{body}");
    assert_eq!(files_below(&bucket_directory), before + 1);
}

fn files_below(directory: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[test]
fn an_agent_speaks_for_itself_only() {
    let siege = siege("rogue-identity", 60);
    // What it says of other jobs is ignored: a job that never was, and one
    // that ended.
    let foreign = v1::AttemptRef {
        job_id: uuid::Uuid::new_v4().to_string(),
        attempt: 1,
    };
    let request = || put(ObjectKind::DataPack, b"x");
    assert_eq!(
        siege.rogue.sign_one(&foreign, request()),
        Err("unknown-attempt".into())
    );
    let zeroth = v1::AttemptRef {
        attempt: 99,
        ..siege.attempt.clone()
    };
    assert!(siege.rogue.sign_one(&zeroth, request()).is_err());
    let job = siege.coordinator.operator().job(&siege.job);
    assert_eq!(text(&job["agent"]["name"]), "rogue");
}
