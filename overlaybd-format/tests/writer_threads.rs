//! No thread outlives its writer, finished or abandoned. Alone in its process, where it can count them.

#![cfg(target_os = "linux")]

use std::io::{self, Write};
use std::time::{Duration, Instant};

use overlaybd_format::{Compression, ContentWriter, Wrappers};

#[test]
fn threads_end_with_their_writer() {
    let compression = Compression::default().with_threads(4);
    let wrappers = Wrappers::default().with_compression(Some(compression));
    let before = threads();
    for batches in [0, 1, 3, 100] {
        for finish in [false, true] {
            let mut writer = ContentWriter::streaming(io::sink(), wrappers).unwrap();
            assert_eq!(threads(), before + 4);
            writer.write_all(&vec![7; batches * (128 << 10)]).unwrap();
            if finish {
                writer.finish().unwrap();
            } else {
                drop(writer);
            }
            // A thread that was joined is listed for a moment more.
            let patience = Instant::now() + Duration::from_secs(10);
            while threads() != before && Instant::now() < patience {
                std::thread::yield_now();
            }
            assert_eq!(threads(), before, "{batches} batches, finished: {finish}");
        }
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
