//! Listings of snapshots.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use strongroom_compare::EscapedPath;
use strongroom_spec::{FailureCode, ListOutcome, ListSpec};

use super::support::{Place, write};
use crate::restore::{RestoreError, list};

fn place() -> Place {
    let place = Place::new();
    for name in ["a/one", "a/two", "a.b", "b/deep/three", "c"] {
        write(&place.source().join(name), name);
    }
    for name in ODD {
        write(&place.source().join(OsStr::from_bytes(name)), "odd");
    }
    place.backed_up();
    place
}

fn work(place: &Place, path: &str) -> ListSpec {
    ListSpec {
        snapshot: place.snapshot(),
        path: format!("{}{path}", place.source().display()),
        recursive: false,
        limit: 1_000,
        after: None,
    }
}

fn listed(place: &Place, work: &ListSpec) -> Result<ListOutcome, RestoreError> {
    list(
        place.repository(),
        place.runtime.handle(),
        work,
        &place.monitor,
    )
}

/// Paths below the source, escaped.
fn paths(place: &Place, result: &ListOutcome) -> Vec<String> {
    let prefix = place.source().to_str().unwrap().len();
    let shown = |path: &[u8]| {
        EscapedPath(OsStr::from_bytes(path).as_ref()).to_string()[prefix..].to_owned()
    };
    result
        .entries
        .iter()
        .map(|entry| shown(&entry.path))
        .collect()
}

/// Read as they stand, the first two would be other names.
const ODD: [&[u8]; 5] = [
    br"a\x2db",
    br"\x80",
    b"d\x80",
    b"d\xff",
    "d\u{80}".as_bytes(),
];

const ALL: [&str; 13] = [
    "/a",
    "/a/one",
    "/a/two",
    "/a.b",
    "/b",
    "/b/deep",
    "/b/deep/three",
    "/c",
    r"/d\xff",
    r"/a\\x2db",
    r"/\\x80",
    r"/d\x80",
    r"/d\u{80}",
];

#[test]
fn one_level_and_all_levels() {
    let place = place();
    let level = listed(&place, &work(&place, "")).unwrap();
    assert_eq!(
        paths(&place, &level),
        [
            r"/\\x80",
            "/a",
            "/a.b",
            r"/a\\x2db",
            "/b",
            "/c",
            r"/d\x80",
            r"/d\u{80}",
            r"/d\xff"
        ]
    );
    let all = ListSpec {
        recursive: true,
        ..work(&place, "")
    };
    let all = listed(&place, &all).unwrap();
    let mut found = paths(&place, &all);
    found.sort();
    let mut expected = ALL.map(String::from);
    expected.sort();
    assert_eq!(found, expected);
    assert!(!all.truncated);
}

#[test]
fn pages_of_any_size_give_the_whole() {
    let place = place();
    let whole = ListSpec {
        recursive: true,
        ..work(&place, "")
    };
    let whole_listing = listed(&place, &whole).unwrap();
    for limit in 1..5 {
        let mut page = ListSpec {
            limit,
            ..whole.clone()
        };
        let mut entries = Vec::new();
        loop {
            let result = listed(&place, &page).unwrap();
            assert!(result.entries.len() <= limit as usize);
            entries.extend(result.entries);
            if !result.truncated {
                break;
            }
            let last = &entries.last().unwrap().path;
            page.after = Some(EscapedPath(OsStr::from_bytes(last).as_ref()).to_string());
        }
        assert_eq!(entries, whole_listing.entries, "pages of {limit}");
    }
}

#[test]
fn a_file_is_listed_by_itself() {
    let place = place();
    let one = listed(&place, &work(&place, "/a/one")).unwrap();
    assert_eq!(paths(&place, &one), ["/a/one"]);
    assert_eq!((one.entries[0].size, &*one.entries[0].kind), (5, "file"));
}

#[test]
fn what_is_not_there_is_named_with_its_nearest_parent() {
    let place = place();
    let error = listed(&place, &work(&place, "/a/none/deeper")).unwrap_err();
    assert_eq!(error.code(), FailureCode::NotFound);
    assert!(error.to_string().ends_with("/source/a"), "{error}");
}
