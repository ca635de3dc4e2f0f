//! An allocator that counts: how a parser that believes its input is caught.
//!
//! Each thread has its own count, so that tests which run beside each other do
//! not add up. What a C library takes is not seen.

#![expect(
    unsafe_code,
    reason = "an allocator cannot be written without; every call is passed on to the system's as it came"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes that this thread holds. What another thread frees for it stays
    /// counted here and makes the other one's negative.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it held since somebody began to look.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
#[derive(Debug)]
pub struct Heap;

// SAFETY: every method is the system allocator's, and counting neither
// allocates nor unwinds: the cells are constants without a destructor.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are the ones that it needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    if held > MOST.get() {
        MOST.set(held);
    }
}

/// The most bytes that `work` held at a time, beyond what was held before.
pub(super) fn most_taken(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    (MOST.get() - before).max(0).cast_unsigned()
}
