use std::{
    collections::BTreeMap,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
};

use super::*;
use crate::scratch::Scratch;

#[test]
fn the_full_tree_has_every_kind_of_entry() {
    let scratch = Scratch::new("tree");
    let root = scratch.join("tree");
    let tree = Tree {
        small_files: 150,
        large: 1 << 20,
        ..Tree::full(1)
    };
    tree.write(&root);

    let kind = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert!(kind("special/fifo").file_type().is_fifo());
    assert_eq!(kind("links/target").nlink(), 3);
    assert_eq!(kind("modes/file-4755").mode() & 0o7777, 0o4755);
    assert_eq!(kind("times/nanosecond").mtime_nsec(), 1);
    assert_eq!(kind("times/before-1970").mtime(), -1_000_000);
    let sparse = kind("sparse/holes");
    assert!(
        sparse.blocks() * 512 < sparse.size() / 10,
        "{} blocks",
        sparse.blocks()
    );
    if is_root() {
        assert!(kind("special/null").file_type().is_char_device());
        assert_eq!(kind("modes/file-0600").uid(), 1000 + 0o600);
    }
    let deepest = tree.depth * 200;
    assert!(
        deepest > 4096,
        "{deepest} bytes of path are not beyond PATH_MAX"
    );
    let names = fs::read_dir(root.join("names/files")).unwrap().count();
    assert_eq!(names, names::odd().len());
}

#[test]
fn a_seed_gives_the_same_tree_again_and_another_seed_another_one() {
    let scratch = Scratch::new("tree");
    let contents = |seed| {
        let root = scratch.join(format!("{seed}-{}", uuid::Uuid::new_v4()));
        Tree {
            small_files: 50,
            large: 1 << 20,
            depth: 3,
            ..Tree::full(seed)
        }
        .write(&root);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(root.join("contents")).unwrap() {
            let entry = entry.unwrap();
            files.insert(entry.file_name(), fs::read(entry.path()).unwrap());
        }
        files
    };
    let first = contents(1);
    assert!(first == contents(1));
    assert!(first != contents(2));
}
