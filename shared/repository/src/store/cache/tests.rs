use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

use super::*;
use crate::store::{
    conformance,
    memory::MemoryStore,
    record::{Operation, RecordStore},
};

const REPOSITORY: ObjectId = ObjectId([7; 32]);

struct Bench {
    memory: Arc<MemoryStore>,
    record: Arc<RecordStore>,
    directory: tempfile::TempDir,
    store: SharedStore,
}

impl Bench {
    fn new(size: u64) -> Self {
        let memory = Arc::new(MemoryStore::new());
        let record = Arc::new(RecordStore::new(Arc::clone(&memory) as _));
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path(), size);
        Self {
            store: cache.before(Arc::clone(&record) as _, REPOSITORY),
            memory,
            record,
            directory,
        }
    }

    /// The same cache in a new process.
    fn again(&self) -> SharedStore {
        Cache::new(self.directory.path(), DEFAULT_CACHE_SIZE)
            .before(Arc::clone(&self.record) as _, REPOSITORY)
    }

    fn path(&self, object: ObjectName) -> PathBuf {
        let repository = self
            .directory
            .path()
            .join("objects")
            .join(REPOSITORY.to_string());
        let kind = repository.join(object.kind().as_str());
        kind.join(object.id().unwrap().to_string())
    }

    fn tag(&self) -> PathBuf {
        self.directory.path().join("objects/CACHEDIR.TAG")
    }

    fn fetched(&self) -> u64 {
        self.record.total(Operation::Get).calls
    }
}

fn object(kind: ObjectKind, seed: u8, length: usize) -> (ObjectName, Body) {
    let body = Body::new(vec![seed; length]);
    (ObjectName::Hashed(kind, body.sha256), body)
}

async fn put(store: &SharedStore, (object, body): &(ObjectName, Body)) -> ObjectName {
    store.put(*object, body.clone()).await.unwrap();
    *object
}

#[tokio::test]
async fn conforms() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    conformance::run(bench.store).await;
    let bench = Bench::new(0);
    conformance::run(bench.store).await;
    let bench = Bench::new(4000);
    conformance::run(bench.store).await;
}

#[tokio::test]
async fn what_was_written_here_is_not_fetched() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let tree = put(&bench.store, &object(ObjectKind::TreePack, 1, 1000)).await;
    let index = put(&bench.store, &object(ObjectKind::Index, 2, 1000)).await;
    let data = put(&bench.store, &object(ObjectKind::DataPack, 3, 1000)).await;
    for store in [&bench.store, &bench.again()] {
        let part = store.get(tree, ByteRange::new(10, 20)).await.unwrap();
        assert_eq!(part, [1; 20][..]);
        assert_eq!(store.get(tree, None).await.unwrap(), [1; 1000][..]);
        assert_eq!(store.get(index, None).await.unwrap(), [2; 1000][..]);
    }
    assert_eq!(bench.fetched(), 0);
    bench.store.get(data, None).await.unwrap();
    assert_eq!(bench.fetched(), 1);
    assert!(!bench.path(data).exists());
}

#[tokio::test]
async fn an_index_is_fetched_once_and_a_part_of_a_pack_as_it_is_asked_for() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let memory: SharedStore = Arc::clone(&bench.memory) as _;
    let index = put(&memory, &object(ObjectKind::Index, 1, 1000)).await;
    let tree = put(&memory, &object(ObjectKind::TreePack, 2, 1000)).await;
    for _ in 0..3 {
        bench.store.get(index, None).await.unwrap();
        bench.store.get(tree, ByteRange::new(5, 10)).await.unwrap();
    }
    let got = bench.record.total(Operation::Get);
    assert_eq!((got.calls, got.bytes), (4, 1030));
}

#[tokio::test]
async fn what_is_damaged_is_removed_and_fetched() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[500] ^= 1,
        |bytes| bytes.truncate(999),
        |bytes| bytes.clear(),
        |bytes| bytes.push(0),
    ];
    for damage in damages {
        let bench = Bench::new(DEFAULT_CACHE_SIZE);
        let tree = put(&bench.store, &object(ObjectKind::TreePack, 1, 1000)).await;
        let index = put(&bench.store, &object(ObjectKind::Index, 2, 1000)).await;
        for object in [tree, index] {
            let path = bench.path(object);
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let part = bench.store.get(tree, ByteRange::new(400, 200)).await;
        assert_eq!(part.unwrap(), [1; 200][..]);
        assert!(!bench.path(tree).exists());
        let whole = bench.store.get(index, None).await.unwrap();
        assert_eq!(whole, [2; 1000][..]);
        assert_eq!(bench.fetched(), 2);
        // It is right again.
        bench.again().get(index, None).await.unwrap();
        assert_eq!(bench.fetched(), 2);
    }
}

#[tokio::test]
async fn what_the_store_damaged_is_not_kept() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let (index, _) = object(ObjectKind::Index, 1, 100);
    bench
        .memory
        .put(index, Body::new(vec![9; 100]))
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(bench.store.get(index, None).await.unwrap(), [9; 100][..]);
    }
    assert_eq!(bench.fetched(), 2);
}

#[tokio::test]
async fn indexes_that_the_repository_has_no_longer_are_removed() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let stale = put(&bench.store, &object(ObjectKind::Index, 1, 100)).await;
    let live = put(&bench.store, &object(ObjectKind::Index, 2, 100)).await;
    let tree = put(&bench.store, &object(ObjectKind::TreePack, 3, 100)).await;
    bench.memory.remove(stale).await.unwrap();
    bench.store.list(Directory::Index).await.unwrap();
    assert!(!bench.path(stale).exists());
    assert!(bench.path(live).exists() && bench.path(tree).exists());
    let error = bench.store.get(stale, None).await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn an_index_that_the_store_has_no_longer_whole_is_not_kept_whole_here() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let index = put(&bench.store, &object(ObjectKind::Index, 1, 100)).await;
    bench.memory.remove(index).await.unwrap();
    let half = Body::hashed(vec![vec![1; 50].into()], index.id().unwrap());
    bench.memory.put(index, half).await.unwrap();
    bench.store.list(Directory::Index).await.unwrap();
    assert_eq!(bench.store.get(index, None).await.unwrap(), [1; 50][..]);
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_first() {
    let bench = Bench::new(10_000);
    let mut objects = Vec::new();
    for seed in 0..10 {
        let object = put(&bench.store, &object(ObjectKind::TreePack, seed, 1000)).await;
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seed));
        let file = File::open(bench.path(object)).unwrap();
        file.set_times(FileTimes::new().set_modified(used)).unwrap();
        objects.push(object);
    }
    assert!(objects.iter().all(|it| bench.path(*it).exists()));
    // The oldest, but used.
    bench.store.get(objects[0], None).await.unwrap();
    put(&bench.store, &object(ObjectKind::TreePack, 10, 1000)).await;
    let kept: Vec<_> = (0..10)
        .filter(|n| bench.path(objects[*n]).exists())
        .collect();
    assert_eq!(kept, [0, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn the_bound_holds_whatever_is_written_and_left_behind() {
    let bench = Bench::new(20_000);
    let left = bench.directory.path().join("objects/interrupted.tmp");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, vec![0; 15_000]).unwrap();
    for seed in 0..60 {
        let length = 100 + usize::from(seed) * 90;
        put(&bench.store, &object(ObjectKind::TreePack, seed, length)).await;
        let mut sum = 0;
        for entry in walk(bench.directory.path()) {
            sum += entry.metadata().unwrap().len();
        }
        sum -= bench.tag().metadata().unwrap().len();
        assert!(sum <= 20_000, "{sum}");
    }
    // The largest would push out everything else.
    assert!(
        !bench
            .path(object(ObjectKind::TreePack, 59, 100 + 59 * 90).0)
            .exists()
    );
    assert!(
        bench
            .path(object(ObjectKind::TreePack, 54, 100 + 54 * 90).0)
            .exists()
    );
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|it| it.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_is_done_without() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    // Fails for root as well, unlike a directory that is read-only.
    fs::write(bench.directory.path().join("objects"), "").unwrap();
    conformance::run(bench.store).await;
}

#[tokio::test]
async fn repositories_are_apart_and_only_the_owner_reads_them() {
    let bench = Bench::new(DEFAULT_CACHE_SIZE);
    let index = put(&bench.store, &object(ObjectKind::Index, 1, 100)).await;
    let cache = Cache::new(bench.directory.path(), DEFAULT_CACHE_SIZE);
    let other = cache.before(Arc::new(MemoryStore::new()), ObjectId([8; 32]));
    assert!(other.get(index, None).await.unwrap_err().is_not_found());
    assert_eq!(other.list(Directory::Index).await.unwrap(), []);
    assert!(bench.path(index).exists());
    let tag = fs::read_to_string(bench.tag()).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.path(index)), 0o600);
    for above in bench.path(index).ancestors().skip(1).take(3) {
        assert_eq!(mode(above), 0o700);
    }
}
