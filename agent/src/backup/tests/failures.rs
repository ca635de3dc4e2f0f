//! Backups that end early.

use std::sync::Arc;

use strongroom_layout::ObjectKind;
use strongroom_spec::FailureCode;
use strongroom_tests::noise;

use super::bench::{Bench, Gate};
use crate::{backup::BackupRequest, sources::files::Moment};

#[test]
fn a_store_that_refuses_ends_the_backup_and_what_was_stored_is_found_again() {
    let bench = Bench::new();
    bench.write("large", noise(1, 60 << 20));
    bench.store.set(Gate::DenyPut(ObjectKind::DataPack, 4));
    let error = bench.try_backup(&bench.request()).unwrap_err();
    assert_eq!(error.code(), FailureCode::Refused, "{error}");
    assert!(error.to_string().contains("the gate is shut"), "{error}");

    bench.store.set(Gate::Open);
    let whole = bench.backup(&bench.request());
    assert!(whole.result.bytes_new < whole.result.bytes_total);
    // Four packs, which the failed run has indexed, need not be stored again.
    assert!(whole.result.bytes_stored < whole.result.bytes_total - (8 << 20));
    bench.restic().check();
}

#[test]
fn a_cancelled_backup_ends() {
    let bench = Bench::new();
    for number in 0..100 {
        bench.write(&format!("{number}/file"), "x");
    }
    let cancel = bench.monitor.cancel.clone();
    let request = BackupRequest {
        probe: Some(Arc::new(move |moment, path: &[u8]| {
            if moment == Moment::Opened && path.ends_with(b"50/file") {
                cancel.cancel();
            }
        })),
        ..bench.request()
    };
    let error = bench.try_backup(&request).unwrap_err();
    assert_eq!(error.code(), FailureCode::Cancelled);
    assert!(!error.is_retryable());
}
