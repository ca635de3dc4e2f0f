//! How glibc hands out memory.
//!
//! Left to itself it gives every thread a heap of its own and keeps what was
//! freed there. A restore's buffers are made by threads that read and freed by
//! threads that write: its heaps grew to twice of what was in use (257 MiB
//! resident where 113 were enough, at the same speed). So there are few heaps,
//! and buffers come from the kernel and go back to it.
//!
//! The calls set numbers inside glibc; no memory of ours is involved.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "see above"))]

/// Larger pieces of memory are the kernel's, bytes.
#[cfg(target_env = "gnu")]
const FROM_KERNEL: libc::c_int = 1 << 20;
/// What a heap may keep free at its end, bytes.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 4 << 20;

/// To be called before there are threads. Does nothing with another libc.
pub fn configure() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(cores.div_ceil(2)).unwrap_or(1);
        for (parameter, value) in [
            (libc::M_ARENA_MAX, heaps),
            (libc::M_MMAP_THRESHOLD, FROM_KERNEL),
            (libc::M_TRIM_THRESHOLD, KEPT),
        ] {
            // SAFETY: two integers go in; no other thread runs yet.
            let taken = unsafe { libc::mallopt(parameter, value) };
            // All that a refusal costs is memory.
            debug_assert_eq!(taken, 1, "glibc knows parameter {parameter}");
        }
    }
}
