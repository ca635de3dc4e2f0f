//! `CACHEDIR.TAG`: directories that hold nothing worth keeping.
//!
//! Source: <https://bford.info/cachedir/>.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{Mode, OFlags, openat},
    io::{Errno, read},
};

/// The file that marks a directory.
pub(super) const TAG: &[u8] = b"CACHEDIR.TAG";
/// What it begins with.
const SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether a directory that has an entry of that name is marked by it.
pub(super) fn is_marked(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(directory, TAG, flags, Mode::empty()) else {
        return false;
    };
    let mut bytes = [0; SIGNATURE.len()];
    let mut filled = 0;
    while filled < bytes.len() {
        match read(&file, &mut bytes[filled..]) {
            Ok(0) => return false,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    bytes == *SIGNATURE
}
