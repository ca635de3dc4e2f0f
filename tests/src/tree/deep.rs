//! Directories whose path is longer than PATH_MAX (4,096 bytes): they can
//! only be made, and reached, step by step.

use std::{fs::File, io::Write as _, path::Path};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use super::open_directory;

pub(super) fn write(directory: &Path, depth: usize) {
    let top = directory.to_str().expect("the test's own path is UTF-8");
    let mut current = open_directory(CWD, top);
    for level in 0..depth {
        let name = format!("{level:03}-{}", "d".repeat(196));
        mkdirat(&current, &name, Mode::from_raw_mode(0o755)).expect("a directory");
        current = open_directory(&current, &name);
        let file = openat(
            &current,
            "file",
            OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .expect("a file");
        writeln!(File::from(file), "at level {level}").expect("a write");
    }
}
