//! Where inodes and directories go.
//!
//! ```text
//!  block 0              data of the layer, in tar order     inodes, in the order of the tree   directories
//!  ┌ superblock, root ┐ ┌ file ┬ file ┬ … ┐                 ┌ inode ┬ inode ┬ … ┐              ┌ block ┬ … ┐
//! ```
//!
//! An inode stays where it is for as long as it fits there, because its place is its number, which other layers
//! have written into directories. Those of files never grow. A directory that grows is stored in blocks instead of
//! behind its inode; one that gets more attributes than it has room for moves, and its neighbours in the tree follow.

use super::blocks::{BLOCK, Blocks, in_bytes};
use super::tree::{NodeId, NodeKind, Place, Tree};
use crate::erofs::inode::{COMPACT, EXTENDED};
use crate::erofs::superblock::{SUPERBLOCK_AT, SUPERBLOCK_LEN};
use crate::erofs::{directory, xattrs};
use crate::{Error, Result};

/// What a layer writes of the tree.
#[derive(Debug)]
pub(super) struct Places {
    /// New and moved inodes, by their places.
    pub(super) new: Vec<NodeId>,
    /// Inodes that are written again where they are, other than the root.
    pub(super) again: Vec<NodeId>,
    /// Where the new inodes start, in bytes of the device.
    pub(super) start: u64,
}

impl Places {
    /// Gives each changed node a place in `blocks`, and takes it for unchanged from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if the device is full, or if attributes are too large.
    pub(super) fn assign(tree: &mut Tree, blocks: &mut Blocks) -> Result<Self> {
        displace(tree)?;
        let changed = changed(tree);
        let mut places = Self { new: Vec::new(), again: Vec::new(), start: blocks.free_from() };
        let mut at = places.start;
        let mut outside = Vec::new();
        for id in changed {
            let old = tree.node(id).place;
            let form = Form::of(tree, id, old.map_or(BLOCK, |place| place.len))?;
            if form.blocks > 0 {
                outside.push((id, form.blocks));
            }
            let (at_now, len) = match old {
                Some(place) if id == NodeId::ROOT => (place.at, place.len),
                Some(place) => {
                    places.again.push(id);
                    (place.at, form.len)
                }
                None => {
                    let in_block = at % BLOCK;
                    if in_block > 0 && in_block.saturating_add(form.len) > BLOCK {
                        at = at.saturating_sub(in_block).saturating_add(BLOCK);
                    }
                    let here = at;
                    at = at.saturating_add(form.len);
                    places.new.push(id);
                    (here, form.len)
                }
            };
            tree.node_mut(id).place = Some(Place { at: at_now, len, inline: form.inline, block: 0 });
        }
        blocks.take(at.saturating_sub(places.start))?;
        for (id, len) in outside {
            let block = blocks.take(in_bytes(len))?;
            if let Some(place) = &mut tree.node_mut(id).place {
                place.block = block;
            }
        }
        Ok(places)
    }
}

/// The place of a root that no layer has written yet: what the superblock leaves of block 0.
pub(super) const ROOT: Place = {
    let at = SUPERBLOCK_AT + SUPERBLOCK_LEN as u64;
    Place { at, len: BLOCK - at, inline: false, block: 0 }
};

/// How an inode and what belongs to it are stored.
struct Form {
    /// Bytes of the inode, with all that stands behind it.
    len: u64,
    inline: bool,
    /// Blocks of content besides.
    blocks: u32,
}

impl Form {
    /// The form of a node that may take `room` bytes. An inode larger than that has a place of its own.
    fn of(tree: &Tree, id: NodeId, room: u64) -> Result<Self> {
        let inode = inode_len(tree, id)?;
        let size = content_size(tree, id);
        let tail = size % BLOCK;
        let whole = size.saturating_sub(tail);
        // What stands behind an inode must not reach into another block, as one with much room might.
        let inline = tail > 0 && inode.saturating_add(tail) <= room.min(BLOCK);
        let outside = if inline { whole } else { size }.div_ceil(BLOCK);
        let limit = u64::from(u32::MAX);
        let blocks = u32::try_from(outside);
        let blocks =
            blocks.map_err(|_| Error::Limit { what: "blocks of a directory", value: outside, limit })?;
        let len = inode.saturating_add(if inline { tail } else { 0 }).next_multiple_of(COMPACT);
        Ok(Self { len, inline, blocks })
    }
}

/// Bytes of the content of a directory or link, which is metadata.
pub(super) fn content_size(tree: &Tree, id: NodeId) -> u64 {
    match &tree.node(id).kind {
        NodeKind::Directory { entries, .. } => directory::size(names(entries.keys().map(AsRef::as_ref))),
        NodeKind::Symlink(target) => target.len() as u64,
        _ => 0,
    }
}

/// `names`, which ascend, with the two that every directory has, in their places.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let mut names = names.peekable();
    let mut own = [b".".as_slice(), b".."].into_iter().peekable();
    std::iter::from_fn(move || match (own.peek(), names.peek()) {
        (Some(own_name), Some(name)) if name < own_name => names.next(),
        (Some(_), _) => own.next(),
        (None, _) => names.next(),
    })
}

fn inode_len(tree: &Tree, id: NodeId) -> Result<u64> {
    Ok(EXTENDED.saturating_add(xattrs::encode(&tree.node(id).attributes.xattrs)?.len() as u64))
}

/// Takes their places from inodes that do not fit there any more, and notes who has their numbers.
fn displace(tree: &mut Tree) -> Result<()> {
    let mut displaced = Vec::new();
    for (id, node) in tree.nodes() {
        let Some(place) = node.place.filter(|_| node.changed) else { continue };
        let value = inode_len(tree, id)?;
        if value <= place.len {
            continue;
        }
        if id == NodeId::ROOT {
            return Err(Error::Limit { what: "bytes in the inode of the root", value, limit: place.len });
        }
        displaced.push(id);
    }
    for id in displaced {
        let node = tree.node_mut(id);
        node.place = None;
        let NodeKind::Directory { entries, parent } = &node.kind else { continue };
        let neighbours: Vec<_> = entries.values().copied().chain([*parent]).collect();
        for neighbour in neighbours {
            let node = tree.node_mut(neighbour);
            node.changed |= node.is_directory();
        }
    }
    Ok(())
}

/// The changed nodes, in the order of the tree: what is in a directory stands together.
fn changed(tree: &mut Tree) -> Vec<NodeId> {
    let mut changed = Vec::new();
    let mut directories = vec![NodeId::ROOT];
    // The root holds what follows from every layer.
    tree.node_mut(NodeId::ROOT).changed = false;
    changed.push(NodeId::ROOT);
    while let Some(directory) = directories.pop() {
        let children: Vec<_> = tree
            .node(directory)
            .entries()
            .into_iter()
            .flat_map(|entries| entries.values().copied())
            .collect();
        for &child in &children {
            if std::mem::take(&mut tree.node_mut(child).changed) {
                changed.push(child);
            }
        }
        directories.extend(children.into_iter().rev().filter(|&child| tree.node(child).is_directory()));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_stand_among_the_others() {
        let sorted = |given: &[&'static str]| {
            names(given.iter().map(|name| name.as_bytes()))
                .map(|name| str::from_utf8(name).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(sorted(&[]), [".", ".."]);
        assert_eq!(sorted(&["a"]), [".", "..", "a"]);
        assert_eq!(sorted(&["+", ".", "a"][..1]), ["+", ".", ".."]);
        assert_eq!(sorted(&["!", ".!", "..!", "a"]), ["!", ".", ".!", "..", "..!", "a"]);
    }
}
