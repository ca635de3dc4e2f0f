//! A file system that is soon full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A small file system in memory; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of a size such as `4m`, on a directory that is made if it is
    /// missing.
    ///
    /// # Panics
    /// When it cannot be mounted: this test needs root (containers:
    /// `CAP_SYS_ADMIN`).
    pub fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).expect("a directory");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            at,
        );
        Self(at.to_owned())
    }

    /// What the kernel shows of itself, mounted on a directory likewise.
    ///
    /// # Panics
    /// As [`Self::mount`].
    pub fn proc(at: &Path) -> Self {
        fs::create_dir_all(at).expect("a directory");
        run("mount", &["-t", "proc", "proc"], at);
        Self(at.to_owned())
    }

    /// Gives it another size.
    pub fn grow(&self, size: &str) {
        run("mount", &["-o", &format!("remount,size={size}")], &self.0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status();
    let status = status.expect("mount runs");
    assert!(
        status.success(),
        "{program} {arguments:?} failed: this test mounts and must run as root"
    );
}
