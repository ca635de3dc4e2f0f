//! Parts of a snapshot.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use strongroom_spec::{DirectoryTarget, FailureCode, RestoreSpec};

use super::support::{Place, assert_identical, write};

fn place() -> Place {
    let place = Place::new();
    for name in ["a/one", "a/two", "b/deep/three", "c"] {
        write(&place.source().join(name), name);
    }
    write(&place.source().join(OsStr::from_bytes(b"odd\xff")), "odd");
    place.backed_up();
    place
}

fn select(place: &Place, paths: &[&str]) -> RestoreSpec<DirectoryTarget> {
    let source = place.source();
    RestoreSpec {
        target: DirectoryTarget {
            paths: paths
                .iter()
                .map(|path| format!("{}/{path}", source.display()))
                .collect(),
            ..place.work().target
        },
        ..place.work()
    }
}

#[test]
fn only_what_is_selected_comes_back() {
    let place = place();
    let result = place.run(&select(&place, &["a/two", "b"])).unwrap();
    assert_eq!(result.files, 2);
    let restored = place.restored();
    assert_eq!(fs::read(restored.join("a/two")).unwrap(), b"a/two");
    assert_identical(&place.source().join("b"), &restored.join("b"));
    for absent in ["a/one", "c"] {
        assert!(!restored.join(absent).exists(), "{absent}");
    }
}

#[test]
fn names_are_given_as_listings_show_them() {
    let place = place();
    let result = place.run(&select(&place, &[r"odd\xff"])).unwrap();
    assert_eq!(result.files, 1);
    let odd = place.restored().join(OsStr::from_bytes(b"odd\xff"));
    assert_eq!(fs::read(odd).unwrap(), b"odd");
}

#[test]
fn a_path_that_is_not_there_is_named_with_its_nearest_parent() {
    let place = place();
    let source = place.source().to_str().unwrap().to_owned();
    for (path, nearest) in [("b/deep/four/five", "b/deep"), ("c/below", "c")] {
        let error = place.run(&select(&place, &["a", path])).unwrap_err();
        assert_eq!(error.code(), FailureCode::NotFound);
        let message = error.to_string();
        assert!(
            message.contains(&format!("{source}/{path} is not in")),
            "{message}"
        );
        assert!(
            message.ends_with(&format!("{source}/{nearest}")),
            "{message}"
        );
        assert!(!place.target().exists(), "nothing was written");
    }
}
