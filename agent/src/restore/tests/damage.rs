//! Damage names the object and the paths, and nothing wrong is left behind.

use std::{fs, path::PathBuf};

use strongroom_layout::Directory;
use strongroom_wire::job::{FailureCode, Overwrite};

use strongroom_tests::noise;

use super::support::{Place, change, write};

/// Two backups, so two data packs: `one` in the first, `two` in the second.
fn two_packs() -> (Place, PathBuf) {
    let place = Place::new();
    write(&place.source().join("one"), noise(1, 300_000));
    place.backed_up();
    let first = place.packs().0.remove(0);
    write(&place.source().join("two"), noise(2, 300_000));
    place.restic(["backup".as_ref(), place.source().as_os_str()]);
    (place, first)
}

fn id(object: &std::path::Path) -> String {
    object.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The restore must fail for `one`, name the pack, and bring back `two`.
fn assert_only_one_is_lost(place: &Place, pack: &std::path::Path, expected: &str) {
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert_eq!(error.code(), FailureCode::Corrupt, "{error}");
    assert!(!error.is_retryable());
    let message = error.to_string();
    let one = place.restored().join("one");
    for part in [&*id(pack), one.to_str().unwrap(), expected] {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
    assert!(!one.exists(), "a damaged file is not left behind");
    let two = fs::read(place.restored().join("two")).unwrap();
    assert!(two == noise(2, 300_000), "the other file is restored");
    assert!(place.marker_stands(), "the restore is not finished");
}

#[test]
fn a_flipped_bit() {
    let (place, pack) = two_packs();
    change(&pack, |bytes| bytes[1_000] ^= 4);
    assert_only_one_is_lost(&place, &pack, "authentication code");
}

#[test]
fn a_truncated_pack() {
    let (place, pack) = two_packs();
    change(&pack, |bytes| bytes.truncate(1_000));
    assert_only_one_is_lost(&place, &pack, "truncated");
}

#[test]
fn a_pack_that_is_gone() {
    let (place, pack) = two_packs();
    fs::remove_file(&pack).unwrap();
    assert_only_one_is_lost(&place, &pack, "missing from the store");
}

#[test]
fn another_valid_pack_in_its_place() {
    let (place, pack) = two_packs();
    let other = place.packs().0.into_iter().find(|other| *other != pack);
    let other = fs::read(other.unwrap()).unwrap();
    change(&pack, |bytes| *bytes = other);
    let error = place.restore(Overwrite::Never).unwrap_err().to_string();
    assert!(error.contains(&id(&pack)), "{error}");
    assert!(!place.restored().join("one").exists());
}

#[test]
fn a_repaired_repository_restores_the_rest() {
    let (place, pack) = two_packs();
    let whole = fs::read(&pack).unwrap();
    change(&pack, |bytes| bytes[1_000] ^= 4);
    assert_only_one_is_lost(&place, &pack, "authentication code");
    change(&pack, |bytes| *bytes = whole);
    place.restore(Overwrite::Never).unwrap();
    place.assert_identical();
    assert!(!place.marker_stands());
}

#[test]
fn an_index_that_is_damaged_or_gone() {
    let (place, _) = two_packs();
    let index = place.objects(Directory::Index).remove(0);
    change(&index, |bytes| bytes[100] ^= 1);
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert_eq!(error.code(), FailureCode::Corrupt);
    assert!(error.to_string().contains(&id(&index)), "{error}");
    assert!(!place.target().exists(), "nothing was written");
    for index in place.objects(Directory::Index) {
        fs::remove_file(index).unwrap();
    }
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert!(error.to_string().contains("is in no index"), "{error}");
}

#[test]
fn a_damaged_tree_loses_only_its_directory() {
    let place = Place::new();
    write(&place.source().join("a/file"), "a");
    place.backed_up();
    let known = place.packs().1;
    write(&place.source().join("b/file"), "b");
    place.restic(["backup".as_ref(), place.source().as_os_str()]);
    // The tree of `b` is the first of the second pack: restic writes the
    // deepest directories first.
    let pack = place
        .packs()
        .1
        .into_iter()
        .find(|pack| !known.contains(pack));
    let pack = pack.unwrap();
    change(&pack, |bytes| bytes[20] ^= 1);
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert_eq!(error.code(), FailureCode::Corrupt);
    let message = error.to_string();
    assert!(message.contains(&id(&pack)), "{message}");
    assert!(!place.restored().join("b/file").exists());
}

#[test]
fn a_snapshot_that_is_damaged_or_gone() {
    let (place, _) = two_packs();
    let work = place.work();
    let object = place
        .repository_path()
        .join(format!("snapshots/{}", work.snapshot));
    change(&object, |bytes| bytes[50] ^= 1);
    let error = place.run(&work).unwrap_err();
    assert_eq!(error.code(), FailureCode::Corrupt, "{error}");
    assert!(error.to_string().contains(&work.snapshot.to_string()));
    fs::remove_file(object).unwrap();
    let error = place.run(&work).unwrap_err();
    assert_eq!(error.code(), FailureCode::NotFound, "{error}");
}
