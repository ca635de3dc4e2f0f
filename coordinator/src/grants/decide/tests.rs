//! The matrix of what is signed, written out so that it can be read.

use strongroom_layout::{SystemId, WalName, WalPart, position::TimelineId};
use uuid::Uuid;

use super::*;

const OWNER: AgentId = AgentId(Uuid::from_u128(1));
const OTHER: AgentId = AgentId(Uuid::from_u128(2));
/// The object that requests name, unless the row says otherwise.
const ID: ObjectId = ObjectId([7; 32]);
const OTHER_ID: ObjectId = ObjectId([8; 32]);

const OK: Result<(), RefusalReason> = Ok(());
const READ: Result<(), RefusalReason> = Err(RefusalReason::ReadForbidden);
const WRITE: Result<(), RefusalReason> = Err(RefusalReason::WriteForbidden);
const PUBLISH: Result<(), RefusalReason> = Err(RefusalReason::NotPublished);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn attempt(scope: Scope) -> AttemptState {
    AttemptState {
        agent: OWNER,
        current: true,
        lease_until: now() + jiff::SignedDuration::from_secs(1),
        scope,
    }
}

fn name(kind: ObjectKind) -> ObjectName {
    match kind {
        ObjectKind::Config => ObjectName::Config,
        ObjectKind::Wal => ObjectName::Wal(WalName {
            system: SystemId(7),
            timeline: TimelineId(1),
            part: WalPart::History,
            id: ID,
        }),
        kind => ObjectName::Hashed(kind, ID),
    }
}

fn get(kind: ObjectKind) -> RequestToSign {
    RequestToSign {
        object: name(kind),
        action: Action::Get { range: None },
    }
}

fn put(kind: ObjectKind) -> RequestToSign {
    RequestToSign {
        object: name(kind),
        action: Action::Put {
            length: 100,
            sha256: ID,
        },
    }
}

const BACKUP: Scope = Scope::Backup {
    create: false,
    parent: None,
};
const FIRST_BACKUP: Scope = Scope::Backup {
    create: true,
    parent: None,
};
/// The parent is the object that requests name.
const CHILD_BACKUP: Scope = Scope::Backup {
    create: false,
    parent: Some(ID),
};
/// The job's snapshot is the object that requests name.
const RESTORE: Scope = Scope::Read { snapshot: ID };
const OTHER_RESTORE: Scope = Scope::Read { snapshot: OTHER_ID };

/// The job's snapshot is the object that requests name.
const LIST: Scope = Scope::List { snapshot: ID };
const OTHER_LIST: Scope = Scope::List { snapshot: OTHER_ID };

const UPLOAD: Scope = Scope::Upload { create: false };
const FIRST_UPLOAD: Scope = Scope::Upload { create: true };
/// The job's snapshot is the object that requests name.
const DOWNLOAD: Scope = Scope::Download { snapshot: ID };
const OTHER_DOWNLOAD: Scope = Scope::Download { snapshot: OTHER_ID };

const WAL: Scope = Scope::Wal { create: false };
const FIRST_WAL: Scope = Scope::Wal { create: true };

/// Every scope, side by side: the columns of the table.
const SCOPES: [Scope; 13] = [
    BACKUP,
    FIRST_BACKUP,
    CHILD_BACKUP,
    RESTORE,
    OTHER_RESTORE,
    LIST,
    OTHER_LIST,
    UPLOAD,
    FIRST_UPLOAD,
    DOWNLOAD,
    OTHER_DOWNLOAD,
    WAL,
    FIRST_WAL,
];

#[test]
fn how_long_an_object_is_may_be_asked_by_whoever_has_a_live_attempt() {
    for kind in ObjectKind::ALL {
        let head = RequestToSign {
            object: name(kind),
            action: Action::Head,
        };
        for scope in SCOPES {
            let live = attempt(scope);
            assert_eq!(decide(Some(&live), OWNER, &head, None, now()), OK);
            let foreign = decide(Some(&live), OTHER, &head, None, now());
            assert_eq!(foreign, Err(RefusalReason::UnknownAttempt));
            let over = decide(Some(&live), OWNER, &head, None, live.lease_until);
            assert_eq!(over, Err(RefusalReason::LeaseExpired));
        }
    }
}

#[test]
#[rustfmt::skip]
fn the_table() {
    use ObjectKind::{Config, DataPack, Index, Key, Lock, Snapshot, Transfer, TreePack, Wal};
    let rows = [
        // request       known as         backup   first    child    restore  another  list     another  upload   first    download another  wal      first
        (get(Config),     None,           [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     ]),
        (get(Key),        None,           [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     ]),
        (get(Index),      None,           [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     ]),
        (get(Lock),       None,           [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     ]),
        (get(Snapshot),   None,           [READ   , READ   , OK     , OK     , READ   , OK     , READ   , READ   , READ   , OK     , READ   , READ   , READ   ]),
        (get(DataPack),   None,           [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   ]),
        (get(DataPack),   Some(DataPack), [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   ]),
        (get(DataPack),   Some(TreePack), [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   ]),
        (get(TreePack),   None,           [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   ]),
        (get(TreePack),   Some(DataPack), [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   ]),
        (get(TreePack),   Some(TreePack), [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , READ   , READ   ]),
        (put(Config),     None,           [WRITE  , OK     , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , WRITE  , WRITE  , WRITE  , OK     ]),
        (put(Key),        None,           [WRITE  , OK     , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , WRITE  , WRITE  , WRITE  , OK     ]),
        (put(Index),      None,           [OK     , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(Lock),       None,           [OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     , OK     ]),
        (put(Snapshot),   None,           [PUBLISH, PUBLISH, PUBLISH, WRITE  , WRITE  , WRITE  , WRITE  , PUBLISH, PUBLISH, WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(DataPack),   None,           [OK     , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(DataPack),   Some(DataPack), [OK     , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(DataPack),   Some(TreePack), [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(TreePack),   None,           [OK     , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(TreePack),   Some(TreePack), [OK     , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (put(TreePack),   Some(DataPack), [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  ]),
        (get(Transfer),   None,           [READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   ]),
        (get(Transfer),   Some(Transfer), [READ   , READ   , READ   , READ   , READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   ]),
        (put(Transfer),   None,           [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  ]),
        (put(Transfer),   Some(Transfer), [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     , WRITE  , WRITE  ]),
        (get(Wal),        None,           [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   ]),
        (get(Wal),        Some(Wal),      [READ   , READ   , READ   , OK     , OK     , READ   , READ   , READ   , READ   , READ   , READ   , READ   , READ   ]),
        (put(Wal),        None,           [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     ]),
        (put(Wal),        Some(Wal),      [WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , WRITE  , OK     , OK     ]),
    ];
    for (request, known, expected) in rows {
        for (scope, expected) in SCOPES.into_iter().zip(expected) {
            let answer = decide(Some(&attempt(scope)), OWNER, &request, known, now());
            assert_eq!(answer, expected, "{request:?}, known as {known:?}, {scope:?}");
        }
    }
}

/// Every request that any row of the table could hold.
fn every_request() -> Vec<RequestToSign> {
    ObjectKind::ALL
        .into_iter()
        .flat_map(|kind| {
            let delete = RequestToSign {
                object: name(kind),
                action: Action::Delete,
            };
            [get(kind), put(kind), delete]
        })
        .collect()
}

fn assert_all_refused(
    attempt: Option<&AttemptState>,
    asking: AgentId,
    at: Timestamp,
    reason: RefusalReason,
) {
    for request in every_request() {
        for known in std::iter::once(None).chain(ObjectKind::ALL.map(Some)) {
            assert_eq!(
                decide(attempt, asking, &request, known, at),
                Err(reason),
                "{request:?}, known as {known:?}"
            );
        }
    }
    assert_eq!(decide_publish(attempt, asking, 1, at), Err(reason));
    assert_eq!(live_scope(attempt, asking, at), Err(reason));
}

#[test]
fn nothing_is_ever_deleted() {
    for scope in SCOPES {
        for kind in ObjectKind::ALL {
            let request = RequestToSign {
                object: name(kind),
                action: Action::Delete,
            };
            assert_eq!(
                decide(Some(&attempt(scope)), OWNER, &request, None, now()),
                Err(RefusalReason::DeleteForbidden)
            );
        }
    }
}

#[test]
fn an_attempt_answers_only_to_its_agent_and_an_unknown_one_to_nobody() {
    for scope in SCOPES {
        let mut state = attempt(scope);
        assert_all_refused(Some(&state), OTHER, now(), RefusalReason::UnknownAttempt);
        // Another's attempt looks the same whether it runs, ended or lost its lease.
        state.current = false;
        assert_all_refused(Some(&state), OTHER, now(), RefusalReason::UnknownAttempt);
    }
    assert_all_refused(None, OWNER, now(), RefusalReason::UnknownAttempt);
}

#[test]
fn nothing_is_signed_once_the_attempt_ended() {
    for scope in SCOPES {
        let state = AttemptState {
            current: false,
            ..attempt(scope)
        };
        assert_all_refused(Some(&state), OWNER, now(), RefusalReason::AttemptEnded);
    }
}

#[test]
fn nothing_is_signed_from_the_moment_the_lease_ends() {
    for scope in SCOPES {
        let state = attempt(scope);
        let end = state.lease_until;
        assert_all_refused(Some(&state), OWNER, end, RefusalReason::LeaseExpired);
    }
    let state = attempt(BACKUP);
    let just_before = state.lease_until - jiff::SignedDuration::from_nanos(1);
    let request = get(ObjectKind::Config);
    assert_eq!(
        decide(Some(&state), OWNER, &request, None, just_before),
        Ok(())
    );
}

/// A scope that may write objects of this kind.
fn writer_of(kind: ObjectKind) -> Scope {
    match kind {
        ObjectKind::Transfer => DOWNLOAD,
        ObjectKind::Wal => WAL,
        _ => FIRST_BACKUP,
    }
}

/// What the catalog never granted may lie in the store all the same.
#[test]
fn a_put_of_what_nobody_granted_must_be_new() {
    for kind in ObjectKind::ALL {
        let asked = |known| must_be_new(&put(kind), known);
        assert_eq!(asked(None), kind != ObjectKind::Config, "{kind}");
        assert!(!asked(Some(kind)), "{kind}: it may be written again");
        assert!(!must_be_new(&get(kind), None), "{kind} is only read");
    }
}

#[test]
fn a_name_must_be_the_hash_of_the_body() {
    for kind in ObjectKind::ALL {
        let request = RequestToSign {
            object: name(kind),
            action: Action::Put {
                length: 1,
                sha256: OTHER_ID,
            },
        };
        let expected = match kind {
            // `config` is the one object whose name is not its hash.
            ObjectKind::Config => Ok(()),
            ObjectKind::Snapshot => PUBLISH,
            _ => Err(RefusalReason::HashMismatch),
        };
        let state = attempt(writer_of(kind));
        assert_eq!(
            decide(Some(&state), OWNER, &request, None, now()),
            expected,
            "{kind}"
        );
    }
}

#[test]
fn the_largest_object_of_its_kind_is_signed_and_no_larger_one() {
    for kind in ObjectKind::ALL {
        let state = attempt(writer_of(kind));
        if kind == ObjectKind::Snapshot {
            continue;
        }
        for (length, expected) in [
            (max_length(kind), Ok(())),
            (max_length(kind) + 1, Err(RefusalReason::TooLarge)),
            (u64::MAX, Err(RefusalReason::TooLarge)),
        ] {
            let request = RequestToSign {
                object: name(kind),
                action: Action::Put { length, sha256: ID },
            };
            assert_eq!(
                decide(Some(&state), OWNER, &request, None, now()),
                expected,
                "{kind} of {length} bytes"
            );
        }
    }
}

#[test]
fn only_backups_publish_and_only_snapshots_of_reasonable_size() {
    let max = max_length(ObjectKind::Snapshot);
    for (scope, length, expected) in [
        (BACKUP, max, Ok(())),
        (FIRST_BACKUP, max, Ok(())),
        (CHILD_BACKUP, max, Ok(())),
        (BACKUP, max + 1, Err(RefusalReason::TooLarge)),
        (UPLOAD, max, Ok(())),
        (UPLOAD, max + 1, Err(RefusalReason::TooLarge)),
        (RESTORE, 1, WRITE),
        (LIST, 1, WRITE),
        (DOWNLOAD, 1, WRITE),
        (WAL, 1, WRITE),
    ] {
        assert_eq!(
            decide_publish(Some(&attempt(scope)), OWNER, length, now()),
            expected
        );
    }
}
