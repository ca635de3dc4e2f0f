//! File systems that hold no data: what the kernel shows of itself.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstatfs, openat};

/// By their magic numbers, as in Linux's `magic.h`. A `devtmpfs` has that of
/// `tmpfs`, which does hold data.
const KINDS: &[(u32, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6165_676c, "pstore"),
    (0xcafe_4a11, "bpf"),
    (0x1980_0202, "mqueue"),
    (0x9584_58f6, "hugetlbfs"),
    (0x6265_6570, "configfs"),
    (0x6573_5543, "fusectl"),
    (0x1cd1, "devpts"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6e73_6673, "nsfs"),
    (0xde5e_81e4, "efivarfs"),
    (0x0187, "autofs"),
];

/// The type of the pseudo file system on which an entry lies; `None`: on none,
/// or it cannot be told, and whoever opens it will see why.
///
/// `mount`: an automounted directory is mounted first.
pub(super) fn kind_of(directory: &OwnedFd, name: &[u8], mount: bool) -> Option<&'static str> {
    // Opens nothing: devices and pipes do not notice.
    let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    flags.set(OFlags::DIRECTORY, mount);
    let entry = openat(directory, name, flags, Mode::empty()).ok()?;
    let magic = fstatfs(&entry).ok()?.f_type as u32;
    KINDS
        .iter()
        .find_map(|(of, kind)| (*of == magic).then_some(*kind))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_kernel_s_own_are_told_from_others() {
        let root = OwnedFd::from(File::open("/").unwrap());
        assert_eq!(kind_of(&root, b"proc", true), Some("proc"));
        assert_eq!(kind_of(&root, b"proc/version", false), Some("proc"));
        assert_eq!(kind_of(&root, b"usr", true), None);
        assert_eq!(kind_of(&root, b"missing", false), None);
    }
}
