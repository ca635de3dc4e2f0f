//! `ioprio_set(2)`, which neither std nor rustix offers.
//!
//! Unsafe, as it is a system call by its number. It takes three integers and
//! gives one; no memory of ours is involved, so there is nothing that it could
//! leave in disorder.
#![expect(unsafe_code, reason = "see above")]

use std::io;

use crate::config::IoNice;

/// `IOPRIO_WHO_PROCESS`: a thread, by its id; 0 is the calling one.
const WHO_PROCESS: libc::c_int = 1;
const THIS_THREAD: libc::c_int = 0;

/// For the calling thread, and those that it starts from now on.
pub(super) fn set(ionice: IoNice) -> io::Result<()> {
    let Some(value) = ionice.value() else {
        return Ok(());
    };
    // SAFETY: three integers go in, one comes out.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_THREAD, value) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Of the calling thread.
#[cfg(test)]
pub(super) fn get() -> io::Result<i32> {
    // SAFETY: two integers go in, one comes out.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, THIS_THREAD) };
    i32::try_from(result)
        .ok()
        .filter(|value| *value >= 0)
        .ok_or_else(io::Error::last_os_error)
}
