//! An allocator that counts. A test binary makes it its own with `#[global_allocator]`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Counting;

thread_local! {
    /// Allocations of this thread: the test harness has threads of its own.
    static MADE: Cell<u64> = const { Cell::new(0) };
}

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// How many allocations `work` makes on this thread.
pub fn made_by<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = MADE.with(Cell::get);
    let outcome = work();
    (MADE.with(Cell::get) - before, outcome)
}

/// The largest single allocation of the process so far, in bytes.
pub fn largest() -> usize {
    LARGEST.load(Ordering::Relaxed)
}

fn count(byte_len: usize) {
    // A thread that is going away has no counter any more, and nobody asks for it.
    let _ = MADE.try_with(|made| made.set(made.get() + 1));
    LARGEST.fetch_max(byte_len, Ordering::Relaxed);
}

// SAFETY: every call goes on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: as in `alloc`; `block` came from the system's allocator by this one.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
