//! Damage names the object and the paths, and nothing wrong is left behind.

use std::{fs, path::PathBuf};

use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};
use strongroom_repository::format::index::{IndexFile, IndexPack};
use strongroom_spec::{FailureCode, Overwrite};

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

/// What the job was warned of.
fn warned(place: &Place) -> String {
    let warnings = place.monitor.warnings().0.into_iter();
    let lines = warnings.map(|it| format!("{}: {}\n", String::from_utf8_lossy(&it.path), it.cause));
    lines.collect()
}

#[test]
fn indexes_that_are_damaged_cost_a_warning() {
    let (place, _) = two_packs();
    let indexes = place.objects(Directory::Index);
    for index in &indexes {
        change(index, |bytes| bytes[100] ^= 1);
    }
    place.restore(Overwrite::Never).unwrap();
    place.assert_identical();
    for index in indexes {
        assert!(warned(&place).contains(&id(&index)), "{}", warned(&place));
    }
}

#[test]
fn indexes_that_are_gone() {
    let (place, _) = two_packs();
    for index in place.objects(Directory::Index) {
        fs::remove_file(index).unwrap();
    }
    let error = place.restore(Overwrite::Never).unwrap_err();
    assert!(error.to_string().contains("is in no index"), "{error}");
}

#[test]
fn what_only_a_damaged_index_listed_is_named_with_its_file_and_the_index() {
    let (place, pack) = two_packs();
    let index = place.objects(Directory::Index);
    for index in &index {
        change(index, |bytes| bytes[100] ^= 1);
    }
    // Not even its header.
    change(&pack, |bytes| bytes.truncate(1_000));
    let error = place.restore(Overwrite::Never).unwrap_err();
    let message = error.to_string();
    let one = place.restored().join("one");
    let snapshot = place.snapshot().short();
    for part in [
        one.to_str().unwrap(),
        "is in no index",
        &*id(&index[0]),
        &snapshot,
    ] {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
    let two = fs::read(place.restored().join("two")).unwrap();
    assert!(two == noise(2, 300_000), "the other file is restored");
}

/// Adds an index file that says that every blob of data of `pack` lies
/// elsewhere; gives its name.
fn add_lies(place: &Place, pack: &std::path::Path, lie: fn(&mut IndexPack)) -> String {
    let repository = place.repository();
    place.runtime.block_on(async {
        let listed = repository.store().list(Directory::Index).await.unwrap();
        let mut packs = Vec::new();
        for file in listed {
            let json = repository.load_unpacked(ObjectName::index(file.id)).await;
            packs.extend(IndexFile::decode(&json.unwrap()).unwrap().packs);
        }
        packs.retain(|it| it.id.to_string() == id(pack));
        packs.iter_mut().for_each(lie);
        let json = IndexFile { packs }.encode().unwrap();
        let saved = repository.save_unpacked(ObjectKind::Index, &json).await;
        saved.unwrap().to_string()
    })
}

#[test]
fn lies_about_places_and_lengths_cost_warnings() {
    /// Before the true ones in the order of places, each time.
    fn elsewhere(pack: &mut IndexPack) {
        pack.id = ObjectId([0; 32]);
    }
    fn shorter(pack: &mut IndexPack) {
        pack.blobs.iter_mut().for_each(|blob| blob.length -= 1);
    }
    fn longer_unpacked(pack: &mut IndexPack) {
        pack.blobs.iter_mut().for_each(|blob| {
            let length = blob.uncompressed_length.unwrap_or(blob.length - 32);
            blob.uncompressed_length = Some(length + 1_000);
        });
    }
    for lie in [elsewhere, shorter, longer_unpacked] {
        let place = Place::new();
        // Several chunks, so that a wrong length shifts what follows.
        write(&place.source().join("one"), noise(1, 12_000_000));
        place.backed_up();
        let liars: Vec<_> = place
            .packs()
            .0
            .iter()
            .map(|pack| add_lies(&place, pack, lie))
            .collect();
        let result = place.restore(Overwrite::Never).unwrap();
        assert!(result.bytes_written >= 12_000_000);
        place.assert_identical();
        // Of two places of a blob one comes first; where the truth did, no lie
        // was noticed.
        for line in warned(&place).lines() {
            assert!(liars.iter().any(|liar| line.contains(liar)), "{line}");
        }
    }
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
