//! How long the upload of a 64 MiB pack waits for its grant on loopback: from
//! the question, over gRPC and mutual TLS, to the signed answer, with the
//! object recorded in the catalog on disk before it. The real coordinator.
//!
//! ```text
//! cargo build --release && cargo bench --package strongroom-tests --bench grant
//! ```

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use strongroom_proto::v1;
use strongroom_tests::{
    coordinator::Setup,
    hostile_agent::{Rogue, put},
    scratch::Scratch,
};

fn wait(criterion: &mut Criterion) {
    let scratch = Scratch::new("bench-grant");
    let setup = Setup {
        // Nobody renews it.
        lease_seconds: 3600,
        ..Setup::default()
    };
    let coordinator = setup.start(&scratch, "coordinator");
    let agent = Rogue::enrol(coordinator.agents_address(), &coordinator.invite("bench"));
    let mut session = agent.open_session();
    coordinator.operator().apply(
        "[[policy]]\nname = \"bench\"\nagents = { names = [\"bench\"] }\n\
         source = { files = { paths = [\"/srv\"] } }\nstore = \"primary\"\n",
    );
    coordinator.operator().start("bench");
    let offer = agent.accept_job(&mut session);
    let attempt = offer.attempt.expect("an offer names its attempt");

    let mut group = criterion.benchmark_group("grant");
    group.measurement_time(Duration::from_secs(5));
    let mut number = 0_u64;
    group.bench_function("of a 64 MiB pack, alone", |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                // Each pack is another object.
                v1::RequestToSign {
                    length: 64 << 20,
                    ..put(v1::ObjectKind::DataPack, &number.to_be_bytes())
                }
            },
            |request| agent.sign_one(&attempt, request).expect("a grant"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, wait);
criterion_main!(benches);
