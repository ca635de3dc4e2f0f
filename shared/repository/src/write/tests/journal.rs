//! What an interrupted run stored is found again.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use strongroom_layout::Directory;

use super::*;
use crate::{
    Repository,
    format::key_file::KeyOwner,
    store::{
        Body, ByteRange, Listed, Store, StoreError, StoreErrorKind,
        memory::MemoryStore,
        record::{Operation, RecordStore, Tally},
    },
};

const STREAMS: u64 = 5;
const STREAM: usize = 4 * MIB;
const SOURCE: u64 = STREAMS * STREAM as u64;

/// Refuses to write or to list on demand, and shows no index file of the
/// hidden ones.
#[derive(Debug, Default)]
struct Moody {
    inner: MemoryStore,
    hidden: parking_lot::Mutex<BTreeSet<strongroom_layout::ObjectId>>,
    refuses_indexes: AtomicBool,
    refuses_lists: AtomicBool,
}

fn refused<T: Send + 'static>(
    operation: &'static str,
) -> BoxFuture<'static, Result<T, StoreError>> {
    let kind = StoreErrorKind::Denied("injected".into());
    Box::pin(ready(Err(StoreError::new(operation, "x", kind))))
}

impl Store for Moody {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        if object.kind() == ObjectKind::Index && self.refuses_indexes.load(Relaxed) {
            return refused("put");
        }
        self.inner.put(object, body)
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.inner.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        if directory == Directory::Data && self.refuses_lists.load(Relaxed) {
            return refused("list");
        }
        let hidden = self.hidden.lock().clone();
        let listed = self.inner.list(directory);
        Box::pin(async move {
            let mut listed = listed.await?;
            listed.retain(|it| directory != Directory::Index || !hidden.contains(&it.id));
            Ok(listed)
        })
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.remove(object)
    }
}

struct Bench {
    runtime: Runtime,
    moody: Arc<Moody>,
    record: Arc<RecordStore>,
    repository: Repository,
    cache: tempfile::TempDir,
}

fn owner() -> KeyOwner {
    KeyOwner {
        created: jiff::Timestamp::UNIX_EPOCH,
        username: "tester".into(),
        hostname: "bench".into(),
    }
}

impl Bench {
    fn new() -> Self {
        let runtime = runtime();
        let moody = Arc::new(Moody::default());
        let record = Arc::new(RecordStore::new(Arc::clone(&moody) as _));
        let create = Repository::create(Arc::clone(&record) as _, "password", owner());
        let repository = runtime.block_on(create).unwrap();
        Self {
            runtime,
            moody,
            record,
            repository,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn directory(&self) -> JournalDirectory {
        JournalDirectory::new(self.cache.path(), self.repository.config().id)
    }

    fn journals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory().as_path());
        let entries = entries.into_iter().flatten().map(|it| it.unwrap().path());
        let is_journal = |path: &PathBuf| path.extension().is_some_and(|it| it == "journal");
        entries.filter(is_journal).collect()
    }

    /// A run that takes over what is left of others.
    fn writer(&self) -> Writer {
        let directory = self.directory();
        let resume = Known::resume(&self.repository, &directory);
        let known = self.runtime.block_on(resume).unwrap();
        Writer::new(
            Arc::clone(self.repository.key()),
            Arc::clone(self.repository.store()),
            known.membership,
            self.runtime.handle().clone(),
            WriteOptions {
                journal: Some(self.directory()),
                ..options(2, 40 * MIB)
            },
            &CancellationToken::new(),
        )
        .unwrap()
    }

    /// A run that is killed when it has read everything.
    fn interrupted(&self) {
        let writer = self.writer();
        save(&writer, &streams()).unwrap();
        writer.kill();
        assert_eq!(self.indexes(), []);
        assert!(!self.journals().is_empty());
    }

    /// A run to the end.
    fn run(&self) -> Written {
        let writer = self.writer();
        save(&writer, &streams()).unwrap();
        let written = writer.finish().unwrap();
        self.verify();
        written
    }

    /// A run to the end, when not all that is there need be listed.
    fn writer_that_saves(&self) -> Written {
        let writer = self.writer();
        save(&writer, &streams()).unwrap();
        writer.finish().unwrap()
    }

    fn sent(&self) -> Tally {
        self.record.tally(Operation::Put, Some(Directory::Data))
    }

    fn packs(&self) -> Vec<Listed> {
        let list = self.moody.inner.list(Directory::Data);
        self.runtime.block_on(list).unwrap()
    }

    fn indexes(&self) -> Vec<IndexFile> {
        let store = &self.moody.inner;
        let listed = self.runtime.block_on(store.list(Directory::Index)).unwrap();
        let load = |listed: &Listed| {
            let object = ObjectName::index(listed.id);
            let json = self.runtime.block_on(self.repository.load_unpacked(object));
            IndexFile::decode(&json.unwrap()).unwrap()
        };
        listed.iter().map(load).collect()
    }

    /// Every pack is listed and every blob that is listed is there.
    fn verify(&self) {
        let mut listed = BTreeSet::new();
        for pack in self.indexes().into_iter().flat_map(|index| index.packs) {
            let get = self.moody.inner.get(ObjectName::data_pack(pack.id), None);
            let bytes = self.runtime.block_on(get).unwrap();
            let key = self.repository.key();
            let header = PackHeader::open(key, &bytes, bytes.len() as u64).unwrap();
            let blobs: Vec<_> = header.entries.into_iter().map(Into::into).collect();
            assert_eq!(pack.blobs, blobs);
            listed.insert(pack.id);
        }
        let packs: BTreeSet<_> = self.packs().iter().map(|pack| pack.id).collect();
        assert_eq!(listed, packs);
    }
}

fn streams() -> Vec<Vec<u8>> {
    (0..STREAMS).map(|seed| noise(seed, STREAM)).collect()
}

#[test]
fn what_was_stored_is_not_sent_again() {
    let bench = Bench::new();
    bench.interrupted();
    let stored = bench.sent();
    assert!(stored.calls >= 3, "{stored:?}");

    let written = bench.run();
    assert!(written.plain_bytes < SOURCE);
    let sent = bench.sent();
    assert_eq!(
        sent.bytes,
        bench.packs().iter().map(|pack| pack.size).sum::<u64>()
    );
    assert!(
        (SOURCE..SOURCE + SOURCE / 100).contains(&sent.bytes),
        "{sent:?}"
    );
    assert!(bench.journals().is_empty());

    assert_eq!(bench.run(), Written::default());
}

#[test]
fn data_is_listed_once_whatever_is_left() {
    let lists = |bench: &Bench| {
        let tally = bench.record.tally(Operation::List, Some(Directory::Data));
        tally.calls
    };
    let bench = Bench::new();
    bench.run();
    assert_eq!(lists(&bench), 0, "there is nothing to compare");
    bench.run();
    assert_eq!(lists(&bench), 1);
    let bench = Bench::new();
    bench.interrupted();
    bench.run();
    assert_eq!(lists(&bench), 1);
}

#[test]
fn what_a_run_listed_that_published_nothing_is_listed_anew_and_not_sent_again() {
    let bench = Bench::new();
    bench.run();
    let hide = |bench: &Bench| {
        let list = bench.moody.inner.list(Directory::Index);
        let listed = bench.runtime.block_on(list).unwrap();
        bench
            .moody
            .hidden
            .lock()
            .extend(listed.iter().map(|it| it.id));
        listed.len()
    };
    let first = hide(&bench);
    let sent = bench.sent();
    for times in 2..4 {
        // The new listings are hidden as well: these runs, too, publish nothing.
        assert_eq!(bench.run(), Written::default());
        assert_eq!(hide(&bench), times * first);
    }
    assert_eq!(bench.sent(), sent);
    // What was published is not listed again.
    bench.moody.hidden.lock().clear();
    assert_eq!(bench.run(), Written::default());
    assert_eq!(hide(&bench), 3 * first);
    // Without notes it is stored again.
    fs::remove_dir_all(bench.directory().as_path()).unwrap();
    assert_eq!(bench.writer_that_saves().plain_bytes, SOURCE);
}

#[test]
fn a_second_interruption_loses_nothing() {
    let bench = Bench::new();
    bench.interrupted();
    let left = bench.packs().len();
    bench.writer().kill();
    // It has listed them before it did anything else.
    assert_eq!(bench.indexes()[0].packs.len(), left);
    assert!(bench.journals().is_empty());
    bench.run();
    assert!(bench.sent().bytes < SOURCE + SOURCE / 100);
}

#[test]
fn a_run_that_may_write_nothing_more_is_continued() {
    let bench = Bench::new();
    let writer = bench.writer();
    save(&writer, &streams()).unwrap();
    bench.moody.refuses_indexes.store(true, Relaxed);
    writer.abandon();
    assert_eq!(bench.indexes(), []);
    bench.moody.refuses_indexes.store(false, Relaxed);
    bench.run();
    // Those that were being uploaded when it ended were not noted.
    let full = MemoryPlan::new(40 * MIB, 2).unwrap();
    let in_flight = full.data_buffers * (full.data_pack + pack::HEADER_ROOM);
    assert!(bench.sent().bytes < SOURCE + in_flight as u64);
}

#[test]
fn a_pack_that_is_gone_or_not_whole_is_stored_anew() {
    let bench = Bench::new();
    bench.interrupted();
    let packs = bench.packs();
    let names: Vec<_> = packs
        .iter()
        .map(|it| ObjectName::data_pack(it.id))
        .collect();
    let store = &bench.moody.inner;
    bench.runtime.block_on(async {
        store.remove(names[0]).await.unwrap();
        let whole = store.get(names[1], None).await.unwrap();
        let part = Body::new(whole.slice(..whole.len() - 1));
        store.put(names[1], part).await.unwrap();
    });
    let writer = bench.writer();
    let listed = bench.indexes().into_iter().flat_map(|index| index.packs);
    assert_eq!(listed.count(), packs.len() - 2);
    save(&writer, &streams()).unwrap();
    let written = writer.finish().unwrap();
    assert!(written.stored_bytes > packs[0].size + packs[1].size);
}

#[test]
fn a_torn_or_forged_journal_counts_as_far_as_it_is_good() {
    type Damage = fn(&mut Vec<u8>);
    /// How many packs of how many are still found.
    type Left = fn(usize) -> usize;
    let damages: [(Damage, Left); 5] = [
        (|bytes| bytes.truncate(bytes.len() - 7), |all| all - 1),
        (|bytes| *bytes.last_mut().unwrap() ^= 1, |all| all - 1),
        (|bytes| bytes.extend([7; 100]), |all| all),
        (|bytes| bytes[0] ^= 1, |_| 0),
        (|bytes| *bytes = vec![0; 1000], |_| 0),
    ];
    for (damage, left) in damages {
        let bench = Bench::new();
        bench.interrupted();
        let journals = bench.journals();
        assert_eq!(journals.len(), 1);
        let mut bytes = fs::read(&journals[0]).unwrap();
        damage(&mut bytes);
        fs::write(&journals[0], bytes).unwrap();
        let writer = bench.writer();
        let listed = bench.indexes().into_iter().flat_map(|index| index.packs);
        assert_eq!(listed.count(), left(bench.packs().len()));
        save(&writer, &streams()).unwrap();
        writer.finish().unwrap();
        assert!(bench.journals().is_empty());
    }
}

#[test]
fn a_journal_of_another_repository_is_not_believed() {
    let bench = Bench::new();
    let other = Bench::new();
    other.interrupted();
    fs::create_dir_all(bench.directory().as_path()).unwrap();
    let strange = bench.directory().as_path().join("strange.journal");
    fs::copy(&other.journals()[0], strange).unwrap();
    assert_eq!(bench.run().plain_bytes, SOURCE);
    // Its own is where it was.
    assert_eq!(other.journals().len(), 1);
}

#[test]
fn the_journal_of_a_live_run_is_left_alone() {
    let bench = Bench::new();
    let live = bench.writer();
    save(&live, &streams()).unwrap();
    // Made by the first upload, which runs beside.
    while bench.journals().is_empty() {
        std::thread::yield_now();
    }
    let journals = bench.journals();
    let meanwhile = bench.writer();
    assert_eq!(bench.indexes(), []);
    assert_eq!(meanwhile.finish().unwrap(), Written::default());
    assert_eq!(bench.journals(), journals);
    live.finish().unwrap();
    bench.verify();
    assert!(bench.journals().is_empty());
}

#[test]
fn without_a_place_for_it_there_is_no_journal() {
    let bench = Bench::new();
    // Fails for root as well, unlike a directory that is read-only.
    fs::write(bench.cache.path().join("journals"), "").unwrap();
    assert_eq!(bench.run().plain_bytes, SOURCE);
    assert_eq!(bench.run(), Written::default());
}

#[test]
fn a_listing_that_is_refused_costs_an_upload_and_no_backup() {
    let bench = Bench::new();
    bench.interrupted();
    bench.moody.refuses_lists.store(true, Relaxed);
    let writer = bench.writer();
    save(&writer, &streams()).unwrap();
    assert_eq!(writer.finish().unwrap().plain_bytes, SOURCE);
    assert_eq!(bench.journals().len(), 1, "another run may be luckier");
}

#[test]
fn only_the_owner_reads_journals() {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::new();
    bench.interrupted();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.journals()[0]), 0o600);
    assert_eq!(mode(bench.directory().as_path()), 0o700);
}
