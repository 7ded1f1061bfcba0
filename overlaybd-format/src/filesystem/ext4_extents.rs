//! The extent tree of an ext4 file.
//!
//! ```text
//! inode ─► header │ entry │ entry │ …        depth 1: entries name nodes
//!                     └─► header │ entry │ … depth 0: entries name runs of blocks
//! ```
//!
//! Every node but the root has an entry and the runs ascend through the whole tree, so a tree that
//! loops or names a node twice is seen after as many nodes as a sound one has.

use std::ops::Range;

use super::{read, u16_at, u32_at};
use crate::{Error, ReadAt, Result};

/// The bytes of the device that hold a file of `size` bytes, whose inode has `map` at byte `map_at`.
pub(super) async fn ranges(
    device: &dyn ReadAt,
    block_size: u64,
    map: &[u8; MAP_SIZE],
    map_at: u64,
    size: u64,
) -> Result<Vec<Range<u64>>> {
    let mut tree = Tree { block_size, size, device_size: device.size(), free_from: 0, ranges: Vec::new() };
    // The nodes still to be read, the next one last, each with the depth it must have.
    let mut pending = Vec::new();
    tree.add(map, map_at, None, &mut pending)?;
    while let Some((at, depth)) = pending.pop() {
        let node = read(device, at..at.saturating_add(block_size)).await?;
        tree.add(&node, at, Some(depth), &mut pending)?;
    }
    Ok(tree.ranges)
}

struct Tree {
    block_size: u64,
    /// Of the file.
    size: u64,
    device_size: u64,
    /// The first block of the file that a further run may have.
    free_from: u64,
    ranges: Vec<Range<u64>>,
}

impl Tree {
    /// Takes the runs of the node at byte `at`, or the nodes that it names.
    fn add(&mut self, node: &[u8], at: u64, depth: Option<u16>, pending: &mut Vec<(u64, u16)>) -> Result<()> {
        let broken = |why: String| Error::broken("ext4 extent node", at, why);
        let (entries, found) =
            entries(node).ok_or_else(|| broken("no header, or more entries than fit".to_owned()))?;
        if depth.is_some_and(|depth| depth != found || entries.is_empty()) || found > DEEPEST {
            return Err(broken(format!("{} entries at depth {found}, under {depth:?}", entries.len())));
        }
        let Some(below) = found.checked_sub(1) else {
            return entries.iter().try_for_each(|entry| self.run(entry, at));
        };
        for entry in entries.iter().rev() {
            let low = u32_at(entry, 4).unwrap_or_default();
            let high = u16_at(entry, 8).unwrap_or_default();
            pending.push(((u64::from(high) << 32 | u64::from(low)).saturating_mul(self.block_size), below));
        }
        Ok(())
    }

    fn run(&mut self, entry: &[u8; ENTRY_SIZE], at: u64) -> Result<()> {
        let broken = |why: String| Error::broken("ext4 extent node", at, why);
        let first = u64::from(u32_at(entry, 0).unwrap_or_default());
        let len = u16_at(entry, 4).unwrap_or_default();
        // A longer run is one that was allocated and not written: it reads as zeros.
        let (len, written) = match len.checked_sub(LONGEST) {
            None | Some(0) => (u64::from(len), true),
            Some(len) => (u64::from(len), false),
        };
        let high = u16_at(entry, 6).unwrap_or_default();
        let low = u32_at(entry, 8).unwrap_or_default();
        if first < self.free_from || len == 0 {
            return Err(broken(format!("{len} blocks at {first} of the file, after {}", self.free_from)));
        }
        self.free_from = first.saturating_add(len);

        let wanted = self.size.saturating_sub(first.saturating_mul(self.block_size));
        let bytes = len.saturating_mul(self.block_size).min(wanted);
        let start = (u64::from(high) << 32 | u64::from(low)).saturating_mul(self.block_size);
        let end = start.saturating_add(bytes);
        if end > self.device_size {
            return Err(broken(format!("{bytes} bytes at {start} of the device")));
        }
        if !written || bytes == 0 {
            return Ok(());
        }
        if let Some(last) = self.ranges.last_mut().filter(|last| last.end == start) {
            last.end = end;
        } else if self.ranges.len() < super::MOST_RANGES {
            self.ranges.push(start..end);
        } else {
            let limit = super::MOST_RANGES as u64;
            return Err(Error::Limit { what: "extents of a file", value: limit.saturating_add(1), limit });
        }
        Ok(())
    }
}

/// The entries of a node and its depth.
fn entries(node: &[u8]) -> Option<(&[[u8; ENTRY_SIZE]], u16)> {
    let (head, rest) = node.split_first_chunk::<ENTRY_SIZE>()?;
    let count = usize::from(u16_at(head, 2)?);
    let entries = rest.as_chunks().0.get(..count).filter(|_| u16_at(head, 0) == Some(MAGIC))?;
    Some((entries, u16_at(head, 6)?))
}

/// Bytes of the map of an inode.
pub(super) const MAP_SIZE: usize = 60;

const MAGIC: u16 = 0xf30a;
/// Headers, and entries of both kinds.
const ENTRY_SIZE: usize = 12;
const DEEPEST: u16 = 5;
/// Blocks in a run.
const LONGEST: u16 = 1 << 15;
