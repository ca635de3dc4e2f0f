//! What happens to what is there already.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use strongroom_spec::{DirectoryTarget, FailureCode, Overwrite, RestoreSpec};

use strongroom_tests::noise;

use super::support::{Place, touch, write};

const LARGE: usize = 12_000_000;

fn place() -> Place {
    let place = Place::new();
    write(&place.source().join("dir/small"), "small");
    write(&place.source().join("large"), noise(3, LARGE));
    symlink("large", place.source().join("link")).unwrap();
    place.backed_up();
    place
}

#[test]
fn never_refuses_before_it_writes_anything() {
    let place = place();
    write(&place.restored().join("dir/small"), "mine");
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert_eq!(error.code(), FailureCode::Target);
    let message = error.to_string();
    assert!(message.contains("the target is not empty"), "{message}");
    assert!(message.contains("dir/small"), "{message}");
    assert!(message.contains("--overwrite"), "{message}");
    assert!(!place.restored().join("large").exists());
    assert_eq!(
        fs::read(place.restored().join("dir/small")).unwrap(),
        b"mine"
    );
}

#[test]
fn what_the_snapshot_does_not_have_is_left_alone() {
    let place = place();
    write(&place.restored().join("dir/other"), "mine");
    place.restore(Overwrite::Never).unwrap();
    assert_eq!(
        fs::read(place.restored().join("dir/other")).unwrap(),
        b"mine"
    );
    place.restore(Overwrite::Always).unwrap();
    assert_eq!(
        fs::read(place.restored().join("dir/other")).unwrap(),
        b"mine"
    );
}

#[test]
fn if_changed_fetches_nothing_when_nothing_changed() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    let result = place.restore(Overwrite::IfChanged).unwrap();
    assert_eq!((result.files, result.files_kept), (0, 3));
    assert_eq!(result.bytes_fetched, 0);
    place.assert_identical();
}

#[test]
fn if_changed_rewrites_only_the_chunks_that_differ() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    let path = place.restored().join("large");
    let inode = fs::metadata(&path).unwrap().ino();
    let mut bytes = fs::read(&path).unwrap();
    bytes[LARGE - 10] ^= 1;
    bytes.extend_from_slice(b"longer than before");
    fs::write(&path, bytes).unwrap();
    let result = place.restore(Overwrite::IfChanged).unwrap();
    assert_eq!((result.files, result.files_kept), (1, 2));
    assert!(result.bytes_written > 0);
    assert!(result.bytes_written < LARGE as u64 * 3 / 4, "{result:?}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    place.assert_identical();
}

#[test]
fn if_changed_finds_that_only_the_time_differs() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    touch(&place.restored().join("large"), 5, 5);
    let result = place.restore(Overwrite::IfChanged).unwrap();
    assert_eq!(result.bytes_fetched, 0);
    assert_eq!(result.files_kept, 3);
    place.assert_identical();
}

#[test]
fn if_changed_finds_what_rotted_though_size_and_time_fit() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    for name in ["large", "dir/small"] {
        let path = place.restored().join(name);
        let before = fs::metadata(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[2] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        touch(&path, before.mtime(), before.mtime_nsec());
    }
    let result = place.restore(Overwrite::IfChanged).unwrap();
    assert_eq!((result.files, result.files_kept), (2, 1));
    place.assert_identical();
}

#[test]
fn always_rewrites_everything() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    let result = place.restore(Overwrite::Always).unwrap();
    assert_eq!((result.files, result.files_kept), (3, 0));
    assert_eq!(result.bytes_written, LARGE as u64 + 5);
    place.assert_identical();
}

#[test]
fn files_that_are_linked_elsewhere_are_never_written_through() {
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let place = place();
        place.restore(Overwrite::Never).unwrap();
        let outside = place.path("outside");
        let inside = place.restored().join("dir/small");
        write(&outside, "outside");
        fs::remove_file(&inside).unwrap();
        fs::hard_link(&outside, &inside).unwrap();
        place.restore(overwrite).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"outside");
        place.assert_identical();
    }
}

#[test]
fn a_directory_that_holds_something_is_not_replaced() {
    for overwrite in [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always] {
        let place = place();
        write(&place.restored().join("large/keep"), "mine");
        let error = place.restore(overwrite).unwrap_err();
        assert_eq!(error.code(), FailureCode::Target);
        assert!(
            error.to_string().contains("large is a directory"),
            "{error}"
        );
        assert_eq!(
            fs::read(place.restored().join("large/keep")).unwrap(),
            b"mine"
        );
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let place = place();
    let dry = |overwrite| RestoreSpec {
        dry_run: true,
        target: DirectoryTarget {
            overwrite,
            ..place.work().target
        },
        ..place.work()
    };
    let result = place.run(&dry(Overwrite::Never)).unwrap();
    assert!(!place.target().exists());
    assert!(result.plan.iter().all(|planned| planned.action == "create"));
    assert_eq!(result.plan.len() as u64, result.plan_count);
    assert!(
        result
            .plan
            .iter()
            .any(|planned| planned.path.ends_with(b"/large"))
    );
    place.restore(Overwrite::Never).unwrap();
    write(&place.restored().join("dir/small"), "other");
    let result = place.run(&dry(Overwrite::IfChanged)).unwrap();
    let action = |name: &[u8]| {
        let mut plan = result.plan.iter();
        plan.find(|planned| planned.path.ends_with(name))
            .unwrap()
            .action
            .clone()
    };
    assert_eq!(action(b"/large"), "keep");
    assert_eq!(action(b"/small"), "replace");
    assert_eq!(
        fs::read(place.restored().join("dir/small")).unwrap(),
        b"other"
    );
}
