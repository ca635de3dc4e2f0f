//! Single files of a snapshot, in order.

use std::{fs, io::Read, sync::Arc};

use strongroom_tests::noise;

use super::support::{Place, change};
use crate::restore::{
    RestoreError,
    stream::{FileStream, SnapshotFiles},
};

fn files(place: &Place) -> SnapshotFiles {
    SnapshotFiles::open(
        place.repository(),
        place.runtime.handle().clone(),
        place.snapshot(),
        Arc::clone(&place.monitor),
    )
    .unwrap()
}

fn open(place: &Place, name: &str) -> Result<FileStream, RestoreError> {
    files(place).file(&format!("{}/{name}", place.source().display()))
}

#[test]
fn files_are_read_in_order_whatever_their_size() {
    let place = Place::new();
    let large = noise(1, 20 << 20);
    fs::write(place.source().join("large"), &large).unwrap();
    fs::write(place.source().join("small"), b"few").unwrap();
    fs::write(place.source().join("empty"), b"").unwrap();
    place.backed_up();
    for (name, wanted) in [("large", &large[..]), ("small", b"few"), ("empty", b"")] {
        let mut stream = open(&place, name).unwrap();
        assert_eq!(stream.size(), wanted.len() as u64);
        let mut content = Vec::new();
        stream.read_to_end(&mut content).unwrap();
        assert!(content == wanted, "{name}");
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0, "{name} has ended");
    }
}

#[test]
fn small_files_are_taken_whole_up_to_a_limit() {
    let place = Place::new();
    fs::write(place.source().join("manifest"), b"{}").unwrap();
    place.backed_up();
    let path = format!("{}/manifest", place.source().display());
    assert_eq!(files(&place).small_file(&path, 2).unwrap(), b"{}");
    let error = files(&place).small_file(&path, 1).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn what_is_no_file_of_the_snapshot_is_named() {
    let place = Place::new();
    fs::create_dir(place.source().join("dir")).unwrap();
    place.backed_up();
    for (name, says) in [
        ("dir", "no regular file"),
        ("dir/x", "not in snapshot"),
        ("x", "nearest"),
    ] {
        let error = open(&place, name).err().unwrap().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
    let root = files(&place).file("/").err().unwrap().to_string();
    assert!(root.contains("names no file"), "{root}");
}

#[test]
fn damage_ends_the_stream_and_a_cancel_too() {
    let place = Place::new();
    fs::write(place.source().join("large"), noise(1, 20 << 20)).unwrap();
    place.backed_up();
    let mut cancelled = open(&place, "large").unwrap();
    let mut damaged = open(&place, "large").unwrap();
    for pack in place.packs().0 {
        change(&pack, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
    }
    let error = damaged.read_to_end(&mut Vec::new()).unwrap_err();
    let error = error.into_inner().unwrap();
    let error = error.downcast::<RestoreError>().unwrap();
    assert!(matches!(*error, RestoreError::Read(_)), "{error}");
    place.monitor.cancel.cancel();
    let error = cancelled.next_piece().unwrap_err();
    assert!(matches!(error, RestoreError::Cancelled), "{error}");
}
