//! The system's allocator for tests that count allocations.
//!
//! Not a module of `support`: a test that wants it names the file, for a program has one allocator.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which calls this for each allocation. What it calls must not allocate.
pub(crate) struct Counting(pub(crate) fn());

#[expect(unsafe_code, reason = "an allocator cannot be had otherwise; it only counts and passes on")]
// SAFETY: every call is passed on to the system's allocator as it came; what counts allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` passed the system's pointers on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        (self.0)();
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, octets) }
    }
}
