//! An allocator that counts what each thread holds, as glibc's would take it from the system: the size and 8 bytes of its own,
//! rounded up to 16, at least 32.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocated minus freed by this thread, in bytes; negative where it frees what another allocated.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// What this thread holds now, in bytes, as a number to subtract from.
pub(crate) fn held() -> i64 {
    HELD.get()
}

fn taken(layout: Layout) -> i64 {
    let size = (layout.size() + 8).next_multiple_of(16).max(32);
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn count(bytes: i64) {
    // A thread that ends has no counter any more, and nobody asks for it.
    let _ = HELD.try_with(|held| held.set(held.get().wrapping_add(bytes)));
}

struct Counting;

// SAFETY: every call goes unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(taken(layout));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(taken(layout));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-taken(layout));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if let Ok(new) = Layout::from_size_align(size, layout.align()) {
            count(taken(new) - taken(layout));
        }
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_as_the_system_rounds_it() {
        let before = held();
        let small = Box::new(1_u64);
        assert_eq!(held() - before, 32);
        let mut large = vec![0_u8; 1000];
        assert_eq!(held() - before, 32 + 1008);
        large.resize(3000, 0);
        assert!(held() - before >= 32 + 3008);
        drop((small, large));
        assert_eq!(held(), before);
    }
}
