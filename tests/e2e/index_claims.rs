//! What a stolen host writes into `index/` while it is granted that: garbage,
//! and lies. Nothing that others stored is lost by it, neither for restores nor
//! for backups that come later.

use std::{fs, path::PathBuf, sync::Arc};

use serde_json::Value;
use strongroom_layout::{Directory, ObjectId, ObjectKind as Kind, ObjectName};
use strongroom_proto::v1::{self, ObjectKind};
use strongroom_repository::{
    Repository,
    format::{
        index::{IndexBlob, IndexFile, IndexPack},
        pack::{PackEntry, PackHeader},
        snapshot::Snapshot,
    },
    store::fs::FsStore,
};
use strongroom_spec::{BackupOutcome, JobKind, Outcome};
use strongroom_tests::{
    coordinator::Setup,
    hostile_agent::{Rogue, Session, ask_part},
    operator::{eventually, text},
    tree::Tree,
};
use tokio::runtime::Runtime;

use crate::world::{AGENT, POLICY, World, assert_identical, assert_says, snapshot_of};

/// Somebody with a host's identity, at work on its job, who has the
/// repository's password from it.
struct Thief {
    rogue: Rogue,
    session: Session,
    attempt: v1::AttemptRef,
    job: String,
    runtime: Runtime,
    /// The repository as it lies on disk.
    repository: Repository,
    directory: PathBuf,
}

impl Thief {
    /// The agent of this world, which is stopped.
    fn of(world: &mut World) -> Self {
        world.agent.stop();
        let coordinator = world.coordinator.agents_address();
        let rogue = Rogue::stolen(coordinator, &world.agent.state());
        let job = world.operator().start(POLICY);
        let mut session = rogue.open_session();
        let offer = rogue.accept_job(&mut session);
        let password = offer.repository.expect("a repository").password;
        let (directory, _) = world.repository();
        let runtime = Runtime::new().expect("a runtime");
        let store = Arc::new(FsStore::new(&directory));
        let repository = runtime.block_on(Repository::open(store, &password));
        Self {
            rogue,
            session,
            attempt: offer.attempt.expect("an attempt"),
            job,
            runtime,
            repository: repository.expect("the password opens it"),
            directory,
        }
    }

    fn write(&self, kind: ObjectKind, body: &[u8]) -> ObjectId {
        let id = self.rogue.write(&self.attempt, kind, body);
        ObjectId(id.try_into().expect("32 bytes"))
    }

    fn write_index(&self, packs: Vec<IndexPack>) -> ObjectId {
        let json = IndexFile { packs }.encode().expect("JSON");
        let sealed = self.repository.seal_unpacked(Kind::Index, &json);
        let (_, body) = sealed.expect("an envelope");
        self.write(ObjectKind::Index, &body.parts.concat())
    }

    /// Every pack of the honest index files.
    fn packs(&self) -> Vec<IndexPack> {
        self.runtime.block_on(async {
            let listed = self.repository.store().list(Directory::Index).await;
            let mut packs = Vec::new();
            for file in listed.expect("a listing") {
                let json = self.repository.load_unpacked(ObjectName::index(file.id));
                let index = IndexFile::decode(&json.await.expect("an index"));
                packs.extend(index.expect("an index").packs);
            }
            packs
        })
    }

    /// Garbage, and a lie of each sort about every pack; returns the names of
    /// the index files.
    fn poison(&self) -> Vec<ObjectId> {
        let honest = self.packs();
        let content = b"what the thief has instead";
        let sealed = self.repository.key().seal(content).expect("an envelope");
        let mut pack = sealed.clone();
        let entry = PackEntry {
            id: honest[0].blobs[0].id,
            kind: honest[0].blobs[0].kind,
            offset: 0,
            length: sealed.len() as u32,
            uncompressed_length: None,
        };
        let header = PackHeader {
            entries: vec![entry],
        };
        pack.extend(header.seal(self.repository.key()).expect("a header"));
        let own = self.write(ObjectKind::DataPack, &pack);

        let lie = |change: &dyn Fn(&mut IndexPack)| {
            let mut packs = honest.clone();
            packs.iter_mut().for_each(change);
            self.write_index(packs)
        };
        vec![
            self.write(ObjectKind::Index, b"garbage"),
            self.write(ObjectKind::Index, &[0; 5_000]),
            lie(&|pack| pack.id = ObjectId([0; 32])),
            lie(&|pack| pack.id = own),
            lie(&|pack| pack.blobs.iter_mut().for_each(|blob| blob.length -= 1)),
            lie(&|pack| {
                pack.blobs.iter_mut().for_each(|blob| {
                    let length = blob.uncompressed_length.unwrap_or(blob.length - 32);
                    blob.uncompressed_length = Some(length + 1);
                });
            }),
            // Its own pack says so as well.
            self.write_index(vec![IndexPack {
                id: own,
                blobs: vec![IndexBlob::from(entry)],
            }]),
        ]
    }

    /// Publishes a snapshot that was there before, in its own words.
    fn publish(&mut self, snapshot: &str) {
        let known: ObjectId = snapshot.parse().expect("an id");
        let known = self.runtime.block_on(self.repository.snapshot(known));
        let known: Snapshot = known.expect("a snapshot");
        let json = known.encode().expect("JSON");
        let sealed = self.repository.seal_unpacked(Kind::Snapshot, &json);
        let (_, body) = sealed.expect("an envelope");
        let outcome = Outcome::Backup(BackupOutcome::of(body.sha256)).to_json();
        let request = v1::PublishRequest {
            attempt: Some(self.attempt.clone()),
            snapshot: body.sha256.0.to_vec(),
            length: body.length,
            outcome: outcome.clone(),
            snapshot_time_us: known.time.as_microsecond(),
        };
        let response = self.rogue.publish(request).expect("an answer");
        let answer = response.answer.and_then(|answer| answer.answer);
        let Some(v1::sign_answer::Answer::Grant(grant)) = answer else {
            panic!("no grant: {answer:?}");
        };
        let bytes = body.parts.concat();
        let sent = self
            .rogue
            .s3(&grant.method, &grant.url, &grant.headers, bytes);
        assert_eq!(sent.0, 200, "{}", sent.1);
        let success = v1::Success {
            kind: JobKind::Backup.to_string(),
            outcome,
        };
        let report = v1::Report {
            report_id: uuid::Uuid::new_v4().to_string(),
            attempt: Some(self.attempt.clone()),
            outcome: Some(v1::report::Outcome::Success(success)),
            ..v1::Report::default()
        };
        self.rogue.report(&mut self.session, report);
    }

    /// Leaves; the job is given up.
    fn leave(self, world: &World) -> PathBuf {
        let state = text(&world.operator().job(&self.job)["state"]);
        if state != "succeeded" {
            world.operator().json(&["jobs", "cancel", &self.job]);
        }
        drop(self.session);
        self.directory
    }
}

/// Changes what is backed up: one file more, and all read again.
fn change(world: &World) {
    fs::write(world.source.join("later"), "written later").expect("a file");
}

/// Removes index files as a person would after reading the warnings, and lets
/// plain restic look at all of the rest.
fn restic_is_content(world: &World, directory: &std::path::Path, bad: &[ObjectId]) {
    for id in bad {
        let file = directory.join("index").join(id.to_string());
        fs::remove_file(file).expect("the index file is there");
    }
    world.restic().check();
}

#[test]
fn index_files_of_an_attempt_that_published_nothing_are_seen_by_nobody() {
    let mut world = World::new("index-withheld");
    world.fill(&Tree::small(1));
    let first = world.backup();
    let thief = Thief::of(&mut world);
    let bad = thief.poison();
    let directory = thief.leave(&world);
    world.agent.start();
    let listed = || {
        let listed = world.operator().json(&["repositories", "list"]);
        listed["repositories"][0]["withheld_indexes"].as_u64()
    };
    eventually("the end of the thief's attempt", || {
        (listed() == Some(bad.len() as u64)).then_some(())
    });
    let audited = world.operator().audit("index.withhold");
    assert_eq!(audited[0]["detail"]["files"], bad.len(), "{audited:#?}");

    // As on a host whose cache was lost.
    fs::remove_dir_all(world.agent.state().join("cache")).expect("the cache");
    change(&world);
    // Neither ends with warnings.
    let second = world.backup();
    world.prove(&second, "second");
    world.restore(&first, "first");
    restic_is_content(&world, &directory, &bad);
}

#[test]
fn lies_of_an_attempt_that_published_are_noticed_and_nothing_is_lost() {
    let mut world = World::new("index-lies");
    world.fill(&Tree::small(1));
    let first = world.backup();
    let mut thief = Thief::of(&mut world);
    let bad = thief.poison();
    thief.publish(&first);
    let directory = thief.leave(&world);
    fs::remove_dir_all(world.agent.state().join("cache")).expect("the cache");
    world.agent.start();
    change(&world);

    // What is not believed is named; all that was stored before is believed.
    let jobs = world.operator().json_with(3, &["run", POLICY, "--wait"]);
    let job = &jobs["jobs"][0];
    let second = snapshot_of(job);
    let warned = job["warnings"].to_string();
    // The last one lists a pack of the thief's own, which says the same.
    for id in &bad[..bad.len() - 1] {
        assert_says(&warned, &[&id.to_string()]);
    }
    let figure = |name: &str| job["result"]["backup"][name].as_u64().expect("a figure");
    let (new, all) = (figure("bytes_new"), figure("bytes_total"));
    assert!(new < all / 4, "stored again: {job:#}");

    for (snapshot, name) in [(&second, "second"), (&first, "first")] {
        let target = world.restores.join(name);
        let job = restore_with_warnings(&world, snapshot, &target);
        let warned = job["warnings"].to_string();
        // Garbage is always met.
        for id in &bad[..2] {
            assert_says(&warned, &[&id.to_string()]);
        }
        if name == "second" {
            assert_identical(&world.source, &world.below(&target));
        }
    }
    let listed = world.operator().run(["snapshots", "ls", &second, "-r"]);
    assert_says(&listed.stdout, &["/later"]);
    restic_is_content(&world, &directory, &bad);
}

fn restore_with_warnings(world: &World, snapshot: &str, target: &std::path::Path) -> Value {
    let to = target.to_str().expect("UTF-8");
    let arguments = [
        "restore", snapshot, "--agent", AGENT, "--target", to, "--wait",
    ];
    let jobs = world.operator().json_with(3, &arguments);
    jobs["jobs"][0].clone()
}

#[test]
fn a_backup_is_given_the_headers_of_data_packs_and_no_byte_of_their_data() {
    let mut world = World::new("pack-headers");
    world.fill(&Tree::small(1));
    world.backup();
    let thief = Thief::of(&mut world);
    for pack in thief.packs() {
        let path = thief.directory.join(ObjectName::data_pack(pack.id).path());
        let bytes = fs::read(path).expect("a pack");
        let trailer = bytes.last_chunk::<4>().expect("a trailer");
        let length = bytes.len() as u64;
        let first = length - u64::from(u32::from_le_bytes(*trailer)) - 4;
        let ask = |part| {
            let request = ask_part(ObjectKind::DataPack, &pack.id.0, part);
            thief.rogue.sign_one(&thief.attempt, request)
        };
        let grant = ask((first, length - 1)).expect("a header");
        let (status, _) = thief
            .rogue
            .s3(&grant.method, &grant.url, &grant.headers, vec![]);
        assert_eq!(status, 206);
        for part in [
            (first - 1, length - 1),
            (first + 1, length - 1),
            (first - 1, length - 2),
            (0, length - 1),
            (0, first - 1),
        ] {
            assert_eq!(ask(part), Err("read-forbidden".into()), "{part:?}");
        }
    }
}

#[test]
fn what_an_attempt_listed_before_it_died_is_found_again() {
    let mut world = World::behind_proxy("index-inherited", Setup::default());
    world.fill(&Tree::small(1));
    // All is stored and listed, and nothing is published.
    let gate = world.proxy().hold(1, |seen| seen.puts("snapshots"));
    let job = world.operator().start(POLICY);
    gate.wait_until_reached();
    world.agent.kill();
    world.agent.start();
    let job = world.operator().wait_for_end(&job);
    let snapshot = snapshot_of(&job);
    assert_eq!(job["result"]["backup"]["bytes_new"], 0, "{job:#}");
    let listed = world.operator().json(&["repositories", "list"]);
    assert_eq!(listed["repositories"][0]["withheld_indexes"], 1);
    world.prove(&snapshot, "all");
    world.restic().check();
}
