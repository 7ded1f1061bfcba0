//! The contract of [`ReadWriteAt`].

use std::ops::Range;

use futures::future::join_all;
use futures::poll;

use super::is_out_of_bounds;
use crate::{Error, ReadWriteAt, Warm};

/// Checks that `device` keeps the contract of [`ReadWriteAt`], whatever it holds. What it holds
/// afterwards is of no use.
///
/// The suite needs no particular runtime: it awaits only calls of `device`, which should have at
/// least some hundred sectors.
///
/// # Panics
///
/// If the contract is broken; the message says which promise, for which range.
pub async fn read_write_at(device: &dyn ReadWriteAt) {
    let size = device.size();
    assert!(size >= 64 * SECTOR, "size: {size} bytes are too few to tell");
    let mut model = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    if let Err(error) = device.read_at(&mut model, 0).await {
        panic!("exactness: reading the whole device failed: {error}");
    }
    bounds(device).await;
    same(device, &model, "bounds: after calls that were refused").await;
    order(device, &mut model).await;
    dropped_futures(device, &mut model).await;
    concurrency(device, &mut model).await;
    if let Err(error) = device.flush() {
        panic!("durability: flush failed: {error}");
    }
    same(device, &model, "durability: after a flush").await;
    assert!(device.size() == size, "size: it changed to {}", device.size());
}

async fn bounds(device: &dyn ReadWriteAt) {
    let size = device.size();
    for (offset, sectors) in
        [(size, 1), (size - SECTOR, 2), (u64::MAX - SECTOR + 1, 1), (0, size / SECTOR + 1)]
    {
        let bytes = vec![0xee; usize::try_from(sectors * SECTOR).unwrap_or(usize::MAX)];
        let mut buf = bytes.clone();
        for (call, result) in [
            ("read_at", device.read_at(&mut buf, offset).await),
            ("write_at", device.write_at(&bytes, offset).await),
            ("discard", device.discard(offset, sectors * SECTOR).await),
        ] {
            match result {
                // The format cannot number the last sectors that an offset can.
                Err(error) if is_out_of_bounds(&error) || is_invalid(&error) => {}
                other => panic!("bounds: {call} of {sectors} sectors at {offset} of {size} gave {other:?}"),
            }
        }
    }
    for (offset, len) in [(1, 512), (0, 511), (513, 511)] {
        for (call, result) in [
            ("write_at", device.write_at(&vec![0xee; len], offset).await),
            ("discard", device.discard(offset, len as u64).await),
        ] {
            match result {
                Err(error) if is_invalid(&error) => {}
                other => panic!("bounds: {call} of {len} bytes at {offset} gave {other:?}, not InvalidWrite"),
            }
        }
    }
    for result in
        [device.write_at(&[], 0).await, device.discard(size, 0).await, device.read_at(&mut [], size).await]
    {
        if let Err(error) = result {
            panic!("bounds: a call for no bytes failed: {error}");
        }
    }
}

/// Writes and discards that overlap in every way, each seen by the reads after it.
async fn order(device: &dyn ReadWriteAt, model: &mut [u8]) {
    let sectors = model.len() as u64 / SECTOR;
    for step in 0..120 {
        // Lengths from one sector to several blocks, at places that wander over the device.
        let start = step * 37 % (sectors - 24);
        let len = 1 + step * 7 % 23;
        let range = bytes_of(start..start + len);
        let offset = start * SECTOR;
        let result = if step % 3 == 2 {
            model[range.clone()].fill(0);
            device.discard(offset, len * SECTOR).await
        } else {
            fill(&mut model[range.clone()], step);
            device.write_at(&model[range.clone()], offset).await
        };
        if let Err(error) = result {
            panic!("exactness: changing {len} sectors at sector {start} failed: {error}");
        }
        let around = bytes_of(start.saturating_sub(9)..(start + len + 9).min(sectors));
        check(device, model, around, "order: a read after a change").await;
    }
    same(device, model, "order: after all changes").await;
}

/// A write that is dropped has happened or not, in each sector.
async fn dropped_futures(device: &dyn ReadWriteAt, model: &mut [u8]) {
    let mut bytes = vec![0; 20 * SECTOR as usize];
    fill(&mut bytes, 200);
    drop(device.write_at(&bytes, 3 * SECTOR));
    same(device, model, "cancellation: after a write that was never polled").await;
    let _ = poll!(device.write_at(&bytes, 3 * SECTOR));
    let mut found = vec![0; model.len()];
    if let Err(error) = device.read_at(&mut found, 0).await {
        panic!("cancellation: a read failed after a write was dropped: {error}");
    }
    for (sector, found) in found.chunks(SECTOR as usize).enumerate() {
        let range = bytes_of(sector as u64..sector as u64 + 1);
        let new = sector.checked_sub(3).and_then(|at| bytes.get(bytes_of(at as u64..at as u64 + 1)));
        let legal = found == &model[range.clone()] || Some(found) == new;
        assert!(legal, "cancellation: sector {sector} is neither as before nor as written");
        model[range].copy_from_slice(found);
    }
}

/// Writes of neighbouring sectors beside one another, with reads between.
async fn concurrency(device: &dyn ReadWriteAt, model: &mut [u8]) {
    let writes = model.chunks_mut(3 * SECTOR as usize).zip(0..20).map(|(bytes, number)| {
        fill(bytes, 300 + number);
        let bytes = &*bytes;
        async move {
            let offset = number * 3 * SECTOR;
            let mut buf = vec![0; bytes.len()];
            device.write_at(bytes, offset).await?;
            device.read_at(&mut buf, offset).await?;
            assert!(
                buf == bytes,
                "concurrency: {} bytes at {offset} were not seen by their writer",
                bytes.len()
            );
            Ok::<_, Error>(())
        }
    });
    for result in join_all(writes).await {
        if let Err(error) = result {
            panic!("concurrency: a write beside others failed: {error}");
        }
    }
    same(device, model, "concurrency: after writes beside one another").await;
}

async fn same(device: &dyn ReadWriteAt, model: &[u8], promise: &str) {
    check(device, model, 0..model.len(), promise).await;
}

async fn check(device: &dyn ReadWriteAt, model: &[u8], range: Range<usize>, promise: &str) {
    // Twice with opposite fill, so that a byte that was left alone differs at least once.
    for fill in [0x00, 0xff] {
        let mut buf = vec![fill; range.len()];
        if let Err(error) = device.read_at(&mut buf, range.start as u64).await {
            panic!("{promise}: reading {range:?} failed: {error}");
        }
        super::check(&buf, &model[range.clone()], &range, promise);
        buf.fill(fill);
        match device.try_read_at(&mut buf, range.start as u64) {
            Ok(Warm::Yes) => super::check(&buf, &model[range.clone()], &range, promise),
            Ok(Warm::No) => {}
            Err(error) => panic!("{promise}: try_read_at of {range:?} failed: {error}"),
        }
    }
}

/// Bytes of which no two sectors and no two fills are the same.
fn fill(bytes: &mut [u8], number: u64) {
    for (at, word) in bytes.chunks_mut(8).enumerate() {
        word.copy_from_slice(&(number << 32 | (at as u64 + 1)).to_be_bytes());
    }
}

fn bytes_of(sectors: Range<u64>) -> Range<usize> {
    (sectors.start * SECTOR) as usize..(sectors.end * SECTOR) as usize
}

fn is_invalid(error: &Error) -> bool {
    matches!(error.root(), Error::InvalidWrite { .. })
}

const SECTOR: u64 = 512;
