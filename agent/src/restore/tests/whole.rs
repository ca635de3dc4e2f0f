//! Everything comes back, whatever restic wrote it.

use std::{ffi::OsStr, fs, os::unix::fs::MetadataExt};

use strongroom_spec::Overwrite;

use strongroom_tests::noise;

use super::support::{Place, every_kind, write};

fn round_trip(init: &[&str], backup: &[&str]) -> Place {
    let place = Place::new();
    every_kind(&place.source());
    place.restic(["init"].iter().chain(init));
    let source = place.source();
    let arguments = ["backup"].iter().chain(backup).map(OsStr::new);
    place.restic(arguments.chain([source.as_os_str()]));
    let result = place.restore(Overwrite::Never).unwrap();
    place.assert_identical();
    assert_eq!(place.monitor.warnings().0, []);
    assert!(!place.marker_stands());
    assert_eq!(result.files, 17);
    assert_eq!(result.files_kept, 0);
    assert!(result.bytes_fetched > 20_000_000);
    place
}

#[test]
fn compressed() {
    let place = round_trip(&[], &[]);
    let sparse = fs::metadata(place.restored().join("sparse")).unwrap();
    assert_eq!(sparse.len(), 64 << 20);
    assert!(sparse.blocks() < 100, "holes stay holes");
}

#[test]
fn not_compressed() {
    round_trip(&[], &["--compression", "off"]);
}

#[test]
fn version_1() {
    round_trip(&["--repository-version", "1"], &[]);
}

#[test]
fn what_restic_restores_we_restore() {
    let place = Place::new();
    every_kind(&place.source());
    place.backed_up();
    place.restore(Overwrite::Never).unwrap();
    let theirs = place.path("theirs");
    place.restic([
        OsStr::new("restore"),
        OsStr::new("latest"),
        OsStr::new("--target"),
        theirs.as_os_str(),
    ]);
    let ours = place.target();
    let below = place.source().strip_prefix("/").unwrap().to_owned();
    super::support::assert_identical(&theirs.join(&below), &ours.join(&below));
}

#[test]
fn the_smallest_budget_is_enough() {
    let mut place = Place::new();
    for number in 0..200 {
        let path = place.source().join(format!("{}/{number}", number % 7));
        write(&path, noise(number, 50_000));
    }
    write(&place.source().join("large"), noise(1_000, 30_000_000));
    place.backed_up();
    place.options.memory = 1;
    place.options.threads = 1;
    place.options.requests = 1;
    place.restore(Overwrite::Never).unwrap();
    place.assert_identical();
}

#[test]
fn many_small_files_share_requests() {
    let place = Place::new();
    for number in 0..2_000 {
        let path = place.source().join(format!("{}/{number}", number % 50));
        write(&path, noise(number, 1_000));
    }
    place.backed_up();
    let result = place.restore(Overwrite::Never).unwrap();
    place.assert_identical();
    assert_eq!(result.files, 2_000);
    assert_eq!(result.bytes_written, 2_000_000);
}
