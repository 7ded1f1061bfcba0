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
        for (sector, out) in (at..).zip(out.chunks_mut(SECTOR_SIZE as usize)) {
            match self.sector(sector) {
                Some(bytes) => out.copy_from_slice(bytes),
                None => out.fill(0),
            }
        }
    }

    fn sector(&self, at: u64) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?.checked_mul(SECTOR_SIZE)?).ok()?;
            bytes.get(from..from.checked_add(SECTOR_SIZE as usize)?)
        })
    }
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
