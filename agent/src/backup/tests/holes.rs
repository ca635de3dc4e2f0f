//! Whether zeros come back as they lay on the disk: written, or as a hole.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use strongroom_spec::{DirectoryTarget, Overwrite, RestoreSpec, Sparse};

use super::{
    super::PreparedBackup,
    bench::{Bench, text},
};
use crate::{
    allowed::AllowedDirectory,
    restore::{self, RestoreOptions},
};

/// Bytes of each file: several chunks, so that zeros repeat.
const SIZE: u64 = 40 << 20;

/// Files of zeros, one written and one a hole, and one of each with data around it.
fn write(bench: &Bench) {
    let zeros = vec![0; SIZE as usize];
    bench.write("swap", &zeros);
    let mut database = zeros;
    database[..5].copy_from_slice(b"start");
    *database.last_mut().unwrap() = 1;
    bench.write("database", &database);
    bench.write("small", vec![0; 32 << 10]);
    for (name, start) in [("hole", ""), ("image", "start")] {
        let path = bench.write(name, start);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(SIZE).unwrap();
    }
}

fn restore(bench: &Bench, backup: &PreparedBackup, target: &Path, sparse: Sparse) {
    let work = RestoreSpec::new(
        backup.result.snapshot,
        DirectoryTarget {
            directory: text(target),
            overwrite: Overwrite::IfChanged,
            sparse,
            ..DirectoryTarget::default()
        },
    );
    restore::run(
        Arc::clone(&bench.repository),
        bench.runtime.handle().clone(),
        &work,
        &AllowedDirectory::named(target).unwrap(),
        &RestoreOptions::default(),
        Arc::clone(&bench.monitor),
    )
    .unwrap();
}

/// Those below a directory that take less of the disk than they are long.
fn sparse_files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut found: Vec<_> = entries
        .filter(|entry| {
            let found = entry.metadata().unwrap();
            found.blocks() * 512 < found.size()
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

#[test]
fn zeros_come_back_as_they_lay_on_the_disk() {
    let bench = Bench::new();
    write(&bench);
    assert_eq!(sparse_files(&bench.source), ["hole", "image"]);
    let first = bench.backup(&bench.request());
    // What is taken over unread is known as well.
    let backup = bench.backup(&bench.request_after(&first));
    assert_eq!(backup.result.bytes_read, 0);
    assert_eq!(backup.result.bytes_new, 0);

    let below = |target: &Path| target.join(bench.source.strip_prefix("/").unwrap());
    let auto = bench.scratch.dir("auto");
    restore(&bench, &backup, &auto, Sparse::Auto);
    assert_eq!(sparse_files(&below(&auto)), ["hole", "image"]);
    let never = bench.scratch.dir("never");
    restore(&bench, &backup, &never, Sparse::Never);
    assert!(sparse_files(&below(&never)).is_empty());

    // A file that reads well and has holes is written over; nothing else is.
    restore(&bench, &backup, &auto, Sparse::Never);
    assert!(sparse_files(&below(&auto)).is_empty());
    for target in [auto, never] {
        for name in ["swap", "database", "small", "hole", "image"] {
            let restored = fs::read(below(&target).join(name)).unwrap();
            assert!(
                restored == fs::read(bench.source.join(name)).unwrap(),
                "{name}"
            );
        }
    }
}

/// The note is in a field that restic knows of other entries: it reads what we
/// write, and what it writes anew is the same.
#[test]
fn restic_reads_trees_with_such_a_note() {
    let bench = Bench::new();
    write(&bench);
    let backup = bench.backup(&bench.request());
    let restic = bench.restic();
    restic.check();
    let snapshot = backup.result.snapshot.to_string();
    let target = bench.scratch.dir("restored");
    restic.restore(&snapshot, &target);
    let restored = target.join(bench.source.strip_prefix("/").unwrap());
    for name in ["swap", "database", "hole"] {
        assert!(
            fs::read(restored.join(name)).unwrap() == fs::read(bench.source.join(name)).unwrap(),
            "{name}"
        );
    }
}
