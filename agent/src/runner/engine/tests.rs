//! The engine against a coordinator that grants everything and a bucket that
//! checks nothing: what is under test is the agent's side.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU64,
    path::Path,
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use strongroom_layout::{Directory, ObjectId, ObjectName};
use strongroom_runtime::clock::SystemClock;
use strongroom_spec::{
    BackupOutcome, BackupSpec, CommandSource, DirectoryTarget, FailureCode, FilesSource, ListSpec,
    RestoreSpec, Source,
};
use strongroom_tests::noise;
use strongroom_wire::grant::{
    Action, Grant, ListObjectsResponse, ListedObject, PublishRequest, PublishResponse, SignAnswer,
    SignResponse,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::*;
use crate::{
    fake::{Call, Fake, days, offer},
    link::{LinkOwner, link},
    transport,
};

/// Status, one header, body.
type Answer = (StatusCode, [(&'static str, String); 1], Bytes);

/// Objects by path, over HTTP.
#[derive(Default)]
struct Bucket(Mutex<BTreeMap<String, Bytes>>);

impl Bucket {
    async fn serve(self: Arc<Self>) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let handler = |State(bucket): State<Arc<Self>>, method, uri, headers, body| async move {
            bucket.answer(&method, &uri, &headers, body)
        };
        let router = Router::new().fallback(handler).with_state(self);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, server)
    }

    fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, StatusCode> {
        let path = uri.path().trim_start_matches('/').to_owned();
        let mut objects = self.0.lock().unwrap();
        if *method == Method::PUT {
            objects.insert(path, body);
            return Ok((StatusCode::OK, [("x-done", String::new())], Bytes::new()));
        }
        let object = objects.get(&path).ok_or(StatusCode::NOT_FOUND)?.clone();
        let Some(range) = headers.get("range") else {
            return Ok((StatusCode::OK, [("x-done", String::new())], object));
        };
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let shown = format!("bytes {first}-{last}/{}", object.len());
        let part = object.slice(first..=last);
        Ok((
            StatusCode::PARTIAL_CONTENT,
            [("content-range", shown)],
            part,
        ))
    }

    fn list(&self, directory: Directory) -> Vec<ListedObject> {
        let prefix = format!("{directory}/");
        let objects = self.0.lock().unwrap();
        objects
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .map(|(path, body)| ListedObject {
                id: path.rsplit('/').next().unwrap().parse().unwrap(),
                size: body.len() as u64,
            })
            .collect()
    }

    fn grant(url: &str, object: ObjectName, action: Action) -> SignAnswer {
        let (method, headers) = match action {
            Action::Get { range: None } => ("GET", vec![]),
            Action::Get {
                range: Some((first, last)),
            } => (
                "GET",
                vec![("range".to_owned(), format!("bytes={first}-{last}"))],
            ),
            Action::Head => ("HEAD", vec![]),
            Action::Put { .. } => ("PUT", vec![]),
            Action::Delete => panic!("an agent asked to delete {object}"),
        };
        SignAnswer::Grant(Grant {
            method: method.into(),
            url: format!("{url}/{object}"),
            headers,
            valid_seconds: 60,
        })
    }
}

/// Everything but the session.
struct Scene {
    engine: Engine,
    live: watch::Sender<Arc<AgentConfig>>,
    bucket: Arc<Bucket>,
    published: Arc<Mutex<Vec<PublishRequest>>>,
    scratch: tempfile::TempDir,
    _link: LinkOwner,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn scene() -> Scene {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let config = format!(
        "state_dir = '{0}/state'\n[allow]\nsources = ['files', 'command']\nread_paths = ['{0}/source']\n\
         restore_paths = ['{0}/target']\n\
         [commands.hello]\nargv = ['echo', 'hello']\nfilename = 'hello.txt'\n",
        root.display()
    );
    let config = strongroom_runtime::config::parse(Path::new("agent.toml"), &config).unwrap();

    let mut fake = Fake::start().await;
    let identity = fake.identity(&root.join("state"), days(7));
    let channel = transport::connect(&fake.address, identity.tls().unwrap())
        .await
        .unwrap();
    let (owner, link) = link();
    owner.set(Some(channel));

    let bucket = Arc::new(Bucket::default());
    let (url, server) = bucket.clone().serve().await;
    let published = Arc::new(Mutex::new(Vec::new()));
    let (objects, catalog) = (bucket.clone(), published.clone());
    let coordinator = tokio::spawn(async move {
        loop {
            answer(fake.call().await, &url, &objects, &catalog);
        }
    });
    let (set_live, live) = watch::channel(Arc::new(config));
    let engine = Engine::new(
        live,
        link,
        identity.ca_pem.clone(),
        "web-1".into(),
        SystemClock::shared(),
        Desks::default(),
    );
    Scene {
        engine,
        live: set_live,
        bucket,
        published,
        scratch,
        _link: owner,
        tasks: vec![server, coordinator],
    }
}

fn answer(call: Call, url: &str, bucket: &Bucket, published: &Mutex<Vec<PublishRequest>>) {
    // An agent that was cancelled does not wait for its answer.
    match call {
        Call::Sign(request, answer) => {
            let answers = request.requests.iter();
            let answers = answers
                .map(|request| Bucket::grant(url, request.object, request.action))
                .collect();
            let _ = answer.send(Ok(SignResponse { answers }));
        }
        Call::List(request, answer) => {
            let objects = bucket.list(request.directory);
            let more = false;
            let _ = answer.send(Ok(ListObjectsResponse { objects, more }));
        }
        Call::Release(request, answer) => {
            let mut objects = bucket.0.lock().unwrap();
            for id in &request.ids {
                objects.remove(&ObjectName::lock(*id).path());
            }
            let _ = answer.send(Ok(()));
        }
        Call::Publish(request, answer) => {
            let put = Action::Put {
                length: request.length,
                sha256: request.snapshot,
            };
            let granted = Bucket::grant(url, ObjectName::snapshot(request.snapshot), put);
            published.lock().unwrap().push(*request);
            let _ = answer.send(Ok(PublishResponse { answer: granted }));
        }
        Call::RecordWal(request, answer) => {
            drop(answer);
            panic!("{request:?}");
        }
        Call::ArchivedWal(request, answer) => {
            drop(answer);
            panic!("{request:?}");
        }
        Call::Enrol(..) | Call::Session(..) | Call::Renew(..) => panic!("nobody asked for that"),
    }
}

impl Scene {
    fn path(&self, name: &str) -> String {
        let root = self.scratch.path().canonicalize().unwrap();
        root.join(name).to_str().unwrap().to_owned()
    }

    async fn run_with(&self, offer: JobOffer, monitor: Arc<Monitor>) -> Result<Outcome, Failure> {
        Worker::run(&self.engine, offer, monitor).await
    }

    async fn run(&self, work: JobSpec) -> Result<Outcome, Failure> {
        let monitor = Arc::new(Monitor::new(CancellationToken::new()));
        self.run_with(job(work), monitor).await
    }

    async fn back_up(&self) -> BackupOutcome {
        match self.run(self.files()).await.unwrap() {
            Outcome::Backup(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn files(&self) -> JobSpec {
        backup(Source::Files(FilesSource {
            paths: vec![self.path("source")],
            include: vec![],
            exclude: vec![],
            one_file_system: false,
            exclude_caches: false,
        }))
    }

    fn restore(&self, snapshot: ObjectId, target: &str) -> JobSpec {
        let target = DirectoryTarget {
            directory: self.path(target),
            ..DirectoryTarget::default()
        };
        RestoreSpec::new(snapshot, target.into()).into()
    }

    fn locks(&self) -> usize {
        self.bucket.list(Directory::Locks).len()
    }
}

fn job(work: JobSpec) -> JobOffer {
    let mut offer = offer(1, None);
    offer.repository.create = true;
    offer.spec = Ok(work);
    offer
}

fn backup(source: Source) -> JobSpec {
    JobSpec::Backup(BackupSpec {
        dataset: "web@web-1".into(),
        source,
        parent: None,
        tags: vec!["web@web-1".into()],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_into_a_new_repository_and_comes_back() {
    let scene = scene().await;
    fs::create_dir_all(scene.path("source/deep")).unwrap();
    fs::write(scene.path("source/deep/a"), "alpha").unwrap();
    fs::write(scene.path("source/b"), vec![7; 100_000]).unwrap();

    let result = scene.back_up().await;
    assert_eq!(result.files, 2);
    {
        let published = scene.published.lock().unwrap();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].snapshot, result.snapshot);
        assert_eq!(published[0].result, result);
    }
    assert_eq!(scene.bucket.list(Directory::Snapshots).len(), 1);
    assert_eq!(scene.locks(), 0);

    let listed = scene
        .run(JobSpec::List(ListSpec {
            snapshot: result.snapshot,
            path: scene.path("source"),
            recursive: true,
            limit: 10,
            after: None,
        }))
        .await
        .unwrap();
    let Outcome::List(listed) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<_> = listed.entries.iter().map(|entry| entry.size).collect();
    assert!(names.contains(&100_000), "{listed:?}");

    let restored = scene.run(scene.restore(result.snapshot, "target")).await;
    assert!(matches!(restored, Ok(Outcome::Restore(_))), "{restored:?}");
    let below = |name: &str| format!("{}{}", scene.path("target"), scene.path(name));
    assert_eq!(fs::read(below("source/deep/a")).unwrap(), b"alpha");
    assert_eq!(fs::read(below("source/b")).unwrap(), vec![7; 100_000]);
    assert_eq!(scene.locks(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_command_becomes_a_snapshot() {
    let scene = scene().await;
    let name = "hello".to_owned();
    let work = backup(Source::Command(CommandSource { name }));
    let Outcome::Backup(result) = scene.run(work).await.unwrap() else {
        panic!("no backup");
    };
    scene
        .run(scene.restore(result.snapshot, "target"))
        .await
        .unwrap();
    let restored = fs::read(scene.path("target/hello.txt")).unwrap();
    assert_eq!(restored, b"hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_does_not_allow_is_refused_before_anything_is_asked() {
    let scene = scene().await;
    let outside = scene.restore(ObjectId([0; 32]), "elsewhere");
    let failure = scene.run(outside).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NotAllowed);
    assert!(failure.message.contains("allow.restore_paths"));
    assert!(scene.bucket.0.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_opens_nothing() {
    let scene = scene().await;
    fs::create_dir(scene.path("source")).unwrap();
    fs::write(scene.path("source/a"), "a").unwrap();
    scene.back_up().await;
    let mut offer = job(scene.files());
    offer.repository.password = Zeroizing::new("another".into());
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let failure = scene.run_with(offer, monitor).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Repository);
    assert!(failure.message.contains("wrong password"));
    assert_eq!(scene.published.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_is_only_made_when_asked() {
    let scene = scene().await;
    fs::create_dir(scene.path("source")).unwrap();
    let mut offer = job(scene.files());
    offer.repository.create = false;
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let failure = scene.run_with(offer, monitor).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Repository);
    assert!(failure.message.contains("no repository"));
    assert!(scene.bucket.0.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_publishes_nothing_and_leaves_no_lock() {
    let scene = scene().await;
    fs::create_dir(scene.path("source")).unwrap();
    // What does not compress takes minutes at this rate.
    fs::write(scene.path("source/a"), noise(1, 3_000_000)).unwrap();
    let cancel = CancellationToken::new();
    let monitor = Arc::new(Monitor::new(cancel.clone()));
    let mut offer = job(scene.files());
    offer.limits.upload = NonZeroU64::new(10_000);
    let uploading = async {
        while monitor.files.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.locks(), 1);
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(scene.run_with(offer, monitor.clone()), uploading);
    outcome.unwrap_err();
    assert!(scene.published.lock().unwrap().is_empty());
    assert_eq!(scene.locks(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_before_a_reload_does_not_bring_its_limits_back() {
    let scene = scene().await;
    // Its configuration is that of its beginning, and it gets on after the reload.
    let begun = scene.engine.clone();
    let before = begun.limits();
    scene.live.send_modify(|config| {
        Arc::make_mut(config).limits.threads = std::num::NonZeroU32::new(1);
    });
    let job = |engine: &Engine| engine.limits().for_job(ResourceLimits::default());
    assert_eq!(job(&begun).threads, 1);
    let now = begun.limits();
    assert!(!Arc::ptr_eq(&before, &now));
    let next = Engine(Arc::clone(&begun.0), scene.live.borrow().clone());
    assert!(Arc::ptr_eq(&now, &next.limits()), "all share one line");
}
