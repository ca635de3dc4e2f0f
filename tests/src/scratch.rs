//! A directory of a test's own, gone at its end.

use std::{
    env,
    fs::{self, File, TryLockError},
    ops::Deref,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Directories that can be in use at a time, by all processes together.
const SLOTS: usize = 512;

/// Where the slots are, below `tests/.work`: on the disk of the checkout, for
/// `/tmp` is often memory, without extended attributes.
///
/// All are made at once and stay. A backup keeps the metadata of the directories
/// above its source, too: they must not change because another test begins or
/// ends, in this process or in another. Who has a slot says a lock beside it.
static WORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join(".work");
    fs::create_dir_all(&work).expect("tests/.work can be made");
    let making = File::create(work.join("making")).expect("a lock file can be made");
    making.lock().expect("tests/.work can be locked");
    for slot in 0..SLOTS {
        for kind in ["slots", "locks"] {
            let directory = work.join(kind).join(slot.to_string());
            fs::create_dir_all(&directory).expect("a directory can be made");
        }
    }
    work
});

/// A directory that only its holder uses, until the lock is dropped.
fn lease_slot() -> (PathBuf, File) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Processes side by side begin at different slots.
    let offset = process::id() as usize;
    for _ in 0..SLOTS {
        let slot = (NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % SLOTS).to_string();
        let directory = WORK.join("slots").join(&slot);
        let lock = File::open(WORK.join("locks").join(&slot)).expect("a slot's lock can be opened");
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => panic!("a slot cannot be locked: {error}"),
        }
        let empty = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
        // Else it is what a killed test left, or what somebody wanted to keep.
        if empty {
            return (directory, lock);
        }
    }
    panic!("no free slot in {}: remove that directory", WORK.display());
}

/// A temporary directory. It stays when `STRONGROOM_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _slot: File,
}

impl Scratch {
    /// An empty directory of this name; names may be used again.
    pub fn new(name: &str) -> Self {
        let (slot, lock) = lease_slot();
        let path = slot.join(name);
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self { path, _slot: lock }
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
