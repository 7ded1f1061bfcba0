//! Writing the metadata of a layer.

use std::collections::BTreeSet;
use std::io::Write;

use super::blocks::{BLOCK, Blocks, in_bytes};
use super::places::{Places, content_size, names};
use super::tree::{Node, NodeId, NodeKind, Place, Tree};
use crate::erofs::directory;
use crate::erofs::inode::{COMPACT, InodeRecord, Layout, More};
use crate::erofs::superblock::{SUPERBLOCK_AT, Superblock};
use crate::erofs::xattrs;
use crate::lsmt::SECTOR_SIZE;
use crate::{LayerWriter, Result};

/// Writes what `tree` changed, and the superblock; gives the bytes that were written.
///
/// # Errors
///
/// [`Error::Limit`](crate::Error::Limit) if the device is full, or if attributes are too large; as
/// [`LayerWriter::write`].
pub(super) fn write<W: Write>(
    tree: &mut Tree,
    blocks: &mut Blocks,
    layer: &mut LayerWriter<W>,
) -> Result<u64> {
    let places = Places::assign(tree, blocks)?;
    let new = new(tree, &places, blocks);
    let mut written = new.len() as u64;
    if !new.is_empty() {
        layer.write(places.start, &new)?;
    }
    for (at, sectors) in again(tree, &places) {
        layer.write(at, &sectors)?;
        written = written.saturating_add(sectors.len() as u64);
    }
    let first = first_block(tree, blocks, layer.options().uuid);
    layer.write(SUPERBLOCK_AT, &first)?;
    Ok(written.saturating_add(first.len() as u64))
}

/// All blocks of the new inodes, and of directories and links that have blocks of their own.
fn new(tree: &Tree, places: &Places, blocks: &Blocks) -> Vec<u8> {
    let len = blocks.free_from().saturating_sub(places.start);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    for &id in &places.new {
        let Some((place, stored)) = encode(tree, id) else { continue };
        put(&mut bytes, places.start, place.at, &stored.inode);
        put(&mut bytes, places.start, in_bytes(place.block), &stored.blocks);
    }
    for &id in places.again.iter().chain([&NodeId::ROOT]) {
        let Some((place, stored)) = encode(tree, id) else { continue };
        put(&mut bytes, places.start, in_bytes(place.block), &stored.blocks);
    }
    bytes
}

/// The sectors of inodes that are written where they were before, one run after the other. An inode shares its
/// sectors with others, which are written as they are, and what belongs to none is cleared.
fn again(tree: &Tree, places: &Places) -> Vec<(u64, Vec<u8>)> {
    let mut sectors = BTreeSet::new();
    for &id in &places.again {
        let Some(place) = tree.node(id).place else { continue };
        let end = place.at.saturating_add(place.len).div_ceil(SECTOR_SIZE);
        sectors.extend(place.at / SECTOR_SIZE..end);
    }
    if sectors.is_empty() {
        return Vec::new();
    }
    let placed = tree.nodes().filter_map(|(id, node)| Some((node.place?, id)));
    let mut placed: Vec<_> = placed.map(|(place, id)| (place.at, place.len, id)).collect();
    placed.sort_unstable_by_key(|&(at, ..)| at);

    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for sector in sectors {
        let at = sector.saturating_mul(SECTOR_SIZE);
        match runs.last_mut() {
            Some((start, bytes)) if start.saturating_add(bytes.len() as u64) == at => {
                bytes.resize(bytes.len().saturating_add(SECTOR), 0);
            }
            _ => runs.push((at, vec![0; SECTOR])),
        }
    }
    for (start, bytes) in &mut runs {
        let end = start.saturating_add(bytes.len() as u64);
        let first = placed.partition_point(|&(at, len, _)| at.saturating_add(len) <= *start);
        let inside = placed.iter().skip(first).take_while(|&&(at, ..)| at < end);
        for &(at, _, id) in inside {
            if let Some((_, stored)) = encode(tree, id) {
                put(bytes, *start, at, &stored.inode);
            }
        }
    }
    runs
}

/// Block 0 from the superblock on.
fn first_block(tree: &Tree, blocks: &Blocks, uuid: crate::Uuid) -> Vec<u8> {
    let mut block = vec![0; usize::try_from(BLOCK.saturating_sub(SUPERBLOCK_AT)).unwrap_or_default()];
    let Some((place, stored)) = encode(tree, NodeId::ROOT) else { return block };
    let superblock = Superblock {
        block_size: BLOCK,
        meta_block: 0,
        root: u16::try_from(place.at / COMPACT).unwrap_or_default(),
        blocks: blocks.used(),
        inodes: tree.live(),
    };
    put(&mut block, SUPERBLOCK_AT, SUPERBLOCK_AT, &superblock.encode(uuid));
    put(&mut block, SUPERBLOCK_AT, place.at, &stored.inode);
    Superblock::seal(&mut block);
    block
}

/// An inode with what stands behind it, and the content that has blocks of its own.
struct Stored {
    inode: Vec<u8>,
    blocks: Vec<u8>,
}

/// None for a node without a place.
fn encode(tree: &Tree, id: NodeId) -> Option<(Place, Stored)> {
    let node = tree.node(id);
    let place = node.place?;
    let (mut blocks, block) = match &node.kind {
        NodeKind::Directory { .. } => (directory(tree, id, node), place.block),
        NodeKind::Symlink(target) => (target.to_vec(), place.block),
        NodeKind::File { block, .. } => (Vec::new(), *block),
        NodeKind::CharacterDevice(number) | NodeKind::BlockDevice(number) => (Vec::new(), *number),
        NodeKind::Fifo | NodeKind::Removed => (Vec::new(), 0),
    };
    let size = if let NodeKind::File { size, .. } = node.kind { size } else { blocks.len() as u64 };
    debug_assert!(node.entries().is_none() || size == content_size(tree, id));
    // The attributes were encoded before, when the place was looked for.
    let attributes = xattrs::encode(&node.attributes.xattrs).unwrap_or_default();
    let tail = if place.inline { blocks.split_off(whole(blocks.len())) } else { Vec::new() };
    let record = InodeRecord {
        layout: if place.inline { Layout::Inline } else { Layout::Plain },
        attributes: xattrs::count(attributes.len()),
        mode: node.mode(),
        size,
        place: block,
        more: More {
            uid: node.attributes.uid,
            gid: node.attributes.gid,
            seconds: node.attributes.mtime.seconds,
            nanoseconds: node.attributes.mtime.nanoseconds,
            links: links(tree, node),
        },
        len: crate::erofs::inode::EXTENDED,
    };
    let inode = [record.encode(place.at / COMPACT).as_slice(), &attributes, &tail].concat();
    Some((place, Stored { inode, blocks }))
}

fn directory(tree: &Tree, id: NodeId, node: &Node) -> Vec<u8> {
    let mut writer = directory::Writer::default();
    let NodeKind::Directory { entries, parent } = &node.kind else { return Vec::new() };
    for name in names(entries.keys().map(AsRef::as_ref)) {
        let of = match name {
            b"." => id,
            b".." => *parent,
            _ => entries.get(name).copied().unwrap_or(id),
        };
        let child = tree.node(of);
        writer.push(name, child.place.map_or(0, |place| place.at / COMPACT), child.mode());
    }
    writer.finish()
}

/// Names of a file; of a directory its own two and one in each directory below.
pub(super) fn links(tree: &Tree, node: &Node) -> u32 {
    match node.entries() {
        None => node.links,
        Some(entries) => {
            let below = entries.values().filter(|&&child| tree.node(child).is_directory()).count();
            u32::try_from(below.saturating_add(2)).unwrap_or(u32::MAX)
        }
    }
}

/// Copies `bytes`, which belong at byte `at` of the device, into what of it is in `region`, which starts at
/// `start`.
fn put(region: &mut [u8], start: u64, at: u64, bytes: &[u8]) {
    let skip = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
    let from = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
    for (to, &byte) in region.iter_mut().skip(from).zip(bytes.iter().skip(skip)) {
        *to = byte;
    }
}

/// Bytes of whole blocks.
fn whole(len: usize) -> usize {
    len.saturating_sub(usize::try_from(len as u64 % BLOCK).unwrap_or_default())
}

const SECTOR: usize = 512;
