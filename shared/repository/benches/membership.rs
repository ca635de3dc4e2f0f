//! What it costs to know the blobs of a repository: memory and a look-up at
//! ten million blobs, and the load of its index.

use std::{fs, hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use strongroom_layout::{ObjectId, ObjectKind};
use strongroom_repository::{
    Repository,
    format::{
        blob::BlobKind,
        index::{IndexBlob, IndexFile, IndexPack},
        key_file::KeyOwner,
    },
    store::{Store, memory::MemoryStore},
    write::{Known, membership::Membership},
};

const BLOBS: u64 = 10_000_000;
/// Index files of the repository that is loaded, as large as they get.
const FILES: usize = 10;
const PACKS: usize = 50;
const BLOBS_PER_PACK: usize = 1000;

fn ids(seed: u64) -> impl Iterator<Item = ObjectId> {
    let mut random = SmallRng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let mut id = [0; 32];
        random.fill(&mut id);
        ObjectId(id)
    })
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a kernel that says");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kibibytes = kibibytes.and_then(|number| number.trim().parse::<u64>().ok());
    kibibytes.expect("a number") * 1024
}

fn look_up(criterion: &mut Criterion) {
    let before = resident();
    let known = ids(1).take(BLOBS as usize).map(|id| (BlobKind::Data, id));
    let membership = Membership::new(known);
    let per_blob = (resident() - before) as f64 / BLOBS as f64;
    eprintln!("membership: {per_blob:.1} bytes of resident memory per blob, of {BLOBS}");

    let mut group = criterion.benchmark_group("membership of 10 million blobs");
    group.throughput(Throughput::Elements(1));
    // Drawn at random, so that no look-up finds its bucket in a cache.
    let mut random = SmallRng::seed_from_u64(2);
    let some: Vec<_> = ids(1).take(BLOBS as usize).step_by(100).collect();
    group.bench_function("known", |bencher| {
        bencher.iter_batched(
            || some[random.random_range(0..some.len())],
            |id| membership.contains(BlobKind::Data, black_box(id)),
            BatchSize::SmallInput,
        );
    });
    let mut new = ids(3);
    group.bench_function("new", |bencher| {
        bencher.iter_batched(
            || new.next().expect("endless"),
            |id| membership.contains(BlobKind::Data, black_box(id)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn index_file(ids: &mut impl Iterator<Item = ObjectId>) -> IndexFile {
    let mut id = || ids.next().expect("endless");
    let mut pack = || IndexPack {
        id: id(),
        blobs: (0..BLOBS_PER_PACK as u32)
            .map(|number| IndexBlob {
                id: id(),
                kind: BlobKind::Data,
                offset: number * 60_000,
                length: 60_000,
                uncompressed_length: Some(100_000),
            })
            .collect(),
    };
    IndexFile {
        packs: (0..PACKS).map(|_| pack()).collect(),
    }
}

fn load(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .expect("a runtime");
    let store = Arc::new(MemoryStore::new());
    let owner = KeyOwner {
        created: jiff::Timestamp::UNIX_EPOCH,
        username: "bench".into(),
        hostname: "bench".into(),
    };
    let repository = runtime
        .block_on(Repository::create(
            Arc::clone(&store) as _,
            "password",
            owner,
        ))
        .expect("a repository");
    let mut ids = ids(4);
    for _ in 0..FILES {
        let json = index_file(&mut ids).encode().expect("JSON");
        let (object, body) = repository
            .seal_unpacked(ObjectKind::Index, &json)
            .expect("sealed");
        runtime.block_on(store.put(object, body)).expect("stored");
    }
    let blobs = (FILES * PACKS * BLOBS_PER_PACK) as u64;
    let mut group = criterion.benchmark_group(format!("index of {blobs} blobs"));
    group.throughput(Throughput::Elements(blobs));
    group.sample_size(10);
    group.measurement_time(Duration::from_secs(5));
    group.bench_function("load", |bencher| {
        bencher.iter(|| {
            runtime
                .block_on(Known::load(&repository))
                .expect("an index")
        });
    });
    group.finish();
}

criterion_group!(benches, look_up, load);
criterion_main!(benches);
