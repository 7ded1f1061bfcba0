//! What a change of a sparse layer has to know of the layers below.

use std::ops::Range;

use crate::lsmt::SECTOR_SIZE;

/// The content of whole blocks in the layers below. What is not held reads as zeros there.
#[derive(Debug, Default)]
pub(crate) struct Edges(Vec<(u64, Vec<u8>)>);

impl Edges {
    /// Adds what is below from sector `start` on.
    pub(crate) fn add(&mut self, start: u64, bytes: Vec<u8>) {
        self.0.push((start, bytes));
    }

    /// Fills `out` with what is below from sector `at` on.
    pub(super) fn copy(&self, at: u64, out: &mut [u8]) {
        out.fill(0);
        for (start, bytes) in &self.0 {
            let held = bytes.get(bytes_of(at.saturating_sub(*start))..).unwrap_or_default();
            let room = out.get_mut(bytes_of(start.saturating_sub(at))..).unwrap_or_default();
            room.iter_mut().zip(held).for_each(|(out, &byte)| *out = byte);
        }
    }
}

fn bytes_of(sectors: u64) -> usize {
    usize::try_from(sectors.saturating_mul(SECTOR_SIZE)).unwrap_or(usize::MAX)
}

/// What a discard has to know: where there is something to hide.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// The blocks at both ends.
    pub(crate) edges: Edges,
    /// The sectors that have stored bytes in the layers below: ascending, without overlap.
    pub(crate) stored: Vec<Range<u64>>,
}

impl Below {
    pub(super) fn stores_any(&self, sectors: &Range<u64>) -> bool {
        self.stored.iter().any(|stored| stored.start < sectors.end && sectors.start < stored.end)
    }
}
