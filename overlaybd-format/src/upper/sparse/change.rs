//! Writes and discards of a sparse layer, block by block.
//!
//! A block that is a hole comes to be in one write to the file, because a crash between two writes
//! would leave zeros where the second one was to put bytes.

use std::ops::Range;

use super::below::{Below, Edges};
use super::{FIRST_BYTE, Sparse, map};
use crate::lsmt::SECTOR_SIZE;
use crate::upper::locks::{exclusive, lock};
use crate::upper::mappings::Found;
use crate::upper::state::State;
use crate::upper::{BLOCK, sectors_of};
use crate::{Error, Result};

impl Sparse {
    /// The blocks that `sectors` cover in part and of which the layers below have sectors.
    pub(crate) fn edges(&self, sectors: Range<u64>) -> Vec<Range<u64>> {
        let whole = whole_blocks(&sectors);
        let first = whole.start..whole.start.saturating_add(BLOCK_SECTORS);
        let last = whole.end.saturating_sub(BLOCK_SECTORS)..whole.end;
        let mut edges = Vec::new();
        if self.has_gap(first.start..sectors.start) || self.has_gap(sectors.end..first.end) {
            edges.push(first.clone());
        }
        if first != last && self.has_gap(sectors.end..last.end) {
            edges.push(last);
        }
        edges
    }

    pub(crate) fn write_over(&self, offset: u64, bytes: &[u8], edges: &Edges) -> Result<()> {
        let sectors = sectors_of(offset, bytes.len() as u64)?;
        let mut state = lock(&self.state);
        state.check()?;
        self.write_locked(&mut state, sectors, bytes, edges)
    }

    pub(crate) fn discard_over(&self, offset: u64, len: u64, below: &Below) -> Result<()> {
        let sectors = sectors_of(offset, len)?;
        let mut state = lock(&self.state);
        state.check()?;
        let start = sectors.start.next_multiple_of(BLOCK_SECTORS).min(sectors.end);
        let end = (sectors.end / BLOCK_SECTORS).saturating_mul(BLOCK_SECTORS).max(start);

        self.discard_part(&mut state, sectors.start..start, below)?;
        let mut at = start;
        for stored in &below.stored {
            let blocks = whole_blocks(stored);
            let blocks = blocks.start.clamp(at, end)..blocks.end.clamp(at, end);
            self.dig(at..blocks.start)?;
            self.zero(&mut state, blocks.clone())?;
            at = blocks.end;
        }
        self.dig(at..end)?;
        self.discard_part(&mut state, end..sectors.end, below)
    }

    /// Discards sectors of one block. Zeros are stored unless the block is a hole over zeros.
    fn discard_part(&self, state: &mut State, sectors: Range<u64>, below: &Below) -> Result<()> {
        if sectors.is_empty() {
            return Ok(());
        }
        let unmapped = self.find(sectors.start, sectors.end) == Found::Gap(sectors.end);
        if unmapped && !below.stores_any(&sectors) {
            return Ok(());
        }
        let zeros = vec![0; bytes_in(&sectors)];
        self.write_locked(state, sectors, &zeros, &below.edges)
    }

    fn write_locked(
        &self,
        state: &mut State,
        sectors: Range<u64>,
        bytes: &[u8],
        edges: &Edges,
    ) -> Result<()> {
        if sectors.is_empty() {
            return Ok(());
        }
        let whole = whole_blocks(&sectors);
        let front = if self.has_gap(whole.start..sectors.start) { whole.start } else { sectors.start };
        let back = if self.has_gap(sectors.end..whole.end) { whole.end } else { sectors.end };
        if (front..back) == sectors {
            return self.store(state, sectors, bytes);
        }
        let mut widened = vec![0; bytes_in(&(front..back))];
        let (head, rest) = widened.split_at_mut(bytes_in(&(front..sectors.start)));
        let (middle, tail) = rest.split_at_mut(bytes.len());
        self.fill(front..sectors.start, head, edges)?;
        middle.copy_from_slice(bytes);
        self.fill(sectors.end..back, tail, edges)?;
        self.store(state, front..back, &widened)
    }

    /// Fills `out` with what `sectors` read as, here or below.
    fn fill(&self, sectors: Range<u64>, mut out: &mut [u8], edges: &Edges) -> Result<()> {
        let mut at = sectors.start;
        while at < sectors.end {
            let found = self.find(at, sectors.end);
            let end = match found {
                Found::Mapped(segment) => segment.end(),
                Found::Gap(end) => end,
            };
            let (part, rest) = out.split_at_mut(bytes_in(&(at..end)));
            match found {
                Found::Mapped(segment) => {
                    self.data.read(part, segment.stored_at().saturating_mul(SECTOR_SIZE))?
                }
                Found::Gap(_) => edges.copy(at, part),
            }
            (at, out) = (end, rest);
        }
        Ok(())
    }

    /// Stores zeros in whole blocks.
    fn zero(&self, state: &mut State, blocks: Range<u64>) -> Result<()> {
        let zeros = vec![0; bytes_in(&blocks).min(ZEROS)];
        let mut at = blocks.start;
        while at < blocks.end {
            let end = blocks.end.min(at.saturating_add(ZEROS as u64 / SECTOR_SIZE));
            let part = at..end;
            self.store(state, part.clone(), zeros.get(..bytes_in(&part)).unwrap_or_default())?;
            at = end;
        }
        Ok(())
    }

    /// Makes whole blocks a hole. The file comes first: the mapping must not be gone while the bytes
    /// are there to be found by the next one who opens it.
    fn dig(&self, blocks: Range<u64>) -> Result<()> {
        if blocks.is_empty() || self.find(blocks.start, blocks.end) == Found::Gap(blocks.end) {
            return Ok(());
        }
        self.data.dig(place(&blocks))?;
        exclusive(&self.mappings).remove(blocks);
        Ok(())
    }

    fn store(&self, state: &mut State, sectors: Range<u64>, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.data.write(bytes, place(&sectors).start) {
            // Blocks that were holes may be there in part now. They must be holes again.
            return match self.restore_holes(whole_blocks(&sectors)) {
                Ok(()) => Err(error),
                Err(_) => Err(state.fail(error)),
            };
        }
        map(&mut exclusive(&self.mappings), sectors);
        Ok(())
    }

    /// Makes holes of the blocks that were holes. One that is mapped in part, as in a file that ends
    /// inside of it, cannot become one again.
    fn restore_holes(&self, blocks: Range<u64>) -> Result<()> {
        let mut at = blocks.start;
        while at < blocks.end {
            at = match self.find(at, blocks.end) {
                Found::Mapped(segment) => segment.end(),
                Found::Gap(end) if whole_blocks(&(at..end)) == (at..end) => {
                    self.data.dig(place(&(at..end)))?;
                    end
                }
                Found::Gap(_) => {
                    let why = "a part of a block was written";
                    return Err(Error::Refused { operation: "go on with the layer", why });
                }
            };
        }
        Ok(())
    }

    fn has_gap(&self, sectors: Range<u64>) -> bool {
        let mut at = sectors.start;
        while at < sectors.end {
            match self.find(at, sectors.end) {
                Found::Mapped(segment) => at = segment.end(),
                Found::Gap(_) => return true,
            }
        }
        false
    }
}

fn whole_blocks(sectors: &Range<u64>) -> Range<u64> {
    let start = (sectors.start / BLOCK_SECTORS).saturating_mul(BLOCK_SECTORS);
    start..sectors.end.next_multiple_of(BLOCK_SECTORS)
}

/// Where `sectors` are in the file.
fn place(sectors: &Range<u64>) -> Range<u64> {
    let byte = |sector: u64| FIRST_BYTE.saturating_add(sector.saturating_mul(SECTOR_SIZE));
    byte(sectors.start)..byte(sectors.end)
}

fn bytes_in(sectors: &Range<u64>) -> usize {
    let len = sectors.end.saturating_sub(sectors.start).saturating_mul(SECTOR_SIZE);
    usize::try_from(len).unwrap_or(usize::MAX)
}

const BLOCK_SECTORS: u64 = BLOCK / SECTOR_SIZE;
/// Bytes of zeros that are written at a time.
const ZEROS: usize = 1 << 20;
