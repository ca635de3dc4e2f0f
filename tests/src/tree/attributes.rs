//! Extended attributes and access control lists.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{XattrFlags, lsetxattr};

use super::is_root;

pub(super) fn write(directory: &Path) {
    let file = |name: &str| -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, name).expect("a file");
        path
    };
    let plain = file("user");
    set(&plain, "user.comment", b"plain text");
    set(&plain, "user.empty", b"");
    set(&plain, "user.binary", &[0, 255, 10, 13, 0, 128]);
    set(&plain, "user.odd name ü", b"odd");
    set(&file("large-value"), "user.large", &vec![b'v'; 2_000]);

    let sub = directory.join("on-a-directory");
    fs::create_dir(&sub).expect("a directory");
    set(&sub, "user.directory", b"yes");
    fs::write(sub.join("inside"), "").expect("a file");

    set(&file("acl"), "system.posix_acl_access", &access_list());
    set(&sub, "system.posix_acl_access", &access_list());
    set(&sub, "system.posix_acl_default", &access_list());

    if is_root() {
        set(&file("trusted"), "trusted.strongroom", b"root only");
        let link = directory.join("on-a-symlink");
        symlink("user", &link).expect("a symlink");
        set(&link, "trusted.link", b"on the link itself");
        // cap_net_raw+ep: vfs_cap_data, version 2, effective.
        let mut capability = vec![0x01, 0x00, 0x00, 0x02];
        capability.extend_from_slice(&(1_u32 << 13).to_le_bytes());
        capability.extend_from_slice(&[0; 12]);
        set(&file("capability"), "security.capability", &capability);
    } else {
        eprintln!("not root: the tree has no trusted attributes and no capabilities");
    }
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{name} on {}: {error}", path.display()));
}

/// `user::rw-,user:1234:r--,group::r--,group:5678:rwx,mask::rwx,other::---`
/// as the kernel keeps it (linux/posix_acl_xattr.h): a version, then tag,
/// permissions and id of each entry.
fn access_list() -> Vec<u8> {
    const VERSION: u32 = 2;
    const NO_ID: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 6] = [
        (0x01, 6, NO_ID), // the owner
        (0x02, 4, 1234),  // a user
        (0x04, 4, NO_ID), // the group
        (0x08, 7, 5678),  // another group
        (0x10, 7, NO_ID), // the mask
        (0x20, 0, NO_ID), // others
    ];
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&permissions.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    list
}
