//! A cache saves requests, and whatever is wrong with it costs no more.

use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use strongroom_layout::ObjectKind;
use strongroom_repository::{
    Repository,
    store::cache::{Cache, DEFAULT_CACHE_SIZE},
};

use super::bench::Bench;
use crate::backup::PreparedBackup;

fn bench() -> Bench {
    let mut bench = Bench::new();
    for number in 0..50 {
        bench.write(&format!("{number}/file"), number.to_string().repeat(5_000));
    }
    bench.repository = cached(&bench);
    bench
}

/// As a new process opens it.
fn cached(bench: &Bench) -> Arc<Repository> {
    let cache = Cache::new(&bench.cache, DEFAULT_CACHE_SIZE);
    let store = cache.before(Arc::clone(&bench.store) as _, bench.repository.config().id);
    Arc::new(bench.repository.with_store(store))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|it| it.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// A second run, of a new process, that finds everything unchanged.
fn unchanged(bench: &mut Bench, first: &PreparedBackup) {
    bench.repository = cached(bench);
    bench.store.forget();
    let second = bench.backup(&bench.request_after(first));
    assert_eq!(second.result.bytes_read, 0);
    assert_eq!(second.result.bytes_new, 0);
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    bench.restic().check();
}

fn fetched(bench: &Bench) -> (usize, usize) {
    let got = |kind| bench.store.got(kind);
    (got(ObjectKind::Index), got(ObjectKind::TreePack))
}

#[test]
fn an_unchanged_second_run_fetches_no_index_and_no_tree() {
    let mut bench = bench();
    let first = bench.backup(&bench.request());
    assert!(files(&bench.cache).len() >= 2);
    unchanged(&mut bench, &first);
    assert_eq!(fetched(&bench), (0, 0));

    fs::remove_dir_all(bench.cache.join("objects")).unwrap();
    unchanged(&mut bench, &first);
    let (indexes, trees) = fetched(&bench);
    assert!(indexes > 0 && trees > 0);
}

#[test]
fn a_damaged_cache_is_fetched_again() {
    let mut bench = bench();
    let first = bench.backup(&bench.request());
    for file in files(&bench.cache) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    unchanged(&mut bench, &first);
    let (indexes, trees) = fetched(&bench);
    assert!(indexes > 0 && trees > 0);
}

/// A file system of its own.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: PathBuf) -> Self {
        let options = CString::new("size=64k").unwrap();
        mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), &*options)
            .expect("this test mounts a tmpfs: run it as root");
        Self(directory)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_cache_directory_costs_requests_and_no_backup() {
    let mut bench = bench();
    let mounted = Mounted::new(bench.cache.clone());
    fs::write(mounted.0.join("hog"), vec![1; 1 << 20]).unwrap_err();
    let first = bench.backup(&bench.request());
    unchanged(&mut bench, &first);
    let (indexes, trees) = fetched(&bench);
    assert!(indexes > 0 && trees > 0);
    let hog_and_nothing_else = files(&mounted.0).len();
    assert_eq!(hog_and_nothing_else, 1);
}

#[test]
fn a_read_only_cache_directory_costs_requests_and_no_backup() {
    let mut bench = bench();
    let mounted = Mounted::new(bench.cache.clone());
    mount_remount(&mounted.0, MountFlags::RDONLY, "").unwrap();
    let first = bench.backup(&bench.request());
    unchanged(&mut bench, &first);
    let (indexes, trees) = fetched(&bench);
    assert!(indexes > 0 && trees > 0);
}
