//! What is refused, and how precisely.

use serde_json::json;
use strongroom_layout::{AttemptRef, JobId, ObjectId, ObjectKind, ObjectName};
use strongroom_proto::v1;
use strongroom_spec::{FailureCode, MAX_FIGURE, MAX_WARNINGS};
use uuid::Uuid;

use crate::{InvalidMessage, grant::*, identity::*, job::*, session::*, wal::*};

fn attempt() -> v1::AttemptRef {
    v1::AttemptRef {
        job_id: Uuid::nil().to_string(),
        attempt: 1,
    }
}

fn reported() -> v1::Report {
    v1::Report {
        report_id: Uuid::nil().to_string(),
        attempt: Some(attempt()),
        ..v1::Report::default()
    }
}

/// Asserts message and field, and that the problem is put in words.
#[track_caller]
fn refused<T: std::fmt::Debug>(
    result: Result<T, InvalidMessage>,
    message: &str,
    field: &str,
    problem: &str,
) {
    let error = result.unwrap_err();
    assert_eq!((error.message, error.field), (message, field), "{error}");
    assert!(error.problem.contains(problem), "{error}");
}

fn agent(message: v1::agent_message::Message) -> Result<AgentMessage, InvalidMessage> {
    v1::AgentMessage {
        message: Some(message),
    }
    .try_into()
}

#[test]
fn bad_attempts() {
    use v1::agent_message::Message::JobAccepted;
    let accepted = |attempt| agent(JobAccepted(v1::JobAccepted { attempt }));
    refused(accepted(None), "JobAccepted", "attempt", "missing");
    let no_uuid = v1::AttemptRef {
        job_id: "job".into(),
        attempt: 1,
    };
    refused(accepted(Some(no_uuid)), "AttemptRef", "job_id", "UUID");
    let zeroth = v1::AttemptRef {
        attempt: 0,
        ..attempt()
    };
    refused(accepted(Some(zeroth)), "AttemptRef", "attempt", "from 1");
}

#[test]
fn missing_oneofs() {
    refused(
        AgentMessage::try_from(v1::AgentMessage::default()),
        "AgentMessage",
        "message",
        "missing",
    );
    refused(
        CoordinatorMessage::try_from(v1::CoordinatorMessage::default()),
        "CoordinatorMessage",
        "message",
        "missing",
    );
    refused(
        SignAnswer::try_from(v1::SignAnswer::default()),
        "SignAnswer",
        "answer",
        "missing",
    );
    refused(Report::try_from(reported()), "Report", "outcome", "missing");
}

#[test]
fn bad_uuids() {
    refused(
        Report::try_from(v1::Report::default()),
        "Report",
        "report_id",
        "UUID",
    );
    let response = v1::EnrolResponse {
        agent_id: "7".into(),
        ..v1::EnrolResponse::default()
    };
    refused(
        EnrolResponse::try_from(response),
        "EnrolResponse",
        "agent_id",
        "UUID",
    );
}

fn request(verb: i32, object: v1::ObjectName) -> v1::RequestToSign {
    v1::RequestToSign {
        verb,
        object: Some(object),
        sha256: vec![0; 32],
        ..v1::RequestToSign::default()
    }
}

fn object(kind: i32, id: usize) -> v1::ObjectName {
    v1::ObjectName {
        kind,
        id: vec![7; id],
        wal: None,
    }
}

#[test]
fn wrong_hash_lengths() {
    for length in [0, 20, 31, 33, 64] {
        let lock = object(v1::ObjectKind::Lock.into(), length);
        refused(
            RequestToSign::try_from(request(v1::Verb::Get.into(), lock)),
            "ObjectName",
            "id",
            &format!("{length} bytes instead of 32"),
        );
        let mut put = request(
            v1::Verb::Put.into(),
            object(v1::ObjectKind::Lock.into(), 32),
        );
        put.sha256 = vec![0; length];
        refused(
            RequestToSign::try_from(put),
            "RequestToSign",
            "sha256",
            "32",
        );
        let release = v1::ReleaseLocksRequest {
            attempt: Some(attempt()),
            ids: vec![vec![0; length]],
        };
        refused(
            ReleaseLocksRequest::try_from(release),
            "ReleaseLocksRequest",
            "ids",
            "32",
        );
    }
}

#[test]
fn unknown_enum_values() {
    for number in [0, -1, 99] {
        let config = object(v1::ObjectKind::Config.into(), 0);
        refused(
            RequestToSign::try_from(request(number, config)),
            "RequestToSign",
            "verb",
            "unknown",
        );
        refused(
            RequestToSign::try_from(request(v1::Verb::Get.into(), object(number, 32))),
            "ObjectName",
            "kind",
            "unknown",
        );
        let list = v1::ListObjectsRequest {
            attempt: Some(attempt()),
            directory: number,
            after: Vec::new(),
        };
        refused(
            ListObjectsRequest::try_from(list),
            "ListObjectsRequest",
            "directory",
            "unknown",
        );
    }
    let failure = v1::Failure {
        code: "tired".into(),
        ..v1::Failure::default()
    };
    let report = v1::Report {
        outcome: Some(v1::report::Outcome::Failure(failure)),
        ..reported()
    };
    let failure = Report::try_from(report).unwrap().outcome.unwrap_err();
    assert_eq!(failure.code, FailureCode::Internal);
    assert!(failure.message.contains("tired"), "{}", failure.message);
    let refusal = v1::Refusal {
        reason: "tired".into(),
        ..v1::Refusal::default()
    };
    refused(Refusal::try_from(refusal), "Refusal", "reason", "tired");
}

#[test]
fn config_has_no_hash() {
    let aliased = SignRequest {
        attempt: AttemptRef {
            job: JobId(Uuid::nil()),
            attempt: 1,
        },
        requests: vec![RequestToSign {
            object: ObjectName::Hashed(ObjectKind::Config, ObjectId([7; 32])),
            action: Action::Get { range: None },
        }],
    };
    refused(
        SignRequest::try_from(v1::SignRequest::from(aliased)),
        "ObjectName",
        "id",
        "config has none",
    );
}

#[test]
fn a_place_in_the_log_holds_something() {
    let name = |place| v1::ObjectName {
        wal: place,
        ..object(v1::ObjectKind::Wal.into(), 32)
    };
    let place = |timeline, start, end| {
        Some(v1::WalPlace {
            system: 7,
            timeline,
            start,
            end,
        })
    };
    for (place, problem) in [
        (None, "missing"),
        (place(0, 1, 2), "timelines count from 1"),
        (place(1, 2, 2), "no byte"),
        (place(1, 3, 2), "no byte"),
    ] {
        let get = request(v1::Verb::Get.into(), name(place));
        refused(RequestToSign::try_from(get), "ObjectName", "wal", problem);
    }
}

#[test]
fn what_is_not_refused_is_bounded() {
    let most = u64::MAX;
    let published = PublishRequest::try_from(v1::PublishRequest {
        attempt: Some(attempt()),
        snapshot: vec![7; 32],
        length: 300,
        outcome: json!({
            "snapshot": "07".repeat(32), "files": most, "directories": 0, "files_unmodified": 0,
            "bytes_read": 0, "bytes_total": 0, "bytes_new": most, "bytes_stored": 0,
            "blobs_new": 0, "packs_new": most,
        })
        .to_string(),
        snapshot_time_us: 5,
    });
    let result = published.unwrap().result;
    let figures = [result.files, result.bytes_new, result.packs_new];
    assert_eq!(figures, [MAX_FIGURE; 3]);

    let position = WalPosition::try_from(v1::WalPosition {
        timeline: 1,
        waiting_bytes: most,
        problem: "ü".repeat(100_000),
        ..v1::WalPosition::default()
    });
    let position = position.unwrap();
    assert_eq!(position.waiting, MAX_FIGURE);
    assert!(position.problem.unwrap().len() <= 4096);

    let part = StoredWal::try_from(v1::StoredWal {
        commits: most,
        ..stored(0, &[])
    });
    assert_eq!(part.unwrap().commits.unwrap().count, MAX_FIGURE);
}

fn stored(start: u64, points: &[u64]) -> v1::StoredWal {
    let point = |lsn: &u64| v1::RestorePoint {
        name: "before".into(),
        lsn: *lsn,
        at_us: 5,
    };
    v1::StoredWal {
        place: Some(v1::WalPlace {
            system: 7,
            timeline: 1,
            start,
            end: start + 1000,
        }),
        id: vec![7; 32],
        restore_points: points.iter().map(point).collect(),
        ..v1::StoredWal::default()
    }
}

#[test]
fn a_restore_point_lies_in_its_part() {
    for lsn in [0, 1000, 2001, u64::MAX] {
        let outside = StoredWal::try_from(stored(1000, &[1001, lsn]));
        refused(outside, "StoredWal", "restore_points", "not lie in");
    }
    let inside = StoredWal::try_from(stored(1000, &[1001, 2000])).unwrap();
    assert_eq!(inside.restore_points.len(), 2);
}

#[test]
fn one_call_enters_so_many_restore_points_and_legs_and_no_more() {
    let points: Vec<u64> = (1..=1000).collect();
    // Of each part the first count.
    let first = StoredWal::try_from(stored(0, &points)).unwrap();
    assert_eq!(first.restore_points.len(), MAX_POINTS);
    let call = |parts: usize, legs: u32| {
        let leg = |timeline| v1::Leg { timeline, until: 5 };
        RecordWalRequest::try_from(v1::RecordWalRequest {
            attempt: Some(attempt()),
            stored: vec![stored(0, &points); parts],
            histories: vec![v1::StoredHistory {
                timeline: 1001,
                id: vec![7; 32],
                legs: (1..=legs).map(leg).collect(),
                ..v1::StoredHistory::default()
            }],
            position: None,
            behind: None,
        })
    };
    call(MAX_DETAILS / MAX_POINTS, 0).unwrap();
    call(5, 500).unwrap();
    for (parts, legs) in [(11, 0), (250, 0), (10, 1), (1, 901)] {
        let refusal = call(parts, legs);
        refused(refusal, "RecordWalRequest", "stored", "several calls");
    }
}

#[test]
fn ranges_run_forward() {
    let mut get = request(
        v1::Verb::Get.into(),
        object(v1::ObjectKind::DataPack.into(), 32),
    );
    (get.ranged, get.range_start, get.range_end) = (true, 9, 8);
    refused(
        RequestToSign::try_from(get),
        "RequestToSign",
        "range_start",
        "behind",
    );
}

#[test]
fn endless_lists() {
    let report = v1::Report {
        warnings: vec![v1::Warning::default(); MAX_WARNINGS + 1],
        ..reported()
    };
    refused(Report::try_from(report), "Report", "warnings", "1001");
}

#[test]
fn empty_secrets() {
    refused(
        EnrolRequest::try_from(v1::EnrolRequest::default()),
        "EnrolRequest",
        "token_secret",
        "empty",
    );
    refused(
        RepositoryAccess::try_from(v1::Repository::default()),
        "Repository",
        "password",
        "empty",
    );
}

#[test]
fn what_cannot_be_read_of_a_job_is_a_failure_and_ends_no_session() {
    let offer = |kind: &str, spec: &str| {
        JobOffer::try_from(v1::JobOffer {
            attempt: Some(attempt()),
            repository: Some(v1::Repository {
                name: "r".into(),
                password: "p".into(),
                create: false,
            }),
            kind: kind.into(),
            spec: spec.into(),
            ..v1::JobOffer::default()
        })
    };
    for (kind, spec, cause) in [
        ("teleport", "{}", "no jobs of kind \"teleport\""),
        ("", "{}", "no jobs of kind \"\""),
        ("list", "{", "EOF"),
        ("list", "{}", "missing field"),
        ("restore", r#"{"snapshot":"7"}"#, "object id"),
    ] {
        let failure = offer(kind, spec).unwrap().spec.unwrap_err();
        assert_eq!(
            (failure.code, failure.retryable),
            (FailureCode::Version, false)
        );
        assert!(failure.message.contains(cause), "{}", failure.message);
        assert!(
            failure.message.contains("update the agent"),
            "{}",
            failure.message
        );
    }
    let report = |kind: &str, outcome: &str| {
        Report::try_from(v1::Report {
            outcome: Some(v1::report::Outcome::Success(v1::Success {
                kind: kind.into(),
                outcome: outcome.into(),
            })),
            ..reported()
        })
    };
    for (kind, outcome) in [("teleport", "{}"), ("wal", "[]"), ("", "")] {
        let failure = report(kind, outcome).unwrap().outcome.unwrap_err();
        assert_eq!(failure.code, FailureCode::Version);
    }
}
