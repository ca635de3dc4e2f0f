//! Clean repositories are clean, and every damage is found. restic makes the
//! repositories; it must be on the path.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use super::*;
use crate::store::fs::FsStore;

const PASSWORD: &str = "password";

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// With two backups of a small tree.
    fn new(init: &[&str]) -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let source = place.directory.path().join("source/dir");
        fs::create_dir_all(&source).unwrap();
        place.restic(&[&["init"], init].concat());
        for name in ["one", "two"] {
            fs::write(source.join(name), name.repeat(10_000)).unwrap();
            place.restic(&["backup", source.to_str().unwrap()]);
        }
        place
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn restic(&self, arguments: &[&str]) {
        let output = Command::new("restic")
            .args(["--quiet", "--no-cache", "--repo"])
            .arg(self.path())
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .expect("`restic` must be installed: apt-get install restic");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic failed: {errors}");
    }

    async fn check(&self, read_data: bool) -> CheckReport {
        let store = Arc::new(FsStore::new(self.path()));
        let repository = Repository::open(store, PASSWORD).await.unwrap();
        let options = CheckOptions {
            read_data,
            at_once: 0,
        };
        let progress = Arc::new(CheckProgress::default());
        let report = check(&Arc::new(repository), options, &progress).await;
        report.unwrap()
    }

    fn objects(&self, directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.path().join(directory), &mut found);
        found.sort();
        found
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn id(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn names(report: &CheckReport, object: &str) -> bool {
    let named = |problem: &Problem| problem.to_string().contains(object);
    report.problems.iter().any(named)
}

#[tokio::test]
async fn clean_repositories_are_clean() {
    for init in [&[][..], &["--repository-version", "1"]] {
        let report = Place::new(init).check(true).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.snapshots, report.packs), (2, 4));
        assert!(report.trees > 2 && report.bytes_read > 0);
        assert_eq!(report.notes, [""; 0]);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_reading() {
    let place = Place::new(&[]);
    for pack in place.objects("data") {
        change(&pack, |bytes| bytes[20] ^= 1);
        let report = place.check(true).await;
        assert!(names(&report, &id(&pack)), "{report:?}");
        change(&pack, |bytes| bytes[20] ^= 1);
    }
    assert!(place.check(true).await.is_clean());
}

#[tokio::test]
async fn wrong_sizes_and_missing_packs_are_found_without_reading() {
    let place = Place::new(&[]);
    for pack in place.objects("data") {
        let whole = fs::read(&pack).unwrap();
        change(&pack, |bytes| bytes.truncate(bytes.len() - 1));
        assert!(names(&place.check(false).await, &id(&pack)));
        fs::remove_file(&pack).unwrap();
        let report = place.check(false).await;
        assert!(names(&report, &id(&pack)), "{report:?}");
        fs::write(&pack, whole).unwrap();
    }
}

#[tokio::test]
async fn swapped_packs_are_found() {
    let place = Place::new(&[]);
    let packs = place.objects("data");
    let other = fs::read(&packs[1]).unwrap();
    change(&packs[0], |bytes| *bytes = other);
    let report = place.check(true).await;
    assert!(names(&report, &id(&packs[0])), "{report:?}");
}

#[tokio::test]
async fn a_missing_index_leaves_what_it_knew_unknown() {
    let place = Place::new(&[]);
    for index in place.objects("index") {
        fs::remove_file(index).unwrap();
    }
    let report = place.check(false).await;
    assert!(names(&report, "is in no index"), "{report:?}");
    assert_eq!(report.notes.len(), 1, "the packs are noted");
}

#[tokio::test]
async fn damaged_indexes_and_snapshots_are_named() {
    for directory in ["index", "snapshots"] {
        let place = Place::new(&[]);
        let object = place.objects(directory).remove(0);
        change(&object, |bytes| bytes[40] ^= 1);
        let report = place.check(false).await;
        assert!(names(&report, &id(&object)), "{report:?}");
    }
}
