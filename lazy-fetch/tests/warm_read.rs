//! A warm read allocates nothing.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use blob_under_test::blob;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_read_allocates_nothing_from_the_first_one_on() {
    let world = blob(256 << 10, []);
    world.read(0, 256 << 10).unwrap();
    let mut buf = vec![0; 10_000];
    let before = ALLOCATIONS.get();
    for i in 0..1000 {
        let offset = i * 7919 % (256 * 1024 - 10_000);
        assert!(world.blob.try_read_at(&mut buf, offset).unwrap());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(buf == world.content[999 * 7919 % (256 * 1024 - 10_000)..][..10_000]);
}
