//! What cannot be read, and what changes under our eyes, does not fail a job.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use rustix::{
    process::{Uid, geteuid},
    thread::set_thread_res_uid,
};
use strongroom_spec::FailureCode;

use super::bench::{Bench, text};
use crate::{
    backup::{BackupRequest, PreparedBackup},
    sources::files::Moment,
};

/// A backup during which `act` runs when `path` is at `moment`.
fn interfere(
    bench: &Bench,
    moment: Moment,
    path: &Path,
    act: impl Fn() + Send + Sync + 'static,
) -> PreparedBackup {
    let path = text(path);
    let request = BackupRequest {
        probe: Some(Arc::new(move |at, seen: &[u8]| {
            if at == moment && seen == path.as_bytes() {
                act();
            }
        })),
        ..bench.request()
    };
    bench.backup(&request)
}

#[test]
fn a_file_that_vanishes() {
    for moment in [Moment::Listed, Moment::BeforeOpen] {
        let bench = Bench::new();
        bench.write("stays", "x");
        let file = bench.write("goes", "x");
        let backup = interfere(&bench, moment, &file.clone(), move || {
            fs::remove_file(&file).unwrap();
        });
        assert_eq!(bench.list(&backup), ["stays"]);
        assert_eq!(bench.warnings(), ["goes: it vanished before it was read"]);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_stored_and_read_again_next_time() {
    for moment in [Moment::Opened, Moment::Read] {
        let bench = Bench::new();
        let file = bench.write("grows", "x".repeat(1000));
        let backup = interfere(&bench, moment, &file.clone(), move || {
            let mut file = OpenOptions::new().append(true).open(&file).unwrap();
            file.write_all(b"more").unwrap();
        });
        assert_eq!(bench.list(&backup), ["grows"]);
        assert_eq!(
            bench.warnings(),
            ["grows: it changed while it was read; it is stored as it was read"]
        );
        let read = backup.result.bytes_read;
        assert_eq!(read, 1000);
        assert_eq!(backup.result.bytes_total, read);
        let second = bench.backup(&bench.request_after(&backup));
        assert_eq!(second.result.bytes_read, 1004);
        bench.restic().check();
    }
}

#[test]
fn what_turns_into_a_symlink_is_not_followed() {
    for name in ["file", "directory/file"] {
        let bench = Bench::new();
        let secret = bench.scratch.file("secret", "not to be read");
        let secrets = bench.scratch.dir("secrets");
        fs::write(secrets.join("file"), "nor this").unwrap();
        bench.write(name, "x");
        let victim = bench.source.join(name.split('/').next().unwrap());
        let backup = interfere(&bench, Moment::BeforeOpen, &victim.clone(), move || {
            if victim.is_dir() {
                fs::remove_dir_all(&victim).unwrap();
                symlink(&secrets, &victim).unwrap();
            } else {
                fs::remove_file(&victim).unwrap();
                symlink(&secret, &victim).unwrap();
            }
        });
        assert_eq!(backup.result.bytes_read, 0);
        assert_eq!(bench.list(&backup), [""; 0]);
        let name = name.split('/').next().unwrap();
        assert_eq!(
            bench.warnings(),
            [format!("{name}: it was replaced before it was read")]
        );
    }
}

#[test]
fn a_file_that_turns_into_a_fifo_does_not_block() {
    let bench = Bench::new();
    let file = bench.write("file", "x");
    let backup = interfere(&bench, Moment::BeforeOpen, &file.clone(), move || {
        fs::remove_file(&file).unwrap();
        let mode = rustix::fs::Mode::from(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    });
    assert_eq!(bench.list(&backup), [""; 0]);
    assert_eq!(bench.warnings().len(), 1);
}

/// As somebody who may not read all of it.
#[test]
fn what_we_may_not_read() {
    let bench = Bench::new();
    bench.write("open/file", "x");
    for shut in [
        bench.write("shut file", "x"),
        bench.write("shut/below", "x"),
    ] {
        let shut = if shut.ends_with("below") {
            shut.parent().unwrap()
        } else {
            &shut
        };
        fs::set_permissions(shut, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.scratch.path(), open.clone()).unwrap();
    fs::set_permissions(bench.source.join("open"), open).unwrap();
    // Threads inherit the user: those that write must be there already.
    bench.start_writers();
    let backup = std::thread::scope(|scope| {
        let nobody = || {
            if geteuid().is_root() {
                let uid = Uid::from_raw(65534);
                set_thread_res_uid(uid, uid, uid).unwrap();
            }
            bench.try_backup(&bench.request()).unwrap()
        };
        scope.spawn(nobody).join().unwrap()
    });
    assert_eq!(bench.list(&backup), ["open/", "open/file", "shut/"]);
    let cause = "it cannot be read: Permission denied (os error 13)";
    assert_eq!(
        bench.warnings(),
        [format!("shut file: {cause}"), format!("shut: {cause}")]
    );
}

#[test]
fn of_several_paths_one_is_enough() {
    let bench = Bench::new();
    bench.write("file", "x");
    let missing = text(&bench.scratch.path().join("missing/below"));
    let request = bench.request_for(|source| {
        source.paths.push(missing.clone());
        // On a file system that is not backed up.
        source.paths.push("/proc/self/mem".into());
    });
    let backup = bench.backup(&request);
    assert_eq!(bench.list(&backup), ["file"]);
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|line| line.starts_with("/proc/self/mem: it lies on a proc file system"))
    );
    assert!(warnings.iter().any(|line| line.starts_with(&missing)));
    bench.restic().check();
}

#[test]
fn a_path_that_never_was_did_not_vanish_and_is_not_tried_again() {
    let bench = Bench::new();
    let at = |name: &str| text(&bench.source.join(name));
    let paths = [at("no/such"), at("nothing")];
    let request = bench.request_for(|source| source.paths = paths.to_vec());
    let error = bench.try_backup(&request).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("there is no such file or directory"),
        "{said}"
    );
    assert!(!error.is_retryable(), "{said}");

    // What is gone since the last snapshot may come back: a mount, say.
    bench.write("nothing", "x");
    let first = bench.backup(&bench.request());
    fs::remove_file(bench.source.join("nothing")).unwrap();
    let request = BackupRequest {
        source: request.source,
        ..bench.request_after(&first)
    };
    let error = bench.try_backup(&request).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let warnings = bench.warnings();
    let gone = "nothing: it is gone: it was there when the last snapshot was taken";
    assert!(warnings.iter().any(|it| it == gone), "{warnings:?}");
}

/// What could not be read stands in a snapshot as an empty directory.
#[test]
fn a_path_below_what_could_not_be_read_may_have_been_there() {
    let bench = Bench::new();
    let at = |name: &str| text(&bench.source.join(name));
    fs::create_dir(bench.source.join("dir")).unwrap();
    bench.write("stays", "x");
    let both = bench.request_for(|source| source.paths = vec![at("stays"), at("dir/data")]);
    let first = bench.backup(&both);
    fs::remove_file(bench.source.join("stays")).unwrap();
    for (paths, again) in [
        (vec![at("dir/data")], true),
        (vec![at("never")], false),
        (vec![at("never"), at("dir/data")], true),
    ] {
        let request = BackupRequest {
            source: bench
                .request_for(|source| source.paths = paths.clone())
                .source,
            ..bench.request_after(&first)
        };
        let error = bench.try_backup(&request).unwrap_err();
        assert_eq!(error.is_retryable(), again, "{paths:?}: {error}");
    }
}

#[test]
fn when_no_path_can_be_read_the_backup_fails() {
    let bench = Bench::new();
    for paths in [
        vec!["/missing".to_owned(), "/proc/self/mem".to_owned()],
        vec![],
    ] {
        let request = bench.request_for(|source| source.paths = paths);
        let error = bench.try_backup(&request).unwrap_err();
        assert_eq!(error.code(), FailureCode::Source, "{error}");
    }
    let relative = bench.request_for(|source| source.paths = vec!["srv".into()]);
    let error = bench.try_backup(&relative).unwrap_err();
    assert!(error.to_string().contains("\"srv\""), "{error}");
}
