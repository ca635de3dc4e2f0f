//! How many requests one core signs a second.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use strongroom::stores::{
    StoreConfig, StoreCredentials,
    sign::{PutTerms, Signer},
};
use strongroom_layout::ObjectId;
use strongroom_wire::grant::Action;
use zeroize::Zeroizing;

fn sign(criterion: &mut Criterion) {
    let signer = Signer::new(StoreConfig {
        name: "primary".into(),
        endpoint: "https://s3.example.org:9000".parse().expect("a URL"),
        region: "eu-central-1".into(),
        bucket: "backups".into(),
        prefix: "strongroom".into(),
        path_style: true,
        credentials: StoreCredentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        },
        extra_ca_pem: None,
        accept_risks: std::collections::BTreeSet::new(),
    })
    .expect("a signer");
    let id = ObjectId([0xab; 32]);
    let key = format!("strongroom/web-1/data/ab/{id}");
    let at = Timestamp::from_second(1_790_000_000).expect("a time");

    let mut group = criterion.benchmark_group("grants on one core");
    group.throughput(Throughput::Elements(1));
    group.measurement_time(Duration::from_secs(3));
    let put = Action::Put {
        length: 64 << 20,
        sha256: id,
    };
    let get = Action::Get {
        range: Some((1 << 20, (2 << 20) - 1)),
    };
    for (name, action) in [("PUT of a pack", put), ("GET of a range", get)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| signer.sign(black_box(&key), &action, PutTerms::default(), at));
        });
    }
    group.finish();
}

criterion_group!(benches, sign);
criterion_main!(benches);
