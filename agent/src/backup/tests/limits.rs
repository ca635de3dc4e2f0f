//! What a backup may take of its host.

use std::{
    num::NonZeroU64,
    sync::{Arc, mpsc},
    thread,
};

use strongroom_repository::write::plan::MemoryPlan;
use strongroom_runtime::rate_limiter::RateLimiter;
use strongroom_spec::FailureCode;
use strongroom_tests::noise;
use tokio::{runtime::Handle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::bench::Bench;
use crate::{
    backup::{BackupRequest, BackupSource},
    sources::{
        command::Command,
        throttle::{Pace, Sleeper, tests::Dream},
    },
};

const MIB: u64 = 1 << 20;

fn limiter(bytes_per_second: u64) -> Arc<RateLimiter> {
    RateLimiter::new(NonZeroU64::new(bytes_per_second).unwrap())
}

#[test]
fn files_are_read_at_the_rate_by_all_threads_together() {
    let bench = Bench::new();
    for number in 0..200 {
        bench.write(&format!("small/{number}"), noise(number, 20_000));
    }
    for number in 0..3 {
        bench.write(&format!("large/{number}"), noise(1000 + number, 5_000_000));
    }
    let dream = Dream::new();
    let request = BackupRequest {
        pace: Pace::with_sleeper(limiter(MIB), dream.clone()),
        ..bench.request()
    };
    let backup = bench.backup(&request);
    assert_eq!(backup.result.bytes_read, 19_000_000);
    let (took, wanted) = (dream.seconds(), 19_000_000.0 / MIB as f64);
    assert!(
        (took - wanted).abs() <= wanted / 10.0,
        "{took} s, not {wanted} s"
    );
    bench.restic().check();
}

#[test]
fn the_output_of_a_command_is_read_at_the_rate() {
    let bench = Bench::new();
    let dream = Dream::new();
    let request = BackupRequest {
        source: BackupSource::Command(Command {
            name: "dump".into(),
            argv: ["sh", "-c", "yes text | head -c 20000000"]
                .map(Into::into)
                .to_vec(),
            filename: None,
            report_stderr: true,
            allow_empty: false,
        }),
        pace: Pace::with_sleeper(limiter(2 * MIB), dream.clone()),
        ..bench.request()
    };
    assert_eq!(bench.backup(&request).result.bytes_read, 20_000_000);
    let (took, wanted) = (dream.seconds(), 10_000_000.0 / MIB as f64);
    assert!(
        (took - wanted).abs() <= wanted / 10.0,
        "{took} s, not {wanted} s"
    );
}

/// Says that somebody sleeps, who then sleeps until the run ends.
struct Forever {
    asleep: mpsc::Sender<()>,
    runtime: Handle,
}

impl Sleeper for Forever {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, _then: Instant, ended: &CancellationToken) {
        let _ = self.asleep.send(());
        self.runtime.block_on(ended.cancelled());
    }
}

#[test]
fn a_backup_that_is_held_back_is_cancelled_at_once() {
    let bench = Bench::new();
    bench.write("file", noise(1, 10_000_000));
    let (asleep, sleeping) = mpsc::channel();
    let sleeper = Forever {
        asleep,
        runtime: bench.runtime.handle().clone(),
    };
    let request = BackupRequest {
        pace: Pace::with_sleeper(limiter(1024), Arc::new(sleeper)),
        ..bench.request()
    };
    let error = thread::scope(|scope| {
        let backup = scope.spawn(|| bench.try_backup(&request).unwrap_err());
        sleeping.recv().unwrap();
        bench.monitor.cancel.cancel();
        backup.join().unwrap()
    });
    assert_eq!(error.code(), FailureCode::Cancelled);
}

#[test]
fn threads_that_the_memory_does_not_hold_are_given_up() {
    let bench = Bench::new();
    bench.write("file", noise(1, 10_000_000));
    bench.backup(&BackupRequest {
        threads: Some(500),
        memory_budget: Some(MemoryPlan::minimum(2)),
        ..bench.request()
    });
    bench.restic().check();
}

#[test]
fn a_memory_budget_below_the_least_is_refused_with_what_works() {
    let bench = Bench::new();
    bench.write("file", "content");
    let error = bench
        .try_backup(&BackupRequest {
            memory_budget: Some(MemoryPlan::minimum(1) - 1),
            ..bench.request()
        })
        .unwrap_err();
    assert_eq!(error.code(), FailureCode::NotAllowed);
    assert!(!error.is_retryable());
    let least = MemoryPlan::minimum(1).to_string();
    assert!(error.to_string().contains(&least), "{error}");
}
