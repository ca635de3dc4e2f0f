//! Tokens, certificates, renewal, revocation.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpStream},
};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::AgentId;
use strongroom_runtime::pki::{
    CertificateAuthority, Validity, inspect, new_key_and_request, parse_chain,
};
use strongroom_tests::{
    agent::Agent,
    cable::Cable,
    coordinator::{Coordinator, Setup},
    hostile_agent::{Credentials, Rogue, try_session},
    operator::{eventually, text},
    program::PATIENCE,
    scratch::Scratch,
    tree::Tree,
};

use crate::world::{AGENT, World, assert_says};

#[test]
fn wrong_used_and_expired_tokens_are_refused() {
    let scratch = Scratch::new("tokens");
    let coordinator = Coordinator::start(&scratch);
    let address = coordinator.agents_address();
    let agent = |name| Agent::prepare(&scratch, name);
    let refused = |name, token: &str, parts: &[&str]| {
        let answer = agent(name).try_enroll(address, token);
        assert_ne!(answer.code, 0, "{answer:#?}");
        assert_says(&answer.stderr, parts);
    };

    refused("garbage", "srj_garbage", &["token", "agents invite"]);

    let token = coordinator.invite("used");
    agent("used").enroll(address, &token);
    refused("again", &token, &["token", "used", "agents invite"]);

    let token = coordinator.invite("wrong-secret");
    let mut parts: Vec<_> = token.split('_').map(str::to_owned).collect();
    parts[2] = "A".repeat(parts[2].len());
    refused(
        "wrong-secret",
        &parts.join("_"),
        &["token", "agents invite"],
    );
    // The wrong guess has not used it up.
    agent("right-secret").enroll(address, &token);

    let operator = coordinator.operator();
    let invitation = operator.json(&["agents", "invite", "--name", "late", "--ttl", "1s"]);
    let token = text(&invitation["token"]);
    let expires: Timestamp = text(&invitation["expires_at"]).parse().expect("a time");
    eventually("the token's end", || {
        (strongroom_tests::now() > expires).then_some(())
    });
    refused("late", &token, &["token", "expired", "agents invite"]);
}

#[test]
fn an_agent_enrols_with_the_coordinator_of_its_token_only() {
    let scratch = Scratch::new("wrong-ca");
    let ours = Setup::default().start(&scratch, "ours");
    let theirs = Setup::default().start(&scratch, "theirs");
    let agent = Agent::prepare(&scratch, "astray");
    let answer = agent.try_enroll(theirs.agents_address(), &ours.invite("astray"));
    assert_ne!(answer.code, 0);
    assert_says(
        &answer.stderr,
        &[&theirs.agents_address().to_string(), "fingerprint"],
    );
}

#[test]
fn certificates_of_another_authority_and_expired_ones_open_no_session() {
    let scratch = Scratch::new("certificates");
    let coordinator = Coordinator::start(&scratch);
    let address = coordinator.agents_address();
    let rogue = Rogue::enrol(address, &coordinator.invite("rogue"));
    let good = rogue.credentials();
    try_session(address, good).expect("its own certificate is good");

    let id = AgentId(rogue.id.parse().expect("an id"));
    let now = strongroom_tests::now();
    let issue = |authority: &CertificateAuthority, validity| {
        let (key, request) = new_key_and_request().expect("a key");
        let issued = authority
            .issue_client(&request, &id.to_uri(), validity)
            .expect("a certificate");
        Credentials {
            ca: good.ca.clone(),
            chain: issued.chain_pem,
            key: key.to_string(),
        }
    };
    let (other, _) = CertificateAuthority::create(now).expect("an authority");
    let forged = issue(
        &other,
        Validity::starting(now, SignedDuration::from_hours(1)),
    );
    try_session(address, &forged).expect_err("another authority's certificate");

    let authority = authority(&coordinator);
    let past = now - SignedDuration::from_hours(48);
    let expired = issue(
        &authority,
        Validity::starting(past, SignedDuration::from_hours(1)),
    );
    try_session(address, &expired).expect_err("an expired certificate");
}

/// The coordinator's own certificate authority, from its data directory.
fn authority(coordinator: &Coordinator) -> CertificateAuthority {
    let read = |name| fs::read_to_string(coordinator.find(name)).expect("half of the CA");
    CertificateAuthority::load(&read("ca.pem"), &read("ca.key")).expect("the CA")
}

#[test]
fn revoking_ends_a_live_session_and_keeps_the_agent_out() {
    let world = World::new("revoke");
    world.fill(&Tree::small(1));
    let coordinator = &world.coordinator;
    let rogue = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("rogue"));
    let mut session = rogue.open_session();
    let credentials = rogue.credentials().clone();
    world.operator().json(&["agents", "revoke", "rogue"]);
    let goodbye = rogue.wait_for_end(&mut session);
    assert!(
        goodbye.is_none_or(|goodbye| !goodbye.reconnect),
        "it must not come back"
    );
    let refused =
        try_session(coordinator.agents_address(), &credentials).expect_err("a revoked certificate");
    assert_says(&refused, &["revoked"]);
    rogue
        .renew()
        .expect_err("a revoked agent gets no certificate");

    // The real agent says so and ends instead of knocking for ever.
    world.operator().json(&["agents", "revoke", AGENT]);
    world
        .agent
        .program()
        .wait_for_line("its revocation", |line| line.contains("revoked"));
    let agent = world.operator().json(&["agents", "show", AGENT]);
    assert_eq!(agent["state"], "revoked");
    let jobs = world
        .operator()
        .run(["run", crate::world::POLICY, "--output", "json"]);
    assert!(
        jobs.code != 0 || jobs.json()["jobs"].as_array().is_some_and(Vec::is_empty),
        "a revoked agent gets no jobs: {jobs:#?}"
    );
}

#[test]
fn an_invitation_for_an_agent_replaces_its_certificate_and_nothing_else() {
    let mut world = World::new("replaced");
    world.fill(&Tree::small(1));
    let coordinator = &world.coordinator;
    let address = coordinator.agents_address();
    let rogue = Rogue::enrol(address, &coordinator.invite("rogue"));
    let mut session = rogue.open_session();
    let token = coordinator.invite("rogue");
    rogue.renew().expect("nothing has happened yet");
    let reinstalled = Rogue::enrol(address, &token);
    // Its place is free at once, without a contest.
    reinstalled.open_session();
    rogue.wait_for_end(&mut session);
    let refused = try_session(address, rogue.credentials()).expect_err("a replaced certificate");
    assert_says(&refused, &["enrol again"]);
    let shown = world.operator().json(&["agents", "show", "rogue"]);
    assert!(shown["contest"].is_null(), "{shown:#}");

    // A host that has lost all it had goes on as the same agent.
    let snapshot = world.backup();
    let before = world.operator().json(&["agents", "show", AGENT]);
    world.agent.stop();
    fs::remove_dir_all(world.agent.state()).expect("its state is gone");
    let invited = world.operator().run(["agents", "invite", "--name", AGENT]);
    assert_says(&invited.stdout, &["takes its place", "--force"]);
    let token = world.coordinator.invite(AGENT);
    world
        .agent
        .enroll(world.coordinator.agents_address(), &token);
    world.agent.start();
    let after = world.operator().json(&["agents", "show", AGENT]);
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["labels"], before["labels"]);
    world.backup();
    world.prove(&snapshot, "restored");
    let repositories = world.operator().json(&["repositories", "list"]);
    let count = repositories["repositories"].as_array().map(Vec::len);
    assert_eq!(count, Some(1), "{repositories:#}");
}

#[test]
fn certificates_are_renewed_over_the_session_well_before_they_end() {
    let setup = Setup {
        certificate_lifetime: "30s".into(),
        ..Setup::default()
    };
    let world = World::with("renewal", setup);
    world.fill(&Tree::small(1));
    let serial = || {
        let identity = fs::read(world.agent.state().join("identity.json")).ok()?;
        let identity: serde_json::Value = serde_json::from_slice(&identity).ok()?;
        let chain = parse_chain("the agent's", identity["certificate_pem"].as_str()?).ok()?;
        Some(inspect(&chain[0]).ok()?.serial)
    };
    let first = serial().expect("a certificate");
    eventually("a new certificate", || (serial()? != first).then_some(()));
    // The session is opened again with the new certificate: away for a moment.
    eventually("the session under it", || {
        let agent = world.operator().json(&["agents", "show", AGENT]);
        (agent["state"] == "connected").then_some(())
    });
    world.backup();

    // The renewed certificate carries the agent over a restart.
    let mut world = world;
    world.agent.stop();
    world.agent.start();
    world.backup();
}

#[test]
fn a_cut_session_is_taken_up_again_and_jobs_go_on() {
    let scratch = Scratch::new("cut");
    let coordinator = Coordinator::start(&scratch);
    let (source, restores) = (scratch.dir("source"), scratch.dir("restores"));
    Tree::small(1).write(&source);
    let mut cable = Cable::to(coordinator.agents_address());
    let mut agent = Agent::prepare(&scratch, AGENT).allow(&source, &restores);
    agent.enroll(cable.address(), &coordinator.invite(AGENT));
    agent.start();
    let operator = coordinator.operator();
    operator.apply(&format!(
        "[[policy]]\nname = \"files\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n",
        source.display()
    ));

    cable.unplug();
    eventually("the agent's absence", || {
        let agent = operator.json(&["agents", "show", AGENT]);
        (agent["state"] == "away").then_some(())
    });
    let job = operator.start("files");
    cable.plug();
    let job = operator.wait_for_end(&job);
    crate::world::snapshot_of(&job);

    // Cut again and again while it works.
    let job = operator.start("files");
    for _ in 0..5 {
        cable.cut();
        eventually("the agent's return", || {
            let agent = operator.json(&["agents", "show", AGENT]);
            (agent["state"] == "connected").then_some(())
        });
    }
    let job = operator.wait_for_end(&job);
    let attempts = job["attempts"].as_array().expect("attempts");
    let started = attempts
        .iter()
        .filter(|attempt| !attempt["started_at"].is_null());
    // An offer may be lost with the session; a running attempt is not.
    assert_eq!(started.count(), 1, "{job:#}");
    crate::world::snapshot_of(&job);
    agent.stop();
}

#[test]
fn a_copied_identity_is_an_alarm_and_nobody_is_served_until_an_operator_decides() {
    let world = World::new("copied");
    world.fill(&Tree::small(1));
    let operator = world.operator();
    let copy = Agent::prepare(&world.scratch, "copy");
    fs::create_dir_all(copy.state()).expect("a directory");
    let identity = |agent: &Agent| agent.state().join("identity.json");
    fs::copy(identity(&world.agent), identity(&copy)).expect("a copy");
    let mut copied = copy.spawn();

    let contested = |line: &str| line.contains("contested");
    copied.wait_for_line("that it is refused", contested);
    let program = world.agent.program();
    program.wait_for_line("that it is refused", contested);
    let agent = operator.json(&["agents", "show", AGENT]);
    assert_eq!(agent["state"], "contested");
    let holders = agent["contest"]["holders"].as_array().expect("holders");
    assert_eq!(holders.len(), 2, "{agent:#}");
    let status = operator.run(["status"]).stdout;
    assert_says(&status, &["CONTESTED", AGENT, "agents show"]);
    let shown = operator.run(["agents", "show", AGENT]).stdout;
    assert_says(&shown, &["CONTESTED", "agents trust", "agents revoke"]);
    assert_eq!(operator.audit("agent.contest").len(), 1);

    copied.kill();
    operator.json(&["agents", "trust", AGENT]);
    eventually("the honest agent's return", || {
        let agent = operator.json(&["agents", "show", AGENT]);
        (agent["state"] == "connected").then_some(())
    });
    world.backup();
    assert_eq!(operator.audit("agent.trust").len(), 1);
}

#[test]
fn an_agent_that_was_killed_and_started_again_raises_no_alarm() {
    let mut world = World::new("killed");
    world.fill(&Tree::small(1));
    world.agent.kill();
    world.agent.start();
    world.backup();
    let operator = world.operator();
    assert!(operator.audit("agent.contest").is_empty());
    let starts = operator.audit("session.begin");
    let boots: BTreeSet<_> = starts
        .iter()
        .map(|it| text(&it["detail"]["boot"]))
        .collect();
    assert_eq!(boots.len(), starts.len(), "each once: {starts:#?}");

    // A second one on the same state is refused by the host already.
    let mut second = world.agent.spawn();
    assert!(!second.wait(PATIENCE).success());
    assert_says(
        &second.log(),
        &["another strongroom-agent", "stop that one first"],
    );
}

#[test]
fn agents_and_operators_are_served_while_hundreds_of_strangers_hang() {
    let scratch = Scratch::new("strangers");
    let mut coordinator = Setup::default().prepare(&scratch, "coordinator");
    coordinator.edit_config(|config| {
        let few = "connections = 200\nstrangers = 50\n";
        let config = config.replace("\n[api]\n", &format!("{few}\n[api]\n{few}"));
        assert_eq!(config.matches(few).count(), 2, "{config}");
        config
    });
    coordinator.start_again();
    let (source, restores) = (scratch.dir("source"), scratch.dir("restores"));
    Tree::small(1).write(&source);
    let hang = |address: SocketAddr| -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect(address).expect("a connection");
        (0..200).map(connect).collect()
    };
    let _agents = hang(coordinator.agents_address());
    let _operators = hang(coordinator.api_address());
    let mut agent = coordinator.agent(&scratch, AGENT, &source, &restores);
    let operator = coordinator.operator();
    operator.apply(&format!(
        "[[policy]]\nname = \"files\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ files = {{ paths = ['{}'] }} }}\nstore = \"primary\"\n",
        source.display()
    ));
    let _more = hang(coordinator.agents_address());
    let job = operator.wait_for_end(&operator.start("files"));
    crate::world::snapshot_of(&job);
    agent.stop();
}

#[test]
fn an_agent_that_is_not_enrolled_says_how_to_enrol() {
    let scratch = Scratch::new("not-enrolled");
    let mut program = Agent::prepare(&scratch, "stranger").spawn();
    assert!(!program.wait(PATIENCE).success());
    assert_says(&program.log(), &["enrol", "agents invite"]);
}

#[test]
fn an_agent_says_when_another_coordinator_answers() {
    let scratch = Scratch::new("other-coordinator");
    let ours = Setup::default().start(&scratch, "ours");
    let theirs = Setup::default().start(&scratch, "theirs");
    let agent = Agent::prepare(&scratch, "moved");
    agent.enroll(ours.agents_address(), &ours.invite("moved"));
    let (ours, theirs) = (ours.agents_address(), theirs.agents_address());
    let identity = agent.state().join("identity.json");
    let text = fs::read_to_string(&identity).expect("an identity");
    let changed = text.replace(&ours.to_string(), &theirs.to_string());
    assert_ne!(changed, text);
    fs::write(&identity, changed).expect("a file can be written");
    let program = agent.spawn();
    let line = program.wait_for_line("why there is no session", |line| {
        line.contains("no session")
    });
    let address = theirs.to_string();
    assert_says(
        &line,
        &[&address, "no trust", "certificate", "agents invite"],
    );
}
