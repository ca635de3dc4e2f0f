//! Extended attributes; POSIX ACLs are among them.

use std::{io, os::fd::BorrowedFd};

use rustix::{fs, io::Errno};
use strongroom_compare::beneath::proc_path;

/// Raw names and values.
pub(in crate::sources) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Those of an open file or directory, by name.
pub(super) fn of_open(file: BorrowedFd<'_>) -> io::Result<Xattrs> {
    read(
        |buffer| fs::flistxattr(file, buffer),
        |name, buffer| fs::fgetxattr(file, name, buffer),
    )
}

/// Those of an entry that is not opened: a symlink, a device, a fifo.
pub(super) fn of_entry(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Xattrs> {
    let path = proc_path(directory, name);
    read(
        |buffer| fs::llistxattr(&*path, buffer),
        |name, buffer| fs::lgetxattr(&*path, name, buffer),
    )
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Xattrs> {
    let names = match sized(list) {
        // A file system without attributes.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match sized(|buffer| get(name, buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Calls with a buffer that nearly always suffices; then with one of 64 KiB,
/// which is the kernel's limit.
fn sized(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length.min(small.len())].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; 64 << 10];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}
