//! A backup believes an index file about a pack only if the pack says the same.

use strongroom_layout::Directory;

use super::*;
use crate::{
    Repository,
    format::{
        index::{IndexBlob, IndexPack},
        key_file::KeyOwner,
        pack::PackEntry,
    },
    read::{OnTrouble, Reader, Trouble},
    store::{
        Body, Store,
        memory::MemoryStore,
        record::{Operation, RecordStore},
    },
};

const STREAMS: u64 = 3;
const STREAM: usize = 2 * MIB;

struct Bench {
    runtime: Runtime,
    record: Arc<RecordStore>,
    repository: Repository,
    cache: tempfile::TempDir,
}

fn streams() -> Vec<Vec<u8>> {
    (0..STREAMS).map(|seed| noise(seed, STREAM)).collect()
}

impl Bench {
    fn new() -> Self {
        let runtime = runtime();
        let record = Arc::new(RecordStore::new(Arc::new(MemoryStore::new())));
        let owner = KeyOwner {
            created: jiff::Timestamp::UNIX_EPOCH,
            username: "tester".into(),
            hostname: "bench".into(),
        };
        let create = Repository::create(Arc::clone(&record) as _, "password", owner);
        Self {
            repository: runtime.block_on(create).unwrap(),
            runtime,
            record,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn directory(&self) -> JournalDirectory {
        JournalDirectory::new(self.cache.path(), self.repository.config().id)
    }

    /// As after the loss of the agent's cache.
    fn forget(&self) {
        std::fs::remove_dir_all(self.directory().as_path()).unwrap();
    }

    /// A run to the end: what it wrote, what it was told of, and how many headers
    /// of packs it read. Nothing was lost.
    fn run(&self) -> (Written, Vec<Trouble>, u64) {
        let (written, trouble, headers, lost) = self.run_with_losses();
        assert_eq!(lost, []);
        (written, trouble, headers)
    }

    /// The same, and what had been lost before it.
    fn run_with_losses(&self) -> (Written, Vec<Trouble>, u64, Vec<LostPack>) {
        let before = self.reads();
        let directory = self.directory();
        let resume = Known::resume(&self.repository, &directory);
        let known = self.runtime.block_on(resume).unwrap();
        let writer = Writer::new(
            Arc::clone(self.repository.key()),
            Arc::clone(self.repository.store()),
            known.membership,
            self.runtime.handle().clone(),
            WriteOptions {
                journal: Some(directory),
                ..options(2, 40 * MIB)
            },
            &CancellationToken::new(),
        );
        let writer = writer.unwrap();
        let contents = save(&writer, &streams()).unwrap();
        let written = writer.finish().unwrap();
        let headers = self.reads() - before;
        self.read_back(&contents);
        (written, known.trouble, headers, known.lost)
    }

    /// All of it can be restored.
    fn read_back(&self, contents: &[Content]) {
        let repository = Arc::new(self.repository.clone());
        self.runtime.block_on(async {
            let reader = Reader::open(repository, OnTrouble::default())
                .await
                .unwrap();
            for (stream, content) in streams().iter().zip(contents) {
                let mut whole = Vec::new();
                for id in &content.blobs {
                    whole.extend(reader.blob(BlobKind::Data, id).await.unwrap());
                }
                assert!(whole == *stream);
            }
        });
    }

    /// The only index file, which is removed.
    fn take_index(&self) -> IndexFile {
        self.runtime.block_on(async {
            let listed = self.record.list(Directory::Index).await.unwrap();
            assert_eq!(listed.len(), 1);
            let object = ObjectName::index(listed[0].id);
            let json = self.repository.load_unpacked(object).await.unwrap();
            self.record.remove(object).await.unwrap();
            IndexFile::decode(&json).unwrap()
        })
    }

    fn add_index(&self, packs: Vec<IndexPack>) -> ObjectName {
        let json = IndexFile { packs }.encode().unwrap();
        let save = self.repository.save_unpacked(ObjectKind::Index, &json);
        ObjectName::index(self.runtime.block_on(save).unwrap())
    }

    /// A pack of the thief's own, with one blob of other content.
    fn add_thiefs_pack(&self) -> IndexPack {
        let (mut codec, mut pack) = (BlobCodec::new(3).unwrap(), Vec::new());
        let plaintext = noise(99, 500_000);
        let key = self.repository.key();
        let sealed = codec
            .seal(key, BlobKind::Data, &plaintext, &mut pack)
            .unwrap();
        let entry = PackEntry {
            id: crate::format::blob_codec::blob_id(&plaintext),
            kind: BlobKind::Data,
            offset: 0,
            length: sealed.length,
            uncompressed_length: sealed.uncompressed_length,
        };
        let header = PackHeader {
            entries: vec![entry],
        };
        pack.extend(header.seal(key).unwrap());
        let body = Body::new(pack);
        let id = body.sha256;
        let put = self.record.put(ObjectName::data_pack(id), body);
        self.runtime.block_on(put).unwrap();
        IndexPack {
            id,
            blobs: vec![entry.into()],
        }
    }

    /// Reads of packs.
    fn reads(&self) -> u64 {
        let tally = self.record.tally(Operation::Get, Some(Directory::Data));
        tally.calls + tally.failures
    }
}

/// What of a pack of an honest index file becomes a lie.
type Lie = fn(&mut IndexPack, thief: &IndexPack);

fn lies() -> [(&'static str, Lie); 9] {
    [
        ("another pack", |pack, thief| pack.id = thief.id),
        ("its place in another pack", |pack, thief| {
            let id = pack.blobs[0].id;
            pack.id = thief.id;
            pack.blobs = vec![IndexBlob {
                id,
                ..thief.blobs[0]
            }];
        }),
        ("no pack", |pack, _| pack.id = ObjectId([3; 32])),
        ("another blob", |pack, _| {
            pack.blobs[0].id = ObjectId([4; 32]);
        }),
        ("another kind", |pack, _| {
            pack.blobs[0].kind = BlobKind::Tree;
        }),
        ("a shorter blob", |pack, _| pack.blobs[0].length -= 1),
        ("a longer last blob", |pack, _| {
            pack.blobs.last_mut().unwrap().length += 1;
        }),
        ("another length unpacked", |pack, _| {
            pack.blobs[0].uncompressed_length = Some(7);
        }),
        ("one blob more", |pack, _| {
            let last = *pack.blobs.last().unwrap();
            pack.blobs.push(IndexBlob {
                id: ObjectId([5; 32]),
                offset: last.offset + last.length,
                ..last
            });
        }),
    ]
}

#[test]
fn what_an_index_says_and_the_pack_does_not_is_stored_again() {
    for (what, lie) in lies() {
        let bench = Bench::new();
        let (first, ..) = bench.run();
        let mut packs = bench.take_index().packs;
        bench.forget();
        let thief = bench.add_thiefs_pack();
        let blobs = packs[0].blobs.len() as u64;
        lie(&mut packs[0], &thief);
        let (claimed, packs_own) = (packs[0].blobs.len(), blobs as usize);
        let liar = bench.add_index(packs);

        let (written, trouble, _, lost) = bench.run_with_losses();
        assert_eq!(written.blobs, blobs, "{what}");
        assert!(
            written.blobs < first.blobs,
            "{what}: the others are believed"
        );
        match (&trouble[..], &lost[..]) {
            ([told], []) => assert_eq!(told.object, liar.to_string(), "{what}"),
            // A pack that is not there, or too short for what it is to hold.
            ([], [lost]) => assert_eq!(lost.blobs.len(), claimed, "{what}"),
            told => panic!("{what}: {told:?}"),
        }

        // It is told of each time, unless all of it lies elsewhere now, and costs
        // no more reads.
        let (written, trouble, headers, lost_again) = bench.run_with_losses();
        assert_eq!((written.blobs, headers), (0, 0), "{what}");
        assert_eq!(trouble.len(), usize::from(lost.is_empty()), "{what}");
        let invented = claimed.saturating_sub(packs_own);
        let told_again: usize = lost_again.iter().map(|pack| pack.blobs.len()).sum();
        assert_eq!(
            told_again,
            if lost.is_empty() { 0 } else { invented },
            "{what}"
        );
    }
}

#[test]
fn a_true_index_of_somebody_else_is_looked_at_once_and_ones_own_never() {
    let bench = Bench::new();
    let (first, ..) = bench.run();
    assert_eq!(bench.run(), (Written::default(), vec![], 0));
    bench.forget();
    assert_eq!(bench.run(), (Written::default(), vec![], first.packs));
    assert_eq!(bench.run(), (Written::default(), vec![], 0));
}

#[test]
fn a_damaged_index_is_told_of_and_passed_over() {
    let bench = Bench::new();
    bench.run();
    let body = Body::new(vec![7; 100]);
    let object = ObjectName::index(body.sha256);
    bench
        .runtime
        .block_on(bench.record.put(object, body))
        .unwrap();
    let (written, trouble, _) = bench.run();
    assert_eq!(written, Written::default());
    assert_eq!(trouble.len(), 1);
    assert_eq!(trouble[0].object, object.to_string());
}

impl Bench {
    /// The packs of data that are there.
    fn packs(&self) -> Vec<ObjectId> {
        let listed = self.record.list(Directory::Data);
        let listed = self.runtime.block_on(listed).unwrap();
        listed.iter().map(|pack| pack.id).collect()
    }

    fn read_pack(&self, pack: ObjectId) -> Vec<u8> {
        let read = self.record.get(ObjectName::data_pack(pack), None);
        self.runtime.block_on(read).unwrap().to_vec()
    }

    fn remove_pack(&self, pack: ObjectId) {
        let remove = self.record.remove(ObjectName::data_pack(pack));
        self.runtime.block_on(remove).unwrap();
    }

    fn put_pack(&self, pack: ObjectId, bytes: Vec<u8>) {
        let body = Body::hashed(vec![bytes.into()], pack);
        let put = self.record.put(ObjectName::data_pack(pack), body);
        self.runtime.block_on(put).unwrap();
    }
}

/// What happens to a pack.
type Harm = fn(&Bench, ObjectId);

#[test]
fn what_the_store_has_lost_is_stored_again_and_told_of_once() {
    let harms: [(&str, Harm); 2] = [
        ("gone", |bench, pack| bench.remove_pack(pack)),
        ("half", |bench, pack| {
            let bytes = bench.read_pack(pack);
            bench.remove_pack(pack);
            bench.put_pack(pack, bytes[..bytes.len() / 2].to_vec());
        }),
    ];
    for (what, harm) in harms {
        let bench = Bench::new();
        let (first, ..) = bench.run();
        let pack = bench.packs()[0];
        harm(&bench, pack);
        let (written, trouble, headers, lost) = bench.run_with_losses();
        assert_eq!((trouble, headers), (vec![], 0), "{what}");
        let [lost] = &lost[..] else {
            panic!("{what}: {lost:?}");
        };
        assert_eq!(lost.pack, ObjectName::data_pack(pack), "{what}");
        assert_eq!(written.blobs, lost.blobs.len() as u64, "{what}");
        assert!(written.blobs < first.blobs, "{what}");
        // All of it lies elsewhere now.
        assert_eq!(bench.run(), (Written::default(), vec![], 0), "{what}");
        // Who does not remember it is told once that an index names what is not there.
        bench.forget();
        for told in [1, 0] {
            let (written, trouble, _) = bench.run();
            assert_eq!(
                (written, trouble.len()),
                (Written::default(), told),
                "{what}"
            );
        }
    }
}

#[test]
fn a_lost_pack_that_is_there_again_is_looked_at_before_it_is_believed() {
    let bench = Bench::new();
    bench.run();
    let pack = bench.packs()[0];
    let bytes = bench.read_pack(pack);
    // Noticed by a run that stores nothing again.
    bench.remove_pack(pack);
    let lost = |bench: &Bench| {
        let directory = bench.directory();
        let known = Known::resume(&bench.repository, &directory);
        bench.runtime.block_on(known).unwrap().lost.len()
    };
    assert_eq!(lost(&bench), 1);
    bench.put_pack(pack, bytes.clone());
    assert_eq!(bench.run(), (Written::default(), vec![], 1));
    assert_eq!(bench.run(), (Written::default(), vec![], 0));
    // As long, but not what it was.
    bench.remove_pack(pack);
    assert_eq!(lost(&bench), 1);
    bench.put_pack(pack, vec![0; bytes.len()]);
    let (written, trouble, headers) = bench.run();
    assert!(written.blobs > 0);
    assert_eq!((trouble.len(), headers), (1, 1));
}

#[expect(clippy::disallowed_methods, reason = "files have the real time")]
#[test]
fn a_run_that_ends_early_leaves_the_comparison_to_the_next() {
    let bench = Bench::new();
    bench.run();
    bench.remove_pack(bench.packs()[0]);
    let stamp = bench.directory().compared();
    std::fs::write(&stamp, "1000000").unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(25);
    let aged = std::fs::File::options().write(true).open(&stamp).unwrap();
    aged.set_modified(long_ago).unwrap();
    // What is found cannot be noted: its file is a directory.
    let proven = bench.directory().proven();
    let aside = proven.with_extension("aside");
    std::fs::rename(&proven, &aside).unwrap();
    std::fs::create_dir(&proven).unwrap();
    let known = || {
        let directory = bench.directory();
        let known = Known::resume(&bench.repository, &directory);
        bench.runtime.block_on(known).unwrap()
    };
    assert_eq!(known().lost.len(), 1);
    std::fs::remove_dir(&proven).unwrap();
    std::fs::rename(&aside, &proven).unwrap();
    assert_eq!(known().lost.len(), 1, "it was compared once more");
    assert_ne!(std::fs::read_to_string(&stamp).unwrap(), "1000000");
}

#[test]
fn what_was_found_lost_stays_so_while_packs_are_not_compared() {
    let bench = Bench::new();
    bench.run();
    bench.remove_pack(bench.packs()[0]);
    let known = || {
        let directory = bench.directory();
        let known = Known::resume(&bench.repository, &directory);
        bench.runtime.block_on(known).unwrap()
    };
    assert_eq!(known().lost.len(), 1);
    std::fs::write(bench.directory().compared(), "1000000").unwrap();
    assert_eq!(known().lost.len(), 1);
    // A second one is found a day later.
    bench.remove_pack(bench.packs()[0]);
    assert_eq!(known().lost.len(), 1);
    std::fs::remove_file(bench.directory().compared()).unwrap();
    assert_eq!(known().lost.len(), 2);
}
