//! What one thread does to a blob on its way into a pack, and back.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strongroom_repository::format::{
    blob::BlobKind,
    blob_codec::{BlobCodec, blob_id},
    crypto::MasterKey,
    node::Tree,
};

const MIB: usize = 1 << 20;

/// Looks like log lines: compresses about sixfold.
fn text() -> Vec<u8> {
    (0_u64..)
        .flat_map(|n| {
            let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!(
                "2026-11-21T02:47:53Z host-{} GET /objects/{n:x} 200\n",
                n % 7
            )
            .into_bytes()
        })
        .take(MIB)
        .collect()
}

fn noise() -> Vec<u8> {
    let mut bytes = vec![0; MIB];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

fn blobs(criterion: &mut Criterion) {
    let key = MasterKey::from_bytes(&[7; 64]);
    let (text, noise) = (text(), noise());
    let mut group = criterion.benchmark_group("blob of 1 MiB");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("hash", |bencher| {
        bencher.iter(|| blob_id(black_box(&noise)));
    });

    let mut out = Vec::with_capacity(2 * MIB);
    group.bench_function("seal", |bencher| {
        bencher.iter(|| {
            out.clear();
            key.seal_into(&mut out, black_box(&noise)).expect("sealed");
        });
    });
    group.bench_function("open", |bencher| {
        let sealed = key.seal(&noise).expect("sealed");
        bencher.iter(|| {
            out.clear();
            key.open_into(black_box(&sealed), &mut out).expect("opened");
        });
    });
    for (name, plaintext) in [("text", &text), ("noise", &noise)] {
        for level in [1, 3] {
            let mut codec = BlobCodec::new(level).expect("codec");
            group.bench_function(
                format!("compress and seal {name}, level {level}"),
                |bencher| {
                    bencher.iter(|| {
                        out.clear();
                        codec
                            .seal(&key, BlobKind::Data, black_box(plaintext), &mut out)
                            .expect("sealed")
                    });
                },
            );
        }
        let mut codec = BlobCodec::new(1).expect("codec");
        let mut sealed = Vec::new();
        let blob = codec
            .seal(&key, BlobKind::Data, plaintext, &mut sealed)
            .expect("sealed");
        let id = blob_id(plaintext);
        group.bench_function(format!("open and verify {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let length = blob.uncompressed_length;
                codec
                    .open(&key, &id, black_box(&sealed), length, &mut out)
                    .expect("opened");
            });
        });
    }
    group.finish();
}

fn trees(criterion: &mut Criterion) {
    let node = |n: usize| {
        format!(
            r#"{{"name":"file-{n:06}.txt","type":"file","mode":420,"mtime":"2026-11-21T02:47:53.931959203Z","atime":"2026-11-21T02:47:53.931959203Z","ctime":"2026-11-21T02:47:53.931959203Z","uid":0,"gid":0,"user":"root","group":"root","inode":10019044,"device_id":65024,"size":5000,"links":1,"content":["59a99bcf1072d88e2ad7fd26866e28243354390370684b747cf7c51ec1e25cd8"]}}"#
        )
    };
    let nodes: Vec<String> = (0..1000).map(node).collect();
    let json = format!("{{\"nodes\":[{}]}}\n", nodes.join(",")).into_bytes();
    let tree = Tree::decode(&json).expect("a tree");
    let mut group = criterion.benchmark_group("tree of 1000 files");
    group.throughput(Throughput::Elements(1000));
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(&tree).encode());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Tree::decode(black_box(&json)));
    });
    group.finish();
}

criterion_group!(benches, blobs, trees);
criterion_main!(benches);
