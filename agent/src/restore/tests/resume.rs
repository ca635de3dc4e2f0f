//! Interrupted restores are finished by running them again.

use std::{fs, process::Command, sync::atomic::Ordering::Relaxed};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use strongroom_spec::{DirectoryTarget, FailureCode, Overwrite, RestoreSpec};

use strongroom_tests::noise;

use super::support::{Place, write};
use crate::restore::RestoreError;

fn place() -> Place {
    let place = Place::new();
    for number in 0..40 {
        write(
            &place.source().join(format!("{number}")),
            noise(number, 500_000),
        );
    }
    place.backed_up();
    place
}

#[test]
fn a_cancelled_restore_is_finished_by_the_next() {
    let mut place = place();
    let stopped = std::thread::scope(|scope| {
        let restore = scope.spawn(|| place.restore(Overwrite::Never));
        while place.monitor.bytes.load(Relaxed) == 0 && !restore.is_finished() {
            std::thread::yield_now();
        }
        place.monitor.cancel.cancel();
        restore.join().unwrap()
    });
    // It may have been quicker than we were.
    if let Err(error) = stopped {
        assert_eq!(error.code(), FailureCode::Cancelled);
        assert!(place.marker_stands());
    }
    place.monitor = std::sync::Arc::default();
    match place.restore(Overwrite::Never) {
        Ok(_) | Err(RestoreError::NotEmpty { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    place.assert_identical();
    assert!(!place.marker_stands());
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    // As an interrupted run leaves it: a marker, files without their times,
    // one of them incomplete, one missing.
    let work = place.work();
    let marker = format!(".strongroom-restore-{}", work.snapshot);
    let content = serde_json::json!({"snapshot": work.snapshot, "paths": []});
    write(&place.target().join(&marker), content.to_string());
    let restored = place.restored();
    fs::write(restored.join("0"), vec![0; 500_000]).unwrap();
    fs::remove_file(restored.join("1")).unwrap();
    fs::write(restored.join("2"), noise(2, 500_000)).unwrap();
    let result = place.run(&work).unwrap();
    assert_eq!(result.bytes_written, 1_000_000);
    assert_eq!((result.files, result.files_kept), (2, 38));
    place.assert_identical();
    assert!(!place.target().join(marker).exists());
}

#[test]
fn a_marker_of_another_selection_allows_nothing() {
    let place = place();
    place.restore(Overwrite::Never).unwrap();
    let work = place.work();
    let marker = format!(".strongroom-restore-{}", work.snapshot);
    let content = serde_json::json!({"snapshot": work.snapshot, "paths": ["/else"]});
    write(&place.target().join(marker), content.to_string());
    let error = place.run(&work).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
}

#[test]
fn two_restores_do_not_meet() {
    let place = place();
    let work = place.work();
    let marker = format!(".strongroom-restore-{}", work.snapshot);
    write(&place.target().join(&marker), "");
    let held = fs::File::open(place.target().join(marker)).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = place.run(&work).unwrap_err();
    assert!(matches!(error, RestoreError::Busy(_)), "{error}");
}

/// A small file system of its own.
struct Mounted<'a>(&'a Place);

impl<'a> Mounted<'a> {
    fn new(place: &'a Place, size: &str) -> Self {
        fs::create_dir_all(place.target()).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        mount(
            "tmpfs",
            place.target(),
            "tmpfs",
            MountFlags::empty(),
            &*options,
        )
        .expect("this test mounts a tmpfs: run it as root");
        Self(place)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0.target(), UnmountFlags::DETACH);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let place = place();
    let _mounted = Mounted::new(&place, "8m");
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert!(matches!(error, RestoreError::NoSpace { .. }), "{error}");
    assert_eq!(error.code(), FailureCode::Target);
    assert!(error.to_string().contains("bytes free"), "{error}");
    assert_eq!(fs::read_dir(place.target()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_becomes_full_is_said_and_the_rest_is_finished_later() {
    let place = place();
    let _mounted = Mounted::new(&place, "40m");
    // Something else takes the room while we restore.
    let hog = place.target().join("hog");
    std::thread::scope(|scope| {
        let restore = scope.spawn(|| place.restore(Overwrite::Never));
        while place.monitor.stage() != "restoring" && !restore.is_finished() {
            std::thread::yield_now();
        }
        let _ = fs::write(&hog, vec![1; 40 << 20]);
        let outcome = restore.join().unwrap();
        if let Err(error) = outcome {
            assert_eq!(error.code(), FailureCode::Target, "{error}");
        }
    });
    fs::remove_file(&hog).unwrap();
    match place.restore(Overwrite::Never) {
        Ok(_) | Err(RestoreError::NotEmpty { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    place.assert_identical();
}

#[test]
fn the_marker_of_a_snapshot_is_not_restored() {
    let place = Place::new();
    write(&place.path("root/.strongroom-restore-00"), "old");
    write(&place.path("root/file"), "new");
    place.restic(["init"]);
    // Backed up from within, the entries stand at the top of the snapshot.
    let backup = Command::new("restic")
        .args(["--quiet", "--no-cache", "--repo"])
        .arg(place.repository_path())
        .args(["backup", "."])
        .current_dir(place.path("root"))
        .env("RESTIC_PASSWORD", super::support::PASSWORD)
        .status();
    assert!(backup.unwrap().success());
    let work = RestoreSpec {
        target: DirectoryTarget {
            overwrite: Overwrite::Never,
            ..place.work().target
        },
        ..place.work()
    };
    place.run(&work).unwrap();
    assert!(!place.marker_stands());
    assert_eq!(fs::read(place.target().join("file")).unwrap(), b"new");
    assert_eq!(place.monitor.warning_count(), 1);
}
