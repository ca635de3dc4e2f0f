//! A directory of a test's own, gone at its end.

use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Directories made for the tests of one process; more than it has tests.
const SLOTS: usize = 1_000;

/// The directories of this process, below `tests/.work`: on the disk of the
/// checkout, for `/tmp` is often memory, without extended attributes.
///
/// All are made at once. A backup keeps the metadata of the directories above
/// its source, too: they must not change because another test begins or ends.
static SLOT_DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join(".work");
    fs::create_dir_all(&work).expect("tests/.work can be made");
    remove_empty_slots(&work);
    let directory = work.join(format!("run-{}", process::id()));
    for slot in 0..SLOTS {
        fs::create_dir_all(directory.join(slot.to_string())).expect("a directory can be made");
    }
    directory
});

/// A temporary directory. It stays when `STRONGROOM_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty directory of this name; names may be used again.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let slot = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = SLOT_DIRECTORY.join(slot.to_string()).join(name);
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self { path }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).expect("a directory can be made");
        path
    }

    /// Writes a file in it.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, contents).expect("a file can be written");
        path
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if env::var_os("STRONGROOM_TEST_KEEP").is_none() {
            // Trees deeper than PATH_MAX defeat the standard library.
            let _gone = Command::new("rm").arg("-rf").arg(&self.path).status();
        }
    }
}

/// Removes what processes that have ended left, unless something was kept.
fn remove_empty_slots(work: &Path) {
    let runs = fs::read_dir(work).into_iter().flatten().flatten();
    for run in runs {
        let name = run.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            for slot in fs::read_dir(run.path()).into_iter().flatten().flatten() {
                let _kept = fs::remove_dir(slot.path());
            }
            let _kept = fs::remove_dir(run.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_scratch_directory_does_not_change() {
        let first = Scratch::new("first");
        let above = |scratch: &Scratch| {
            let directory = scratch.ancestors().nth(2).unwrap();
            directory.metadata().unwrap().modified().unwrap()
        };
        let before = above(&first);
        let second = Scratch::new("second");
        second.file("file", "");
        let gone = second.to_owned();
        drop(second);
        assert!(!gone.exists());
        assert_eq!(above(&first), before);
    }
}
