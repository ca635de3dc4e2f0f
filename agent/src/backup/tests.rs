mod allowed;
mod bench;
mod cached;
mod commands;
mod failures;
mod holes;
mod limits;
mod requests;
mod warnings;
mod what_is_taken;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::Arc,
};

use strongroom_compare::{CompareOptions, compare};
use strongroom_layout::ObjectKind;
use strongroom_runtime::clock::ManualClock;
use strongroom_spec::FailureCode;
use strongroom_tests::tree::Tree;

use self::bench::{Bench, Gate};
use super::{BackupRequest, PreparedBackup};
use crate::allowed::AllowedPaths;

/// What restic 0.14 cannot restore: attributes of symlinks (it follows them),
/// hard links of anything but files, targets that are not UTF-8.
const RESTIC_LACKS: [&str; 3] = [
    "attribute trusted.link",
    "no longer a hard link",
    "not \\xff\\xfe UTF-8",
];

/// The whole way: we write, restic checks and restores.
#[test]
fn restic_reads_what_we_write() {
    let bench = Bench::new();
    let tree = Tree {
        // restic cannot restore paths beyond PATH_MAX.
        depth: 10,
        ..Tree::full(1)
    };
    tree.write(&bench.source);
    let backup = bench.backup(&bench.request());
    bench.restic().check();
    assert_eq!(bench.warnings(), [""; 0]);

    let target = bench.scratch.dir("restored");
    bench
        .restic()
        .restore(&backup.result.snapshot.to_string(), &target);
    let restored = target.join(bench.source.strip_prefix("/").unwrap());
    let compared = compare(&bench.source, &restored, &CompareOptions::default()).unwrap();
    let beyond_restic: Vec<_> = compared
        .differences
        .iter()
        .filter(|difference| {
            !RESTIC_LACKS
                .iter()
                .any(|what| difference.what.contains(what))
        })
        .collect();
    assert!(beyond_restic.is_empty(), "{beyond_restic:#?}");
}

#[test]
fn a_second_run_reads_and_stores_nothing() {
    let bench = Bench::new();
    // Deeper than PATH_MAX.
    Tree::full(2).write(&bench.source);
    let first = bench.backup(&bench.request());
    let second = bench.backup(&bench.request_after(&first));
    assert_eq!(second.result.bytes_read, 0);
    assert_eq!(second.result.bytes_new, 0);
    assert_eq!(second.result.packs_new, 0);
    assert_eq!(second.result.bytes_stored, 0);
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    assert_eq!(second.result.files, first.result.files);
    assert_eq!(second.result.directories, first.result.directories);
    assert_eq!(second.result.bytes_total, first.result.bytes_total);
    assert!(second.result.files_unmodified > 2_000);
    bench.restic().check();
}

#[test]
fn what_was_written_as_the_last_backup_began_is_read_once_more() {
    let bench = Bench::new();
    let written = fs::metadata(bench.write("a", "alpha")).unwrap();
    let written = jiff::Timestamp::new(written.ctime(), written.ctime_nsec() as i32).unwrap();
    let clock = ManualClock::new(written + jiff::SignedDuration::from_millis(50));
    let after = |parent: Option<&PreparedBackup>| {
        let request = BackupRequest {
            parent: parent.map(|it| it.result.snapshot),
            clock: Arc::clone(&clock) as _,
            ..bench.request()
        };
        bench.backup(&request)
    };
    let first = after(None);
    clock.advance(jiff::SignedDuration::from_secs(60));
    let second = after(Some(&first));
    // It might have been written again within the same tick, after it was read.
    assert_eq!((second.result.bytes_read, second.result.bytes_new), (5, 0));
    assert_eq!(second.result.files_unmodified, 0);
    let third = after(Some(&second));
    assert_eq!(third.result.bytes_read, 0);
    assert_eq!(third.result.files_unmodified, 1);
}

#[test]
fn what_happens_beside_the_source_stores_nothing() {
    let bench = Bench::new();
    bench.write("a", "alpha");
    let first = bench.backup(&bench.request());
    bench.scratch.dir("a sibling");
    let second = bench.backup(&bench.request_after(&first));
    assert_eq!(second.result.bytes_new, 0);
    assert_eq!(second.snapshot.tree, first.snapshot.tree);

    let above = bench.scratch.path();
    let mode = fs::metadata(above).unwrap().permissions().mode() ^ 0o004;
    fs::set_permissions(above, fs::Permissions::from_mode(mode)).unwrap();
    let third = bench.backup(&bench.request_after(&second));
    assert_ne!(third.snapshot.tree, second.snapshot.tree);
    bench.restic().check();
}

#[test]
fn only_what_changed_is_read_and_only_tree_packs_are_fetched() {
    let bench = Bench::new();
    for name in ["a", "b", "sub/c", "sub/d", "other/e"] {
        bench.write(name, name.repeat(1000));
    }
    let first = bench.backup(&bench.request());
    bench.write("sub/c", "new content");
    bench.write("f", "a new file");
    fs::remove_file(bench.source.join("b")).unwrap();
    let mut expected = bench.list(&first);
    bench.store.forget();

    let second = bench.backup(&bench.request_after(&first));
    assert_eq!(second.result.bytes_read, 21);
    assert_eq!(second.result.files_unmodified, 3);
    assert!(bench.store.got(ObjectKind::TreePack) > 0);
    assert_eq!(bench.store.got(ObjectKind::DataPack), 0);
    expected.retain(|path| path != "b");
    expected.push("f".into());
    expected.sort();
    assert_eq!(bench.list(&second), expected);
    bench.restic().check();
}

#[test]
fn a_parent_that_cannot_be_read_means_a_full_read() {
    let bench = Bench::new();
    bench.write("a", "a".repeat(100_000));
    let first = bench.backup(&bench.request());

    bench.store.set(Gate::DenyGet(ObjectKind::TreePack));
    let denied = bench.backup(&bench.request_after(&first));
    assert_eq!(denied.result.bytes_read, 100_000);
    // Of the directories above it the times are new: others work beside it.
    let new = denied.result.bytes_new;
    assert!(new < 10_000, "{new} bytes were stored again");

    bench.store.set(Gate::DenyGet(ObjectKind::Snapshot));
    let denied = bench.backup(&bench.request_after(&first));
    assert_eq!(denied.result.bytes_read, 100_000);
}

#[test]
fn a_hard_linked_file_is_read_once() {
    let bench = Bench::new();
    bench.write("a", "x".repeat(50_000));
    for name in ["b", "c"] {
        fs::hard_link(bench.source.join("a"), bench.source.join(name)).unwrap();
    }
    let backup = bench.backup(&bench.request());
    assert_eq!(backup.result.bytes_read, 50_000);
    assert_eq!(backup.result.bytes_total, 150_000);
    assert_eq!(backup.result.files, 3);
}

#[test]
fn totals_are_counted_beside_the_first_backup() {
    let bench = Bench::new();
    bench.write("a", "x".repeat(5_000));
    bench.write("sub/b", "x".repeat(5_000));
    symlink("a", bench.source.join("link")).unwrap();
    let crate::backup::BackupSource::Files(source) = bench.request().source else {
        unreachable!()
    };
    crate::sources::files::estimate::count(
        &source,
        &AllowedPaths::default(),
        &bench.monitor,
        &|| false,
    );
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(super::Relaxed);
    assert_eq!(load(&bench.monitor.total_files), 3);
    assert_eq!(load(&bench.monitor.total_bytes), 10_000);
    bench.backup(&bench.request());
    assert_eq!(load(&bench.monitor.files), 3);
    assert_eq!(load(&bench.monitor.bytes), 10_000);
    assert!(load(&bench.monitor.bytes_stored) > 0);
}

#[test]
fn an_invalid_glob_is_a_failure_of_the_source() {
    let bench = Bench::new();
    let mut request = bench.request();
    if let crate::backup::BackupSource::Files(source) = &mut request.source {
        source.exclude = vec!["[".into()];
    }
    let error = bench.try_backup(&request).unwrap_err();
    assert_eq!(error.code(), FailureCode::Source);
    assert!(!error.is_retryable());
}
