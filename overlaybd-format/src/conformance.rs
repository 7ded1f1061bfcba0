//! The contracts of [`ReadAt`], [`ReadWriteAt`](crate::ReadWriteAt) and [`Storage`](crate::Storage), each as
//! a suite that an implementor runs in a test.
//!
//! ```
//! use overlaybd_format::{MemoryBlob, conformance};
//!
//! let bytes: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
//! futures::executor::block_on(conformance::read_at(&MemoryBlob::new(bytes.clone()), &bytes));
//! ```

// A suite reports by panicking, and everything it indexes is its own.
#![allow(clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod read_write_at;
mod storage;

use std::ops::Range;
use std::task::Poll;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, poll};

use crate::{Error, ReadAt, Warm};

pub use read_write_at::read_write_at;
pub use storage::storage;

/// Checks that `reader` keeps the contract of [`ReadAt`] and holds exactly the bytes of `expected`.
///
/// The suite needs no particular runtime: it awaits only reads of `reader`. A few thousand bytes of
/// incompressible content show more than a large or uniform one.
///
/// # Panics
///
/// If the contract is broken; the message says which promise, for which range.
pub async fn read_at(reader: &dyn ReadAt, expected: &[u8]) {
    assert!(
        reader.size() == expected.len() as u64,
        "size: the reader says {} bytes, expected are {}",
        reader.size(),
        expected.len()
    );
    let ranges = ranges_of(expected.len());

    same_bytes("exactness", reader, expected, &ranges).await;
    bounds(reader).await;
    dropped_futures(reader, expected, &ranges).await;
    concurrency(reader, expected, &ranges).await;
    // Failed, dropped and concurrent reads must leave no trace.
    same_bytes("immutability", reader, expected, &ranges).await;
    assert!(reader.size() == expected.len() as u64, "immutability: the size changed to {}", reader.size());
}

async fn same_bytes(promise: &str, reader: &dyn ReadAt, expected: &[u8], ranges: &[Range<usize>]) {
    for range in ranges {
        let wanted = &expected[range.clone()];
        // Twice with opposite fill, so that a byte that was left alone differs at least once.
        for fill in [0x00, 0xff] {
            let mut buf = vec![fill; range.len()];
            if let Err(error) = reader.read_at(&mut buf, range.start as u64).await {
                panic!("{promise}: reading {range:?} failed: {error}");
            }
            check(&buf, wanted, range, &format!("{promise}: read_at"));

            buf.fill(fill);
            match reader.try_read_at(&mut buf, range.start as u64) {
                Ok(Warm::Yes) => check(&buf, wanted, range, "warm path: try_read_at"),
                Ok(Warm::No) => {}
                Err(error) => {
                    panic!("warm path: try_read_at of {range:?} failed where read_at succeeds: {error}")
                }
            }
        }
        view(promise, reader, wanted, range);
    }
}

fn view(promise: &str, reader: &dyn ReadAt, wanted: &[u8], range: &Range<usize>) {
    let mut views = 0;
    let mut view = |bytes: &[u8]| {
        views += 1;
        check(bytes, wanted, range, &format!("{promise}: try_view"));
    };
    match reader.try_view(range.start as u64..range.end as u64, &mut view) {
        Ok(Warm::Yes) => assert!(views == 1, "try_view of {range:?}: {views} views, and it says Yes"),
        Ok(Warm::No) => assert!(views == 0, "try_view of {range:?}: {views} views, and it says No"),
        Err(error) => panic!("try_view of {range:?} failed where read_at succeeds: {error}"),
    }
}

async fn bounds(reader: &dyn ReadAt) {
    let size = reader.size();
    let outside = [
        (size, 1),
        (size.saturating_sub(1), 2),
        (0, usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1)),
        (size.saturating_add(1), 0),
        (size.saturating_add(1), 1),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (u64::MAX - 511, 512),
        (u64::MAX - 510, 512),
    ];
    for (offset, len) in outside {
        let mut buf = vec![0; len];
        match reader.read_at(&mut buf, offset).await {
            Err(error) if is_out_of_bounds(&error) => {}
            other => {
                panic!("bounds: read_at of {len} bytes at {offset} of {size} gave {other:?}, not OutOfBounds")
            }
        }
        // The warm path may leave the answer to `read_at`, but must not claim success.
        match reader.try_read_at(&mut buf, offset) {
            Ok(Warm::No) => {}
            Err(error) if is_out_of_bounds(&error) => {}
            other => panic!("bounds: try_read_at of {len} bytes at {offset} of {size} gave {other:?}"),
        }
    }
    for offset in [0, size / 2, size] {
        if let Err(error) = reader.read_at(&mut [], offset).await {
            panic!("bounds: an empty read at {offset} of {size} failed: {error}");
        }
    }
}

/// Abandons reads before and after their first poll, the latter while another read of the same range
/// is under way.
async fn dropped_futures(reader: &dyn ReadAt, expected: &[u8], ranges: &[Range<usize>]) {
    for range in ranges {
        let offset = range.start as u64;
        let mut abandoned = vec![0; range.len()];
        drop(reader.read_at(&mut abandoned, offset));

        let mut buf = vec![0; range.len()];
        let mut read = reader.read_at(&mut buf, offset);
        let early = poll!(&mut read);
        let _ = poll!(reader.read_at(&mut abandoned, offset));
        let result = match early {
            Poll::Ready(result) => result,
            Poll::Pending => (&mut read).await,
        };
        drop(read);
        if let Err(error) = result {
            panic!("cancellation: a read of {range:?} failed after another one of it was dropped: {error}");
        }
        check(&buf, &expected[range.clone()], range, "cancellation: a read beside a dropped one");
    }
}

async fn concurrency(reader: &dyn ReadAt, expected: &[u8], ranges: &[Range<usize>]) {
    let mut reads: FuturesUnordered<_> = ranges
        .iter()
        // Every range from several readers at once.
        .flat_map(|range| std::iter::repeat_n(range, 4))
        .map(|range| async move {
            let mut buf = vec![0; range.len()];
            (range, reader.read_at(&mut buf, range.start as u64).await, buf)
        })
        .collect();
    while let Some((range, result, buf)) = reads.next().await {
        if let Err(error) = result {
            panic!("concurrency: reading {range:?} beside other reads failed: {error}");
        }
        check(&buf, &expected[range.clone()], range, "concurrency: a read beside others");
    }
}

/// Ranges that touch both ends, single bytes, sector and block boundaries, and everything at once.
fn ranges_of(size: usize) -> Vec<Range<usize>> {
    let mut ranges = vec![0..size, 0..0, size..size];
    for boundary in BOUNDARIES.into_iter().chain([size / 3, size / 2, size]) {
        for (before, after) in [(0, 1), (1, 0), (1, 1), (7, 13), (512, 0), (700, 5000)] {
            let range = boundary.saturating_sub(before)..boundary.saturating_add(after).min(size);
            if !range.is_empty() {
                ranges.push(range);
            }
        }
    }
    ranges
}

fn check(found: &[u8], expected: &[u8], range: &Range<usize>, promise: &str) {
    assert!(found.len() == expected.len(), "{promise} of {range:?} gave {} bytes", found.len());
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!(
            "{promise} of {range:?} gave {:#04x} at {}, expected {:#04x}",
            found[at],
            range.start + at,
            expected[at]
        );
    }
}

fn is_out_of_bounds(error: &Error) -> bool {
    matches!(error.root(), Error::OutOfBounds { .. })
}

/// Where implementations cut: sectors, pages, and the block sizes of the format.
const BOUNDARIES: [usize; 7] = [0, 512, 4096, 8192, 16_384, 32_768, 65_536];
