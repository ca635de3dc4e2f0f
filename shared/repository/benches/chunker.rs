//! How fast the chunker cuts: engine.md measured 2700 MB/s for FastCDC.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use strongroom_repository::write::chunker::{Chunker, Gear};

fn chunker(criterion: &mut Criterion) {
    let gear = Gear::derive(&[1; 32]);
    let mut data = vec![0; 64 << 20];
    SmallRng::seed_from_u64(1).fill(&mut data[..]);
    let mut group = criterion.benchmark_group("chunker");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.sample_size(20);
    group.bench_function("random", |bencher| {
        bencher.iter(|| {
            let mut chunker = Chunker::new(&gear);
            let mut rest = &data[..];
            while let Some(length) = chunker.cut(black_box(rest)) {
                rest = &rest[length..];
            }
            rest.len()
        });
    });
    group.finish();
}

criterion_group!(benches, chunker);
criterion_main!(benches);
