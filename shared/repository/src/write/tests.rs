mod claims;
mod journal;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use strongroom_layout::{ObjectId, ObjectKind, ObjectName};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use self::store::{Fault, TestStore};
use super::{chunker::MIN_CHUNK, membership::Membership, plan::MemoryPlan, stream::Content, *};
use crate::format::{
    blob::{BlobId, BlobKind, BlobLocation},
    blob_codec::BlobCodec,
    crypto::MasterKey,
    index::IndexFile,
    pack::PackHeader,
    unpacked,
};

const MIB: usize = 1 << 20;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn key() -> Arc<MasterKey> {
    Arc::new(MasterKey::from_bytes(&[5; 64]))
}

fn options(workers: usize, memory_budget: usize) -> WriteOptions {
    WriteOptions {
        workers,
        memory_budget,
        ..WriteOptions::default()
    }
}

fn writer(store: &Arc<TestStore>, runtime: &Handle, options: WriteOptions) -> Writer {
    let store: Arc<TestStore> = Arc::clone(store);
    Writer::new(
        key(),
        store,
        Membership::new([]),
        runtime.clone(),
        options,
        &CancellationToken::new(),
    )
    .unwrap()
}

/// `length` bytes that do not compress and differ from seed to seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// The blobs that the store's indexes list. Checks on the way that every
/// object hashes to its name and that headers agree with indexes.
fn listed(store: &TestStore) -> BTreeMap<(BlobKind, BlobId), BlobLocation> {
    let mut blobs = BTreeMap::new();
    for sealed in store.objects_of(ObjectKind::Index) {
        let mut plain = Vec::new();
        key().open_into(&sealed, &mut plain).unwrap();
        let index = IndexFile::decode(&unpacked::decode("index", plain).unwrap()).unwrap();
        for pack in index.packs {
            let bytes = store.pack(pack.id);
            let header = PackHeader::open(&key(), &bytes, bytes.len() as u64).unwrap();
            assert_eq!(header.entries.len(), pack.blobs.len());
            for (entry, blob) in header.entries.iter().zip(&pack.blobs) {
                assert_eq!(
                    (entry.id, entry.kind, entry.offset),
                    (blob.id, blob.kind, blob.offset)
                );
                let before = blobs.insert((blob.kind, blob.id), blob.location(pack.id));
                assert_eq!(before, None, "stored twice");
            }
        }
    }
    blobs
}

/// Puts a stream together from what the store holds.
fn read_back(store: &TestStore, content: &Content) -> Vec<u8> {
    let blobs = listed(store);
    let mut codec = BlobCodec::new(3).unwrap();
    let mut out = Vec::new();
    for id in &content.blobs {
        let place = blobs[&(BlobKind::Data, *id)];
        let pack = store.pack(place.pack);
        let sealed = &pack[place.offset as usize..][..place.length as usize];
        codec
            .open(&key(), id, sealed, place.uncompressed_length, &mut out)
            .unwrap();
    }
    out
}

/// Saves streams, one item each, and gives their contents in order.
fn save(writer: &Writer, streams: &[Vec<u8>]) -> Result<Vec<Content>, Halted> {
    let contents = parking_lot::Mutex::new(vec![Content::default(); streams.len()]);
    writer.run(None, |worker, item: Option<usize>| {
        match item {
            None => (0..streams.len()).for_each(|stream| worker.push(Some(stream))),
            Some(stream) => match worker.save_stream(&mut &streams[stream][..], &mut |_| ()) {
                Ok(content) => contents.lock()[stream] = content,
                Err(StreamError::Halted(halted)) => return Err(halted),
                Err(StreamError::Read(error)) => panic!("{error}"),
            },
        }
        Ok(())
    })?;
    Ok(contents.into_inner())
}

#[test]
fn streams_of_all_sizes_come_back() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let streams: Vec<Vec<u8>> = [0, 1, 1000, MIN_CHUNK, MIN_CHUNK + 1, 3 * MIB, 20 * MIB + 7]
        .into_iter()
        .enumerate()
        .map(|(seed, length)| noise(seed as u64, length))
        .chain([vec![0; 17 * MIB], b"text ".repeat(2 * MIB)])
        .collect();
    let writer = writer(&store, runtime.handle(), options(3, 64 * MIB));
    let contents = save(&writer, &streams).unwrap();
    let written = writer.finish().unwrap();

    for (stream, content) in streams.iter().zip(&contents) {
        assert_eq!(content.size, stream.len() as u64);
        assert!(read_back(&store, content) == *stream);
        assert!(content.blobs.len() <= 1 || stream.len() > MIN_CHUNK);
    }
    let packs = store.objects_of(ObjectKind::DataPack);
    assert_eq!(written.packs, packs.len() as u64);
    assert_eq!(written.blobs, listed(&store).len() as u64);
    assert_eq!(written.stored_bytes, store.bytes());
    let distinct: BTreeSet<_> = contents.iter().flat_map(|content| &content.blobs).collect();
    assert_eq!(written.blobs, distinct.len() as u64);
}

#[test]
fn the_same_bytes_are_stored_once() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let streams = vec![noise(1, 5 * MIB); 6];
    let writer = writer(&store, runtime.handle(), options(3, 64 * MIB));
    let contents = save(&writer, &streams).unwrap();
    assert!(contents.iter().all(|content| *content == contents[0]));
    assert_eq!(writer.finish().unwrap().plain_bytes, 5 * MIB as u64);
}

#[test]
fn data_and_trees_have_packs_of_their_own() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let writer = writer(&store, runtime.handle(), options(2, 64 * MIB));
    writer
        .run((), |worker, ()| {
            worker.save(BlobKind::Data, b"the same bytes")?;
            worker.save(BlobKind::Tree, b"the same bytes")?;
            Ok(())
        })
        .unwrap();
    assert_eq!(writer.finish().unwrap().packs, 2);
    assert_eq!(store.objects_of(ObjectKind::DataPack).len(), 1);
    assert_eq!(store.objects_of(ObjectKind::TreePack).len(), 1);
    assert_eq!(listed(&store).len(), 2);
}

#[test]
fn nothing_new_nothing_stored() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let streams = vec![noise(1, 3 * MIB), noise(2, 100)];
    let first = writer(&store, runtime.handle(), options(2, 64 * MIB));
    save(&first, &streams).unwrap();
    first.finish().unwrap();
    let before = store.puts();

    let second = Writer::new(
        key(),
        Arc::clone(&store) as _,
        Membership::new(listed(&store).into_keys()),
        runtime.handle().clone(),
        options(2, 64 * MIB),
        &CancellationToken::new(),
    )
    .unwrap();
    save(&second, &streams).unwrap();
    assert_eq!(second.finish().unwrap(), Written::default());
    assert_eq!(store.puts(), before);
}

#[test]
fn packs_close_at_ten_thousand_blobs() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let writer = writer(&store, runtime.handle(), options(1, 64 * MIB));
    writer
        .run((), |worker, ()| {
            for number in 0..25_000_u32 {
                worker.save(BlobKind::Data, &number.to_le_bytes())?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(writer.finish().unwrap().packs, 3);
    assert_eq!(listed(&store).len(), 25_000);
}

#[test]
fn a_large_run_writes_indexes_on_the_way_and_after_their_packs() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let writer = writer(&store, runtime.handle(), options(2, 64 * MIB));
    writer
        .run(0, |worker, part: u64| {
            for number in 0..40_000_u64 {
                worker.save(BlobKind::Data, &(part << 32 | number).to_le_bytes())?;
            }
            if part < 2 {
                worker.push(part + 1);
            }
            Ok(())
        })
        .unwrap();
    writer.finish().unwrap();
    assert_eq!(store.objects_of(ObjectKind::Index).len(), 3);
    assert_eq!(listed(&store).len(), 120_000);
    let mut durable = BTreeSet::new();
    for object in store.log() {
        match object {
            ObjectName::Hashed(ObjectKind::Index, id) => {
                let missing = store.packs_in(&key(), id).difference(&durable).count();
                assert_eq!(missing, 0, "an index before its packs");
            }
            ObjectName::Hashed(_, id) => {
                durable.insert(id);
            }
            ObjectName::Config | ObjectName::Wal(_) => unreachable!(),
        }
    }
}

#[test]
fn a_budget_too_small_for_its_threads_is_refused() {
    let runtime = runtime();
    let refused = Writer::new(
        key(),
        Arc::new(TestStore::default()),
        Membership::new([]),
        runtime.handle().clone(),
        options(2, MemoryPlan::minimum(2) - 1),
        &CancellationToken::new(),
    );
    let error = refused.unwrap_err();
    assert!(matches!(error, WriteError::Memory(_)), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn memory_in_flight_is_bounded_when_the_store_is_slow() {
    let runtime = runtime();
    let store = Arc::new(TestStore::closed());
    let budget = 48 * MIB;
    let plan = MemoryPlan::new(budget, 2).unwrap();
    let writer = writer(&store, runtime.handle(), options(2, budget));
    writer.assume_a_fast_link();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // All buffers that are not being filled wait at the store's gate.
            store.wait_until_waiting(plan.data_buffers - plan.data_packers);
            store.open();
        });
        let mut endless = rand_reader(3).take(200 * MIB as u64);
        save_one(&writer, &mut endless).unwrap();
    });
    writer.finish().unwrap();
    let most = store.most_in_flight();
    let full = plan.data_pack + pack::HEADER_ROOM;
    assert!(most <= plan.data_buffers * full, "{most} in flight");
    assert!(most > plan.data_pack, "{most} in flight");
}

#[test]
fn compression_takes_its_time_while_the_store_is_the_bottleneck() {
    let runtime = runtime();
    let store = Arc::new(TestStore::closed());
    let options = options(1, MemoryPlan::minimum(1));
    let (level, patient) = (options.level, options.patient_level);
    assert!(level < patient);
    let writer = writer(&store, runtime.handle(), options);
    writer
        .run((), |worker, ()| {
            assert_eq!(worker.shared.level(BlobKind::Data), level);
            // Until every buffer is filled or waits at the store's gate.
            for seed in 0.. {
                if worker.shared.level(BlobKind::Data) == patient {
                    break;
                }
                worker.save(BlobKind::Data, &noise(seed, MIB))?;
            }
            store.open();
            Ok(())
        })
        .unwrap();
    writer.finish().unwrap();
}

/// Nothing has arrived yet: who is killed now loses one pack, not all.
#[test]
fn a_link_of_which_nothing_is_known_has_one_small_pack_under_way() {
    let runtime = runtime();
    let store = Arc::new(TestStore::closed());
    let options = options(1, 152 * MIB);
    let patient = options.patient_level;
    let writer = writer(&store, runtime.handle(), options);
    writer
        .run((), |worker, ()| {
            for seed in 0.. {
                if worker.shared.level(BlobKind::Data) == patient {
                    break;
                }
                worker.save(BlobKind::Data, &noise(seed, MIB))?;
            }
            store.wait_until_waiting(1);
            assert_eq!(store.waiting(), 1);
            assert!(store.most_in_flight() <= 5 * MIB);
            store.open();
            Ok(())
        })
        .unwrap();
    writer.finish().unwrap();
}

#[test]
fn an_upload_that_fails_ends_the_run_with_its_error_and_keeps_what_is_durable() {
    let runtime = runtime();
    let store = Arc::new(TestStore::failing(Fault::at(ObjectKind::DataPack, 6)));
    let writer = writer(&store, runtime.handle(), options(2, 40 * MIB));
    // Without an end of its own.
    assert_eq!(save_one(&writer, &mut rand_reader(4)), Err(Halted));
    let error = writer.finish().unwrap_err();
    assert!(
        matches!(&error, WriteError::Store { source, .. } if source.to_string().contains("injected")),
        "{error}"
    );
    let packs = store.objects_of(ObjectKind::DataPack).len();
    assert!(packs >= 5);
    assert_eq!(
        listed(&store)
            .values()
            .map(|blob| blob.pack)
            .collect::<BTreeSet<ObjectId>>()
            .len(),
        packs
    );
}

#[test]
fn a_failing_index_fails_the_run() {
    let runtime = runtime();
    let store = Arc::new(TestStore::failing(Fault::at(ObjectKind::Index, 1)));
    let writer = writer(&store, runtime.handle(), options(2, 40 * MIB));
    save(&writer, &[noise(1, 100)]).unwrap();
    assert!(matches!(writer.finish(), Err(WriteError::Store { .. })));
}

#[test]
fn a_cancelled_run_ends_though_the_store_hangs() {
    let runtime = runtime();
    let store = Arc::new(TestStore::closed());
    let cancel = CancellationToken::new();
    let budget = 40 * MIB;
    let plan = MemoryPlan::new(budget, 2).unwrap();
    let writer = Writer::new(
        key(),
        Arc::clone(&store) as _,
        Membership::new([]),
        runtime.handle().clone(),
        options(2, budget),
        &cancel,
    )
    .unwrap();
    writer.assume_a_fast_link();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            store.wait_until_waiting(plan.data_buffers - plan.data_packers);
            cancel.cancel();
        });
        assert_eq!(save_one(&writer, &mut rand_reader(4)), Err(Halted));
    });
    assert!(matches!(writer.finish(), Err(WriteError::Cancelled)));
}

#[test]
fn a_stream_that_fails_is_told_apart_from_a_run_that_fails() {
    struct Failing(u64);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("input is gone"));
            }
            let length = out.len().min(self.0 as usize);
            out[..length].fill(7);
            self.0 -= length as u64;
            Ok(length)
        }
    }
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let writer = writer(&store, runtime.handle(), options(2, 40 * MIB));
    writer
        .run((), |worker, ()| {
            for length in [10, 20 * MIB as u64] {
                let result = worker.save_stream(&mut Failing(length), &mut |_| ());
                assert!(matches!(result, Err(StreamError::Read(_))));
            }
            Ok(())
        })
        .unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_panic_in_one_worker_ends_all() {
    let runtime = runtime();
    let store = Arc::new(TestStore::default());
    let writer = writer(&store, runtime.handle(), options(2, 40 * MIB));
    let result = writer.run(true, |worker, panics| {
        if panics {
            worker.push(false);
            panic!("on purpose");
        }
        loop {
            worker.check()?;
            std::thread::yield_now();
        }
    });
    assert_eq!(result, Err(Halted));
    assert!(matches!(writer.finish(), Err(WriteError::Panicked)));
}

/// Endless noise.
fn rand_reader(seed: u64) -> impl Read + Send {
    struct Noise(SmallRng);
    impl Read for Noise {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0.fill(out);
            Ok(out.len())
        }
    }
    Noise(SmallRng::seed_from_u64(seed))
}

fn save_one(writer: &Writer, input: &mut (dyn Read + Send)) -> Result<(), Halted> {
    let input = parking_lot::Mutex::new(input);
    writer.run((), |worker, ()| {
        match worker.save_stream(&mut *input.lock(), &mut |_| ()) {
            Err(StreamError::Halted(halted)) => Err(halted),
            _ => Ok(()),
        }
    })
}
