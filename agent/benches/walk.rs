//! A tree of many small files: the first backup, and the walk when nothing
//! has changed since the parent. The store is memory: what is measured is the
//! agent.

use std::{fs, path::Path, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_agent::{
    allowed::AllowedPaths,
    backup::{BackupRequest, BackupSource, PreparedBackup, run},
    monitor::Monitor,
    sources::throttle::Pace,
};
use strongroom_layout::ObjectId;
use strongroom_repository::{Repository, format::key_file::KeyOwner, store::memory::MemoryStore};
use strongroom_runtime::clock::SystemClock;
use strongroom_spec::FilesSource;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const DIRECTORIES: usize = 1000;
const FILES_EACH: usize = 19;
const ENTRIES: u64 = (DIRECTORIES * (FILES_EACH + 1)) as u64;

/// Some 20,000 entries with a kilobyte in each file.
fn make_tree(root: &Path) {
    for directory in 0..DIRECTORIES {
        let path = root.join(format!("{:02}/{directory:04}", directory % 40));
        fs::create_dir_all(&path).expect("a directory");
        for file in 0..FILES_EACH {
            let content = format!("{directory} {file}\n").repeat(100);
            fs::write(path.join(format!("file-{file:02}.txt")), content).expect("a file");
        }
    }
}

fn request(root: &Path, parent: Option<ObjectId>) -> BackupRequest {
    BackupRequest {
        source: BackupSource::Files(FilesSource {
            paths: vec![root.to_str().expect("UTF-8").to_owned()],
            include: Vec::new(),
            exclude: Vec::new(),
            one_file_system: false,
            exclude_caches: false,
        }),
        parent,
        tags: Vec::new(),
        hostname: "bench".into(),
        threads: None,
        memory_budget: None,
        pace: Pace::unlimited(),
        cache: None,
        clock: SystemClock::shared(),
        allowed: AllowedPaths::default(),
        probe: None,
    }
}

fn repository(runtime: &Runtime) -> Arc<Repository> {
    let owner = KeyOwner {
        created: jiff::Timestamp::UNIX_EPOCH,
        username: "bench".into(),
        hostname: "bench".into(),
    };
    let create = Repository::create(Arc::new(MemoryStore::new()), "password", owner);
    Arc::new(runtime.block_on(create).expect("a repository"))
}

fn back_up(
    runtime: &Runtime,
    repository: &Arc<Repository>,
    request: BackupRequest,
) -> PreparedBackup {
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let (repository, runtime) = (Arc::clone(repository), runtime.handle().clone());
    run(repository, runtime, request, monitor).expect("a backup")
}

fn walk(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    make_tree(directory.path());
    let mut group = criterion.benchmark_group(format!("tree of {ENTRIES} entries"));
    group.throughput(Throughput::Elements(ENTRIES));
    group.sample_size(10);
    group.measurement_time(Duration::from_secs(5));
    group.bench_function("first backup", |bencher| {
        bencher.iter_batched(
            || repository(&runtime),
            |repository| back_up(&runtime, &repository, request(directory.path(), None)),
            BatchSize::PerIteration,
        );
    });

    let repository = repository(&runtime);
    let first = back_up(&runtime, &repository, request(directory.path(), None));
    let publish = repository.store().put(first.object, first.body);
    runtime.block_on(publish).expect("a snapshot");
    let parent = Some(first.result.snapshot);
    group.bench_function("unchanged", |bencher| {
        bencher.iter(|| {
            let second = back_up(&runtime, &repository, request(directory.path(), parent));
            assert_eq!(second.result.bytes_read, 0, "something was read");
        });
    });
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
