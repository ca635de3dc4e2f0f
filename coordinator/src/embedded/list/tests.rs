use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;

fn bucket(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn put(root: &Path, key: &str) {
    let path = root.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, key).unwrap();
}

/// Every page of a listing, glued together.
fn pages(root: &Path, prefix: &str, fold: bool, max: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let query = Query {
            prefix: prefix.into(),
            fold,
            after: all.last().cloned().unwrap_or_default(),
            max,
        };
        let (lines, more) = list(&bucket(root), &query).unwrap();
        assert!(lines.len() <= max);
        all.extend(lines.iter().map(|line| line.key().to_owned()));
        if !more {
            return all;
        }
        assert_eq!(lines.len(), max, "a page that is not the last is full");
    }
}

/// What S3 would list: sort, filter, fold.
fn expected(keys: &[String], prefix: &str, fold: bool) -> Vec<String> {
    let mut lines: Vec<String> = keys
        .iter()
        .filter(|key| key.starts_with(prefix))
        .map(|key| match key[prefix.len()..].find('/') {
            Some(slash) if fold => key[..=prefix.len() + slash].to_owned(),
            _ => key.clone(),
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_listing_is_what_s3_would_say(
        keys in prop::collection::btree_set("[ab-]{1,2}(/[ab.]{1,2}x){0,3}", 0..24),
        prefix in "|[ab-]{0,2}(/[ab.]{0,2}x?){0,2}",
        fold: bool,
        max in 1_usize..6,
    ) {
        let root = tempfile::tempdir().unwrap();
        // A key that is another's directory cannot be stored: leave it out.
        let keys: Vec<String> = keys.iter()
            .filter(|key| !keys.iter().any(|other| other.starts_with(&format!("{key}/"))))
            .cloned()
            .collect();
        for key in &keys {
            put(root.path(), key);
        }
        prop_assert_eq!(pages(root.path(), &prefix, fold, max), expected(&keys, &prefix, fold));
    }
}

#[test]
fn empty_directories_and_symlinks_are_not_listed() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a/locks/one");
    fs::create_dir_all(root.path().join("a/snapshots")).unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("a/etc")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.path().join("a/passwd")).unwrap();
    assert_eq!(pages(root.path(), "", false, 10), ["a/locks/one"]);
    assert_eq!(pages(root.path(), "a/", true, 10), ["a/locks/"]);
}
