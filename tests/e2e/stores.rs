//! Stores that believe what nobody signed, and what is signed for them: nothing,
//! unless an operator accepts it.

use std::fs;

use serde_json::Value;
use strongroom_proto::v1::{self, ObjectKind};
use strongroom_tests::{
    coordinator::{Coordinator, ExternalStore, Setup},
    gullible::{Gullible, KNOWS_NO_CONDITION},
    hostile_agent::{Rogue, put},
    operator::{eventually, text},
    proxy::{Action, FaultProxy},
    scratch::Scratch,
    tree::Tree,
};

use crate::world::{AGENT, POLICY, World, assert_identical, assert_says, below, snapshot_of};

/// A coordinator whose store is this one.
fn coordinator(scratch: &Scratch, store: ExternalStore) -> Coordinator {
    let setup = Setup {
        store: Some(store),
        // A signature may wait for a check.
        lease_seconds: 600,
        ..Setup::default()
    };
    setup.start(scratch, "coordinator")
}

/// What `stores check primary` says, which must end with `code`.
fn check(coordinator: &Coordinator, code: i32) -> Value {
    let arguments = ["stores", "check", "primary"];
    coordinator.operator().json_with(code, &arguments)
}

/// The verdicts of a check by probe.
fn verdict(store: &Value, probe: &str) -> String {
    let findings = store["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["probe"] == probe);
    text(&found.unwrap_or_else(|| panic!("no {probe}: {store:#}"))["verdict"])
}

/// Asks for a PUT with a backup job of an agent of its own.
fn ask(coordinator: &Coordinator) -> (Rogue, v1::AttemptRef, Result<v1::Grant, String>) {
    let rogue = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("rogue"));
    coordinator.operator().apply(
        "[[policy]]\nname = \"of-rogue\"\nagents = { names = [\"rogue\"] }\n\
         source = { files = { paths = [\"/srv\"] } }\nstore = \"primary\"\n",
    );
    coordinator.operator().start("of-rogue");
    let mut session = rogue.open_session();
    let attempt = rogue.accept_job(&mut session).attempt.expect("an attempt");
    let answer = rogue.sign_one(&attempt, put(ObjectKind::DataPack, b"a pack"));
    (rogue, attempt, answer)
}

#[test]
fn nothing_is_signed_for_a_store_that_believes_what_nobody_signed() {
    let scratch = Scratch::new("gullible");
    let store = Gullible::start(&[
        "copy-source",
        "copy-source-empty-body",
        "acl",
        "grant-read",
        "overwrite",
        "metadata",
        "tagging",
    ]);
    let mut coordinator = coordinator(&scratch, store.as_external_store());

    let found = check(&coordinator, 1);
    assert_eq!(found["state"], "unsafe", "{found:#}");
    for probe in [
        "copy-source",
        "copy-source-empty-body",
        "acl",
        "grant-read",
        "overwrite",
    ] {
        assert_eq!(verdict(&found, probe), "accepted", "{probe}: {found:#}");
    }
    for probe in ["metadata", "tagging"] {
        assert_eq!(verdict(&found, probe), "accepted", "{probe}: {found:#}");
    }
    assert_eq!(verdict(&found, "other-body"), "refused", "{found:#}");
    let left: Vec<_> = store.keys();
    assert!(!left.iter().any(|key| key.contains("/check/")), "{left:?}");
    let shown = coordinator.operator().run(["stores", "check", "primary"]);
    assert_says(
        &shown.stdout,
        &["UNSAFE", "unsigned-copy-source", "accept_risks"],
    );
    let status = coordinator.operator().run(["status"]);
    assert_says(&status.stdout, &["store primary: UNSAFE"]);

    let (_rogue, _, answer) = ask(&coordinator);
    assert_eq!(answer.expect_err("nothing is signed"), "store-unsafe");
    let audited = coordinator.operator().audit("grant.refuse");
    assert_says(&audited[0].to_string(), &["store-unsafe"]);
    let audited = coordinator.operator().audit("store.check");
    assert!(audited.iter().any(|entry| entry["actor"] == "coordinator"));
    assert_says(&audited[0].to_string(), &["failed", "unsigned-copy-source"]);

    // One that is accepted is not all.
    coordinator.stop();
    let accept = |risks: &str| {
        let line = format!("[store.primary]\naccept_risks = [{risks}]");
        coordinator.edit_config(|config| config.replace("[store.primary]", &line));
    };
    accept("\"unsigned-copy-source\", \"unsigned-acl\"");
    coordinator.start_again();
    assert_eq!(check(&coordinator, 1)["state"], "unsafe");
    coordinator.stop();
    coordinator.edit_config(|config| {
        config.replace("\"unsigned-acl\"]", "\"unsigned-acl\", \"overwrite\"]")
    });
    coordinator.start_again();
    let found = check(&coordinator, 3);
    assert_eq!(found["state"], "risk-accepted", "{found:#}");
}

/// Every forgery, on a store that falls for this one and for no other.
#[test]
fn each_probe_finds_the_store_that_believes_it() {
    let scratch = Scratch::new("probes");
    let store = Gullible::start(&[]);
    let coordinator = coordinator(&scratch, store.as_external_store());
    let found = check(&coordinator, 0);
    assert_eq!(found["state"], "safe", "{found:#}");
    let findings = found["findings"].as_array().expect("findings");
    let probes: Vec<_> = findings.iter().map(|it| text(&it["probe"])).collect();
    for (flaw, risk) in [
        ("copy-source", Some("unsigned-copy-source")),
        ("copy-source-empty-body", Some("unsigned-copy-source")),
        ("acl", Some("unsigned-acl")),
        ("grant-read", Some("unsigned-acl")),
        ("other-body", Some("wrong-body")),
        ("doubled-hash", Some("wrong-body")),
        ("overwrite", Some("overwrite")),
        ("if-range", Some("unsigned-range")),
        ("doubled-range", Some("unsigned-range")),
        ("metadata", None),
        ("tagging", None),
        ("storage-class", None),
        ("redirect", None),
        ("object-lock", None),
        ("public-bucket", None),
    ] {
        store.set_flaws(&[flaw]);
        let found = check(&coordinator, i32::from(risk.is_some()));
        for probe in &probes {
            let verdict = verdict(&found, probe);
            let accepted = verdict == "accepted";
            assert!(verdict != "untried", "{flaw}, {probe}: {found:#}");
            assert_eq!(accepted, probe == flaw, "{flaw}, {probe}: {found:#}");
        }
        let risks: Vec<_> = risk.into_iter().collect();
        assert_eq!(
            found["risks"],
            serde_json::json!(risks),
            "{flaw}: {found:#}"
        );
    }
    assert_eq!(probes.len(), 15);
}

#[test]
fn a_store_without_conditions_is_signed_for_when_that_is_accepted() {
    let scratch = Scratch::new("unconditional");
    let store = Gullible::start(&[KNOWS_NO_CONDITION, "copy-source", "acl", "other-body"]);
    let mut coordinator = coordinator(&scratch, store.as_external_store());
    let found = check(&coordinator, 1);
    assert_eq!(verdict(&found, "other-body"), "accepted", "{found:#}");
    assert_eq!(verdict(&found, "overwrite"), "accepted", "{found:#}");

    coordinator.stop();
    coordinator.edit_config(|config| {
        let risks = "\"unsigned-copy-source\", \"unsigned-acl\", \"wrong-body\", \"overwrite\"";
        let line = format!("[store.primary]\naccept_risks = [{risks}]");
        config.replace("[store.primary]", &line)
    });
    coordinator.start_again();
    let (rogue, _, answer) = ask(&coordinator);
    let grant = answer.expect("it is accepted");
    let (status, body) = rogue.s3(
        &grant.method,
        &grant.url,
        &grant.headers,
        b"a pack".to_vec(),
    );
    assert_eq!(status, 200, "{body}");
}

#[test]
fn the_embedded_store_refuses_every_forgery() {
    let scratch = Scratch::new("own-check");
    let coordinator = Coordinator::start(&scratch);
    let found = check(&coordinator, 0);
    assert_eq!(found["state"], "safe", "{found:#}");
    let findings = found["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 15);
    for finding in findings {
        assert_eq!(finding["verdict"], "refused", "{finding:#}");
    }
    let place = coordinator.bucket_directory().join(".strongroom/check");
    let left = fs::read_dir(place).map_or(0, Iterator::count);
    assert_eq!(left, 0, "what a check wrote is removed");

    // What an agent tries with a grant of its own.
    let (rogue, attempt, answer) = ask(&coordinator);
    let grant = answer.expect("a safe store is signed for");
    let mut forged = grant.headers.clone();
    forged.push(v1::Header {
        name: "x-amz-copy-source".into(),
        value: "/strongroom/.strongroom/repositories/x.json".into(),
    });
    let send =
        |headers: &[v1::Header]| rogue.s3(&grant.method, &grant.url, headers, b"a pack".to_vec());
    let (status, body) = send(&forged);
    assert_eq!(status, 403, "{body}");
    assert_says(&body, &["x-amz-copy-source", "must be signed"]);
    assert_eq!(send(&grant.headers).0, 200);
    // Nothing is written twice, and how long it is may be asked.
    assert_eq!(send(&grant.headers).0, 412);
    let head = v1::RequestToSign {
        verb: v1::Verb::Head.into(),
        ..put(ObjectKind::DataPack, b"a pack")
    };
    let head = rogue.sign_one(&attempt, head).expect("HEAD is granted");
    let (status, _) = rogue.s3(&head.method, &head.url, &head.headers, Vec::new());
    assert_eq!(status, 200);
}

#[test]
fn a_store_that_is_away_at_start_is_checked_when_it_is_there() {
    let scratch = Scratch::new("late-store");
    let behind = Setup::default().start(&scratch, "store");
    let proxy = FaultProxy::start(behind.s3_address());
    proxy.rule(|seen| {
        let check = seen.path.contains("/check/") || seen.query.contains("check");
        check.then_some(Action::Answer(503, "SlowDown"))
    });
    let coordinator = coordinator(&scratch, behind.as_external_store(proxy.endpoint()));
    let store = eventually("a check that failed", || {
        let stores = coordinator.operator().json(&["stores", "list"]);
        let store = stores["stores"][0].clone();
        store["problem"]
            .as_str()?
            .contains("SlowDown")
            .then_some(store)
    });
    assert_eq!(store["state"], "unchecked", "{store:#}");
    let (rogue, attempt, answer) = ask(&coordinator);
    assert_eq!(answer.expect_err("it was not checked"), "store-unchecked");

    proxy.clear();
    // Whoever asks next has it checked; a check that began before may fail yet.
    eventually("a grant", || {
        let answer = rogue.sign_one(&attempt, put(ObjectKind::DataPack, b"a pack"));
        answer.ok()
    });
    let stores = coordinator.operator().json(&["stores", "list"]);
    assert_eq!(stores["stores"][0]["state"], "safe", "{stores:#}");
}

#[test]
fn a_store_that_is_away_is_seen_while_it_is_and_when_it_is_back() {
    let scratch = Scratch::new("away-store");
    let behind = Setup::default().start(&scratch, "store");
    let proxy = FaultProxy::start(behind.s3_address());
    let coordinator = coordinator(&scratch, behind.as_external_store(proxy.endpoint()));
    check(&coordinator, 0);
    let (_rogue, _, answer) = ask(&coordinator);
    answer.expect("the store is there");
    let job = text(&coordinator.operator().json(&["jobs", "list"])["jobs"][0]["id"]);
    let outage = || coordinator.operator().json(&["status"])["stores"][0]["outage"].clone();
    assert!(outage().is_null(), "{:#}", outage());

    proxy.rule(|_| Some(Action::Answer(503, "ServiceUnavailable")));
    eventually("the outage in the status", || {
        outage()["problem"].as_str().map(drop)
    });
    assert!(outage()["until"].is_null(), "{:#}", outage());
    let status = coordinator.operator().run(["status"]);
    assert_says(&status.stdout, &["store primary: AWAY"]);
    let shown = coordinator.operator().run(["jobs", "show", &job]);
    assert_says(&shown.stdout, &["its store", "AWAY since"]);
    assert_says(&coordinator.program().log(), &["a store is away"]);

    proxy.clear();
    eventually("its end", || outage()["until"].as_str().map(drop));
    let status = coordinator.operator().run(["status"]);
    assert_says(&status.stdout, &["store primary: was away for"]);
    let shown = coordinator.operator().run(["jobs", "show", &job]);
    assert!(!shown.stdout.contains("AWAY"), "{}", shown.stdout);
    assert_says(&coordinator.program().log(), &["a store is there again"]);
}

/// As `docs/stores.md` says it is done.
#[test]
fn a_store_that_was_moved_goes_on_under_its_name() {
    let mut world = World::with_store("moved-store", |_| {});
    world.fill(&Tree::small(2));
    let snapshot = world.backup();
    world.coordinator.stop();
    let bucket = world.store.as_ref().expect("a store").bucket_directory();
    let entries: Vec<_> = fs::read_dir(&bucket)
        .expect("a bucket")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    fs::create_dir_all(bucket.join("new/place")).expect("a directory");
    for name in entries {
        fs::rename(bucket.join(&name), bucket.join("new/place").join(&name)).expect("it moves");
    }
    world.coordinator.edit_config(|config| {
        let line = "[store.primary]\nprefix = \"new/place\"";
        config.replace("[store.primary]", line)
    });
    world.coordinator.start_again();
    check(&world.coordinator, 0);
    world.prove(&snapshot, "moved");
    let next = world.operator().backup(POLICY);
    assert!(
        next["result"]["backup"]["bytes_new"].as_u64() < Some(10_000),
        "{next:#}"
    );
    world.prove(&snapshot_of(&next), "again");
}

/// A bucket with Object Lock takes nothing without a checksum; another service
/// nothing with one.
#[test]
fn stores_that_demand_checksums_and_those_that_know_none_are_served() {
    for (what, demands) in [("demands", true), ("knows-none", false)] {
        let scratch = Scratch::new(&format!("checksum-{what}"));
        let behind = Setup::default().start(&scratch, "store");
        let proxy = FaultProxy::start(behind.s3_address());
        proxy.rule(move |seen| {
            let has = seen.header("x-amz-checksum-sha256").is_some();
            let refused = seen.method == "PUT" && has != demands;
            let answer = if demands {
                (400, "InvalidRequest")
            } else {
                (501, "NotImplemented")
            };
            refused.then_some(Action::Answer(answer.0, answer.1))
        });
        let coordinator = coordinator(&scratch, behind.as_external_store(proxy.endpoint()));
        let found = check(&coordinator, 0);
        assert_eq!(found["state"], "safe", "{found:#}");
        let (rogue, _, answer) = ask(&coordinator);
        let grant = answer.expect("a grant");
        let body = b"a pack".to_vec();
        let (status, text) = rogue.s3(&grant.method, &grant.url, &grant.headers, body);
        assert_eq!(status, 200, "{text}");
    }
}

/// Ceph's object gateway takes a copy for a PUT: see `tests/radosgw`.
#[test]
#[ignore = "needs a radosgw: tests/run radosgw"]
fn a_real_radosgw_is_found_out() {
    let scratch = Scratch::new("radosgw");
    let endpoint = std::env::var("STRONGROOM_TEST_RADOSGW").expect("tests/radosgw says where");
    let store = ExternalStore {
        endpoint,
        bucket: "strongroom".into(),
        credentials: ("strongroom".into(), "strongroom-secret".into()),
    };
    let mut coordinator = coordinator(&scratch, store);
    let shown = coordinator.operator().run(["stores", "check", "primary"]);
    println!("{}", shown.stdout);
    let found = check(&coordinator, 1);
    assert_eq!(found["state"], "unsafe", "{found:#}");
    let copied = ["copy-source", "copy-source-empty-body"];
    let copied = copied.map(|probe| verdict(&found, probe));
    assert!(copied.contains(&"accepted".to_owned()), "{found:#}");
    assert_eq!(verdict(&found, "acl"), "accepted", "{found:#}");

    // Whoever bears that is served by it as by any other.
    coordinator.stop();
    coordinator.edit_config(|config| {
        let risks = "\"unsigned-copy-source\", \"unsigned-acl\"";
        let line = format!("[store.primary]\naccept_risks = [{risks}]");
        config.replace("[store.primary]", &line)
    });
    coordinator.start_again();
    check(&coordinator, 3);
    let (source, restores) = (scratch.dir("source"), scratch.dir("restores"));
    Tree::small(4).write(&source);
    let _agent = coordinator.agent(&scratch, AGENT, &source, &restores);
    coordinator.operator().apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n",
        source.display()
    ));
    for name in ["first", "second"] {
        let snapshot = snapshot_of(&coordinator.operator().backup(POLICY));
        let target = restores.join(name);
        coordinator.operator().restore(&snapshot, AGENT, &target);
        assert_identical(&source, &below(&target, &source));
    }
}
