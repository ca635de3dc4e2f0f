//! Every kind of difference is found, and nothing else is.

use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::Path,
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

use super::*;

/// Two trees that are alike, in a scratch directory of their own.
struct Trees {
    scratch: tempfile::TempDir,
}

impl Trees {
    /// Makes both trees by the same recipe.
    fn new(recipe: impl Fn(&Path)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let trees = Self { scratch };
        for root in [trees.source(), trees.restored()] {
            fs::create_dir(&root).unwrap();
            recipe(&root);
        }
        for root in [trees.source(), trees.restored()] {
            settle(&root);
        }
        trees
    }

    fn source(&self) -> PathBuf {
        self.scratch.path().join("source")
    }

    fn restored(&self) -> PathBuf {
        self.scratch.path().join("restored")
    }

    /// Changes the restored tree and compares: the differences as
    /// `path below the source: what`.
    fn after(&self, change: impl FnOnce(&Path)) -> Vec<String> {
        change(&self.restored());
        self.found(&CompareOptions::default())
    }

    fn found(&self, options: &CompareOptions) -> Vec<String> {
        let comparison = compare(&self.source(), &self.restored(), options).unwrap();
        assert_eq!(
            comparison.difference_count,
            comparison.differences.len() as u64
        );
        let prefix = format!("{}", self.source().display());
        comparison
            .differences
            .iter()
            .map(|difference| difference.to_string().replace(&prefix, ""))
            .collect()
    }
}

/// Gives everything in a tree the same times.
fn settle(path: &Path) {
    let is_dir = fs::symlink_metadata(path).unwrap().is_dir();
    if is_dir {
        for entry in fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path());
        }
    }
    touch(path, 1_000_000_000, 123_456_789);
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with every kind of entry.
fn everything(root: &Path) {
    fs::create_dir_all(root.join("dir/below")).unwrap();
    fs::write(root.join("dir/file"), "hello").unwrap();
    fs::write(root.join("dir/empty"), "").unwrap();
    fs::write(root.join("dir/below/large"), vec![7; 3 << 20]).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("dir/below/link")).unwrap();
    fs::write(root.join("single"), "hello").unwrap();
    symlink("dir/file", root.join("symlink")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"odd\xff\n")), "odd").unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    lsetxattr(
        root.join("single"),
        "user.note",
        b"value",
        XattrFlags::empty(),
    )
    .unwrap();
}

#[test]
fn equal_trees_are_identical_and_counted() {
    let trees = Trees::new(everything);
    let comparison = compare(
        &trees.source(),
        &trees.restored(),
        &CompareOptions::default(),
    )
    .unwrap();
    assert_eq!(comparison.differences, []);
    assert!(comparison.is_identical());
    assert_eq!(comparison.entries, 12);
    // The hard link counts once.
    assert_eq!(comparison.bytes, 5 + (3 << 20) + 5 + 3);
}

#[test]
fn one_thread_finds_what_many_find() {
    let trees = Trees::new(everything);
    fs::write(trees.restored().join("single"), "HELLO").unwrap();
    touch(&trees.restored().join("single"), 1_000_000_000, 123_456_789);
    let one = trees.found(&CompareOptions {
        threads: 1,
        ..CompareOptions::default()
    });
    let many = trees.found(&CompareOptions {
        threads: 8,
        ..CompareOptions::default()
    });
    assert_eq!(one, ["/single: content differs from byte 0 on"]);
    assert_eq!(one, many);
}

#[test]
fn content_is_compared_to_the_last_byte() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        let path = root.join("dir/below/large");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"x", (3 << 20) - 1).unwrap();
        touch(&path, 1_000_000_000, 123_456_789);
    });
    assert_eq!(
        found,
        ["/dir/below/large: content differs from byte 3145727 on"]
    );
}

#[test]
fn size_and_time_are_compared() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::write(root.join("single"), "hello!").unwrap();
        touch(&root.join("single"), 1_000_000_000, 123_456_788);
        touch(&root.join("symlink"), 1_000_000_000, 5);
        touch(&root.join("dir"), 1_000_000_001, 123_456_789);
    });
    assert_eq!(
        found,
        [
            "/dir: modification time 1000000000.123456789 became 1000000001.123456789",
            "/single: modification time 1000000000.123456789 became 1000000000.123456788",
            "/single: size 5 became 6",
            "/symlink: modification time 1000000000.123456789 became 1000000000.000000005",
        ]
    );
}

#[test]
fn modes_and_types_are_compared() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::set_permissions(root.join("single"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::remove_file(root.join("fifo")).unwrap();
        fs::write(root.join("fifo"), "").unwrap();
        touch(root, 1_000_000_000, 123_456_789);
    });
    assert_eq!(
        found,
        [
            "/dir: mode 0755 became 1777",
            "/fifo: a fifo became a file",
            "/single: mode 0644 became 4755",
        ]
    );
}

#[test]
fn owners_are_compared_when_asked() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives files away: run it as root"
    );
    let trees = Trees::new(everything);
    let change = |root: &Path| {
        std::os::unix::fs::lchown(root.join("single"), Some(12), Some(34)).unwrap();
    };
    assert_eq!(
        trees.after(change),
        ["/single: group 0 became 34", "/single: owner 0 became 12"]
    );
    let without = CompareOptions {
        owners: false,
        ..CompareOptions::default()
    };
    assert!(trees.found(&without).is_empty());
}

#[test]
fn device_numbers_are_compared() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes devices: run it as root"
    );
    let device = |root: &Path, minor| {
        let (kind, number) = (FileType::CharacterDevice, makedev(1, minor));
        mknodat(CWD, root.join("device"), kind, Mode::RUSR, number).unwrap();
    };
    let trees = Trees::new(|root| device(root, 3));
    assert_eq!(trees.after(|_| {}), [""; 0]);
    let found = trees.after(|root| {
        fs::remove_file(root.join("device")).unwrap();
        device(root, 5);
        settle(root);
    });
    assert_eq!(found, ["/device: device 1:3 became 1:5"]);
}

#[test]
fn symlink_targets_are_compared_and_never_followed() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::remove_file(root.join("symlink")).unwrap();
        symlink("single", root.join("symlink")).unwrap();
        settle(root);
    });
    assert_eq!(
        found,
        ["/symlink: symlink to dir/file became one to single"]
    );
}

#[test]
fn a_symlink_in_place_of_a_directory_is_not_entered() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
        symlink("moved", root.join("dir")).unwrap();
        settle(root);
    });
    assert_eq!(
        found,
        [
            "/dir: a directory became a symlink",
            "/moved: is not in the source"
        ]
    );
}

#[test]
fn attributes_and_acls_are_compared() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        let path = root.join("single");
        lsetxattr(&path, "user.note", b"other", XattrFlags::empty()).unwrap();
        lsetxattr(&path, "user.more", b"", XattrFlags::empty()).unwrap();
        let acl = std::process::Command::new("setfacl")
            .args(["-m", "d:u:12:rwx"])
            .arg(root.join("dir"))
            .status()
            .unwrap();
        assert!(acl.success());
    });
    assert_eq!(
        found,
        [
            "/dir: attribute system.posix_acl_default is not in the source",
            "/single: attribute user.more is not in the source",
            "/single: attribute user.note has another value",
        ]
    );
}

#[test]
fn attributes_of_symlinks_are_compared() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        let link = root.join("symlink");
        lsetxattr(link, "trusted.note", b"x", XattrFlags::empty()).unwrap();
    });
    assert_eq!(
        found,
        ["/symlink: attribute trusted.note is not in the source"]
    );
}

#[test]
fn missing_and_extra_entries_are_found() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::remove_file(root.join(OsStr::from_bytes(b"odd\xff\n"))).unwrap();
        fs::create_dir(root.join("dir/new")).unwrap();
        settle(root);
    });
    assert_eq!(
        found,
        [
            "/dir/new: is not in the source",
            r"/odd\xff\n: is missing from the restored tree",
        ]
    );
}

#[test]
fn broken_and_invented_hard_links_are_found() {
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::remove_file(root.join("dir/below/link")).unwrap();
        fs::hard_link(root.join("single"), root.join("dir/below/link")).unwrap();
        settle(root);
    });
    assert!(
        found.iter().any(|what| what.contains("hard link")),
        "{found:?}"
    );
    let trees = Trees::new(everything);
    let found = trees.after(|root| {
        fs::remove_file(root.join("dir/below/link")).unwrap();
        fs::copy(root.join("dir/file"), root.join("dir/below/link")).unwrap();
        settle(root);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("no longer a hard link of"), "{found:?}");
}

#[test]
fn holes_are_no_difference() {
    let trees = Trees::new(|_| {});
    for (root, dense) in [(trees.source(), false), (trees.restored(), true)] {
        let file = fs::File::create(root.join("sparse")).unwrap();
        if dense {
            file.write_all_at(&vec![0; 2 << 20], 0).unwrap();
        }
        file.set_len(2 << 20).unwrap();
        file.write_all_at(b"end", (2 << 20) - 3).unwrap();
        drop(file);
        settle(&root);
    }
    assert_eq!(trees.after(|_| {}), [""; 0]);
}

#[test]
fn a_file_of_a_tebibyte_of_holes_takes_no_time() {
    let trees = Trees::new(|root| {
        let file = fs::File::create(root.join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"end", (1 << 40) - 3).unwrap();
    });
    assert_eq!(trees.after(|_| {}), [""; 0]);
    let found = trees.after(|root| {
        let file = fs::File::options().write(true).open(root.join("sparse"));
        file.unwrap().write_all_at(b"x", 1 << 39).unwrap();
        settle(root);
    });
    assert_eq!(
        found,
        ["/sparse: content differs from byte 549755813888 on"]
    );
}

#[test]
fn what_is_left_out_is_not_compared() {
    let trees = Trees::new(everything);
    fs::write(trees.source().join("dir/below/more.tmp"), "x").unwrap();
    fs::write(trees.restored().join("dir/new"), "x").unwrap();
    let _socket = UnixListener::bind(trees.source().join("socket")).unwrap();
    settle(&trees.source());
    settle(&trees.restored());
    let options = CompareOptions {
        skip: vec![trees.source().join("dir/new")],
        excluded: Some(Box::new(|path, is_dir| {
            !is_dir && path.extension() == Some(OsStr::new("tmp"))
        })),
        ..CompareOptions::default()
    };
    assert_eq!(trees.found(&options), [""; 0]);
}

#[test]
fn paths_beyond_path_max_are_compared() {
    let trees = Trees::new(|_| {});
    let name = [b'n'; 200];
    for (root, content) in [(trees.source(), "source"), (trees.restored(), "other!")] {
        let mut directory = beneath::open_root(&root).unwrap();
        for _ in 0..60 {
            rustix::fs::mkdirat(&directory, name.as_slice(), Mode::RWXU).unwrap();
            directory = beneath::open_child(&directory, &name).unwrap();
        }
        let path = beneath::proc_path(directory.as_fd(), b"deep");
        fs::write(OsStr::from_bytes(&path), content).unwrap();
    }
    let found = trees.after(|_| {});
    assert!(
        found
            .iter()
            .any(|what| what.len() > 12_000
                && what.ends_with("/deep: content differs from byte 0 on")),
        "{found:?}"
    );
}

#[test]
fn single_files_are_compared() {
    let trees = Trees::new(everything);
    let compare = |restored: &str| {
        let restored = trees.restored().join(restored);
        compare(
            &trees.source().join("single"),
            &restored,
            &CompareOptions::default(),
        )
    };
    assert!(compare("single").unwrap().is_identical());
    assert!(!compare("dir").unwrap().is_identical());
    let error = compare("nothing").unwrap_err().to_string();
    assert!(error.contains("restored/nothing"), "{error}");
}
