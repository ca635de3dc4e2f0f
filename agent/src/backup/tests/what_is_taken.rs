//! Includes, excludes, caches, and paths within paths.

use std::{fs, os::unix::fs::symlink};

use strongroom_spec::{FilesSource, WarningCode};

use super::bench::{Bench, text};

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# more";

fn taken(bench: &Bench, change: impl FnOnce(&mut FilesSource)) -> Vec<String> {
    bench.list(&bench.backup(&bench.request_for(change)))
}

#[test]
fn excludes_leave_out_what_is_below_too() {
    let bench = Bench::new();
    for name in [
        "a.tmp",
        "a.txt",
        "target/x",
        "deep/target/y",
        "deep/z",
        "target.d/file",
    ] {
        bench.write(name, "x");
    }
    let absolute = format!("{}/deep/z", text(&bench.source));
    let left = taken(&bench, |source| {
        source.exclude = vec!["*.tmp".into(), "target/".into(), absolute];
    });
    assert_eq!(left, ["a.txt", "deep/", "target.d/", "target.d/file"]);
}

#[test]
fn includes_take_files_and_all_below_directories() {
    let bench = Bench::new();
    for name in [
        "a.sql",
        "a.txt",
        "sub/b.sql",
        "sub/b.txt",
        "www/page",
        "www/img/i",
    ] {
        bench.write(name, "x");
    }
    let left = taken(&bench, |source| {
        source.include = vec!["*.sql".into(), "www".into()];
    });
    let expected = [
        "a.sql",
        "sub/",
        "sub/b.sql",
        "www/",
        "www/img/",
        "www/img/i",
        "www/page",
    ];
    assert_eq!(left, expected);
}

#[test]
fn marked_caches_keep_only_their_tag() {
    let bench = Bench::new();
    bench.write("cache/CACHEDIR.TAG", TAG);
    bench.write("cache/a", "x");
    bench.write("fake/CACHEDIR.TAG", "Signature: none");
    bench.write("fake/a", "x");
    let left = taken(&bench, |source| source.exclude_caches = true);
    assert_eq!(
        left,
        [
            "cache/",
            "cache/CACHEDIR.TAG",
            "fake/",
            "fake/CACHEDIR.TAG",
            "fake/a"
        ]
    );
    assert_eq!(taken(&bench, |_| ()).len(), 6);
}

#[test]
fn a_path_within_an_excluded_one_is_taken() {
    let bench = Bench::new();
    for name in ["cache/keep/a", "cache/drop/b", "c"] {
        bench.write(name, "x");
    }
    let inner = text(&bench.source.join("cache/keep"));
    let left = taken(&bench, |source| {
        source.paths.push(inner);
        source.exclude = vec!["cache".into(), "keep".into()];
    });
    assert_eq!(left, ["c", "cache/", "cache/keep/", "cache/keep/a"]);
}

#[test]
fn a_single_file_and_a_path_through_a_symlink() {
    let bench = Bench::new();
    let file = bench.write("a/b/file", "x");
    bench.write("a/b/other", "x");
    symlink("a", bench.source.join("link")).unwrap();
    let through = bench.source.join("link/b/other");
    let left = taken(&bench, |source| {
        source.paths = vec![text(&file), text(&through)];
    });
    assert_eq!(
        left,
        ["a/", "a/b/", "a/b/file", "link/", "link/b/", "link/b/other"]
    );
    assert_eq!(bench.warnings(), [""; 0]);
}

/// Whatever is mounted below `/` on this machine: `/proc` at least.
#[test]
fn other_file_systems_stand_empty_and_are_named() {
    for one_file_system in [false, true] {
        let bench = Bench::new();
        let all = bench.backup(&bench.request_for(|source| {
            source.paths = vec!["/".into()];
            source.one_file_system = one_file_system;
            source.exclude = ["/[a-oq-z]*", "/p[a-qs-z]*", "/.*"]
                .map(Into::into)
                .to_vec();
        }));
        let listed = bench.list_all(&all);
        let below = listed.iter().filter(|path| path.starts_with("proc/"));
        assert_eq!(below.count(), 1);
        let (warnings, _) = bench.monitor.warnings();
        let named: Vec<_> = warnings.iter().filter(|it| *it.path == *b"/proc").collect();
        assert_eq!(named.len(), 1, "{warnings:?}");
        assert_eq!(named[0].code, WarningCode::PseudoFileSystem);
        // Every machine has it: a backup of `/` would never end without a warning.
        assert!(named[0].accepted, "{warnings:?}");
    }
}

/// `/dev/shm` is a `tmpfs` of its own wherever there is one.
#[test]
fn a_mount_is_named_that_one_file_system_leaves_out() {
    use std::os::unix::fs::MetadataExt;
    let device = |path| fs::metadata(path).map(|it| it.dev()).ok();
    if device("/dev/shm").is_none() || device("/dev") == device("/dev/shm") {
        return;
    }
    for (excluded, count) in [("/dev/[!s]*", 1), ("/dev/shm", 0)] {
        let bench = Bench::new();
        let backup = bench.backup(&bench.request_for(|source| {
            source.paths = vec!["/dev".into()];
            source.one_file_system = true;
            source.exclude = vec![excluded.into()];
        }));
        let (warnings, _) = bench.monitor.warnings();
        let named = warnings.iter().filter(|it| *it.path == *b"/dev/shm");
        let named: Vec<_> = named.map(|it| it.code).collect();
        assert_eq!(named, vec![WarningCode::MountLeftOut; count]);
        let stands = bench.list_all(&backup).contains(&"dev/shm/".to_owned());
        assert_eq!(stands, count == 1);
    }
}

#[test]
fn what_is_requested_on_a_pseudo_file_system_is_named_or_an_error() {
    let bench = Bench::new();
    bench.write("file", "x");
    let left = taken(&bench, |source| source.paths.push("/proc/version".into()));
    assert!(left.contains(&"file".to_owned()), "{left:?}");
    let (warnings, count) = bench.monitor.warnings();
    assert_eq!((warnings.len(), count), (1, 1), "{warnings:?}");
    assert_eq!(*warnings[0].path, *b"/proc/version");
    assert_eq!(warnings[0].code, WarningCode::PseudoFileSystem);
    assert!(!warnings[0].accepted, "{warnings:?}");

    for path in ["/proc/version", "/proc/sys/kernel"] {
        let bench = Bench::new();
        let request = bench.request_for(|source| source.paths = vec![path.into()]);
        let error = bench.try_backup(&request).unwrap_err().to_string();
        assert!(error.contains("proc file system"), "{error}");
    }
}

#[test]
fn the_root_starts_at_the_top_with_real_metadata() {
    let bench = Bench::new();
    bench.write("file", "x");
    let backup = bench.backup(&bench.request());
    let all = bench.list_all(&backup);
    let above = text(bench.source.parent().unwrap());
    let first = above[1..].split('/').next().unwrap();
    assert_eq!(
        all.iter()
            .filter(|path| path.matches('/').count() == 1 && path.ends_with('/'))
            .collect::<Vec<_>>(),
        [&format!("{first}/")]
    );
    assert_eq!(backup.result.directories, 1);
    assert!(fs::metadata(format!("/{first}")).is_ok());
}
