//! A warm read of what a recorder has noted costs no allocation, and the first one costs its note only.
//!
//! A program of its own, without the test runner, whose threads allocate when they like.

use overlaybd_format::trace::Recorder;
use overlaybd_format::{Limits, MemoryBlob, ReadAt, Warm};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn main() {
    let recorder = Recorder::new(MemoryBlob::new(vec![7; 1 << 20]), &Limits::default());
    let mut buf = [0; 4096];
    // What reads as noted once is noted for good, wherever the next reads begin and end.
    assert_eq!(recorder.try_read_at(&mut [0; 20_000], 0).unwrap(), Warm::Yes);

    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    for offset in (0..15_000).step_by(7) {
        assert_eq!(recorder.try_read_at(&mut buf, offset).unwrap(), Warm::Yes);
    }
    assert_eq!(MEMORY.peak_usage(), before, "warm reads allocate");
    assert_eq!(recorder.ranges().len(), 1);
}
