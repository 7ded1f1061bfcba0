//! Reading the tree back from a device.
//!
//! Only what a converter writes is read: blocks of 4 KiB, inodes of 64 bytes, contents in consecutive blocks.
//! Another filesystem is refused, because a layer on top of it would have to keep to rules that are not known here.

use std::collections::HashMap;
use std::ops::Range;

use super::blocks::{BLOCK, in_bytes};
use super::metadata::links;
use super::path::{LONGEST_NAME, LONGEST_PATH};
use super::places;
use super::tree::{Attributes, Node, NodeId, NodeKind, Place, Tree};
use crate::erofs::directory;
use crate::erofs::inode::{COMPACT, EXTENDED, InodeRecord, Layout};
use crate::erofs::superblock::{SUPERBLOCK_AT, Superblock};
use crate::erofs::xattrs;
use crate::oci_tar::Timestamp;
use crate::{Error, Limits, ReadAt, Result};

/// The files of `device`, and the blocks that are used of it.
///
/// # Errors
///
/// [`Error::Unsupported`] for what no converter writes, [`Error::Broken`], [`Error::Checksum`] of the superblock,
/// [`Error::Limit`]; whatever reading reports.
pub(super) async fn read(device: &dyn ReadAt, limits: &Limits) -> Result<(Tree, u32)> {
    let block = bytes(device, SUPERBLOCK_AT..BLOCK).await?;
    if !Superblock::detect(&block) {
        return Err(unsupported("filesystem, at byte", SUPERBLOCK_AT));
    }
    let superblock = Superblock::decode(&block)?;
    Superblock::verify(&block)?;
    let root_at = u64::from(superblock.root).saturating_mul(COMPACT);
    for (what, found, written) in [
        ("EROFS block size", superblock.block_size, BLOCK),
        ("place of EROFS inodes", superblock.meta_block.into(), 0),
        ("place of the EROFS root", root_at, places::ROOT.at),
    ] {
        if found != written {
            return Err(unsupported(what, found));
        }
    }
    let inodes = Inodes { device, used: in_bytes(superblock.blocks) };
    let (root, root_content, root_links) = inodes.read(root_at).await?;
    if !root.is_directory() {
        return Err(Error::broken("EROFS inode", root_at, "the root is no directory"));
    }
    let mut reader = Reader {
        tree: Tree::new(root, limits),
        inodes,
        known: HashMap::from([(root_at, NodeId::ROOT)]),
        links: vec![(NodeId::ROOT, root_links)],
    };
    let mut directories = vec![(NodeId::ROOT, root_at, root_at, root_content)];
    while let Some((id, at, parent_at, content)) = directories.pop() {
        let (what, value, limit) = ("number of bytes of a directory", content.size, limits.file_bytes);
        if value > limit {
            return Err(Error::Limit { what, value, limit });
        }
        let content = reader.inodes.content(&content).await?;
        reader.directory(id, at, parent_at, &content, &mut directories).await?;
    }
    let Reader { mut tree, links: stored, .. } = reader;
    for (id, stored) in stored {
        let counted = links(&tree, tree.node(id));
        if counted != stored {
            let at = tree.node(id).place.map_or(0, |place| place.at);
            let why = format!("{stored} links, and {counted} names");
            return Err(Error::broken("EROFS inode", at, why));
        }
        tree.node_mut(id).changed = false;
    }
    Ok((tree, superblock.blocks))
}

/// A directory whose entries are to be read: where it is, where the one above it is, and its content.
type Unread = (NodeId, u64, u64, Content);

struct Reader<'a> {
    tree: Tree,
    inodes: Inodes<'a>,
    /// Nodes by the places of their inodes.
    known: HashMap<u64, NodeId>,
    /// What inodes say of the number of their names.
    links: Vec<(NodeId, u32)>,
}

impl Reader<'_> {
    async fn directory(
        &mut self,
        id: NodeId,
        at: u64,
        parent_at: u64,
        content: &[u8],
        directories: &mut Vec<Unread>,
    ) -> Result<()> {
        let broken = |why: String| Error::broken("EROFS directory", at, why);
        let entries = directory::decode(content, BLOCK)?;
        if !entries.is_sorted_by(|one, next| one.name < next.name) {
            return Err(broken("its names do not ascend".to_owned()));
        }
        let mut own = 0_u8;
        for entry in entries {
            let child_at = entry.inode.saturating_mul(COMPACT);
            match entry.name {
                b"." | b".." => {
                    let expected = if entry.name == b"." { at } else { parent_at };
                    if child_at != expected {
                        return Err(broken(format!(
                            "{} is inode {}",
                            entry.name.escape_ascii(),
                            entry.inode
                        )));
                    }
                    own = own.saturating_add(1);
                    continue;
                }
                name if name.is_empty() || name.len() > LONGEST_NAME || name.contains(&b'/') => {
                    return Err(broken(format!("the name \"{}\"", name.escape_ascii())));
                }
                _ => {}
            }
            let child = match self.known.get(&child_at) {
                Some(&child) if !self.tree.node(child).is_directory() => child,
                Some(_) => return Err(broken(format!("inode {} is in two directories", entry.inode))),
                None => {
                    let (node, content, stored_links) = self.inodes.read(child_at).await?;
                    let is_directory = node.is_directory();
                    let child = self.tree.add(node)?;
                    self.known.insert(child_at, child);
                    self.links.push((child, stored_links));
                    if is_directory {
                        directories.push((child, child_at, at, content));
                    }
                    child
                }
            };
            self.tree.link(id, entry.name, child)?;
        }
        if own == 2 { Ok(()) } else { Err(broken("it has no . or no ..".to_owned())) }
    }
}

/// The inodes of a device.
struct Inodes<'a> {
    device: &'a dyn ReadAt,
    /// Bytes of the device that the filesystem uses.
    used: u64,
}

impl Inodes<'_> {
    /// The node whose inode is at byte `at`, without what is in it; where its content is; how many names it is to
    /// have.
    async fn read(&self, at: u64) -> Result<(Node, Content, u32)> {
        let broken = |why: &'static str| Error::broken("EROFS inode", at, why);
        let record = self.bytes(at..at.saturating_add(EXTENDED)).await?;
        let inode = InodeRecord::decode(&record).ok_or_else(|| broken("it is too short"))?;
        if inode.len != EXTENDED {
            return Err(unsupported("compact EROFS inode, at byte", at));
        }
        let end = at.saturating_add(EXTENDED).saturating_add(inode.attributes_len());
        let xattrs = xattrs::decode(&self.bytes(at.saturating_add(EXTENDED)..end).await?, at)?;
        let inline = match inode.layout {
            Layout::Plain => false,
            Layout::Inline => true,
            _ => return Err(unsupported("layout of the EROFS inode at byte", at)),
        };
        let content = Content { end, size: inode.size, block: inode.place, inline };
        let kind = match inode.mode & 0xf000 {
            0x4000 if inode.size <= LARGEST_DIRECTORY => {
                Node::directory(Attributes::of_missing_directory()).kind
            }
            0x8000 if !inline => {
                let range = content.whole(inode.size);
                if range.end > self.used {
                    return Err(broken("its content is outside the filesystem"));
                }
                NodeKind::File { size: inode.size, block: inode.place }
            }
            0xa000 if (1..=LONGEST_PATH as u64).contains(&inode.size) => {
                NodeKind::Symlink(self.content(&content).await?.into())
            }
            0x2000 => NodeKind::CharacterDevice(inode.place),
            0x6000 => NodeKind::BlockDevice(inode.place),
            0x1000 => NodeKind::Fifo,
            _ => return Err(broken("a mode, layout and size that do not go together")),
        };
        let attributes = Attributes {
            mode: inode.mode & 0o7777,
            uid: inode.more.uid,
            gid: inode.more.gid,
            mtime: Timestamp { seconds: inode.more.seconds, nanoseconds: inode.more.nanoseconds },
            xattrs,
        };
        let tail = if inline { inode.size % BLOCK } else { 0 };
        let len = end.saturating_add(tail).saturating_sub(at).next_multiple_of(COMPACT);
        let len = if at == places::ROOT.at { places::ROOT.len } else { len };
        let mut node = Node::new(attributes, kind);
        node.place = Some(Place { at, len, inline, block: inode.place });
        Ok((node, content, inode.more.links))
    }

    /// All of the content of a directory or link.
    async fn content(&self, content: &Content) -> Result<Vec<u8>> {
        let tail = if content.inline { content.size % BLOCK } else { 0 };
        if (content.end % BLOCK).saturating_add(tail) > BLOCK {
            return Err(Error::broken("EROFS inode", content.end, "what stands behind it is in two blocks"));
        }
        let mut stored = self.bytes(content.whole(content.size.saturating_sub(tail))).await?;
        stored.extend(self.bytes(content.end..content.end.saturating_add(tail)).await?);
        Ok(stored)
    }

    async fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if range.end > self.used {
            let why = format!("bytes {} to {} of {}", range.start, range.end, self.used);
            return Err(Error::broken("EROFS filesystem", range.start, why));
        }
        bytes(self.device, range).await
    }
}

/// What an inode says of its content.
struct Content {
    /// The end of the inode and its attributes.
    end: u64,
    size: u64,
    block: u32,
    /// Whether its last part stands behind the inode.
    inline: bool,
}

impl Content {
    /// The first `len` bytes, in blocks.
    fn whole(&self, len: u64) -> Range<u64> {
        let start = if len == 0 { 0 } else { in_bytes(self.block) };
        start..start.saturating_add(len)
    }
}

async fn bytes(device: &dyn ReadAt, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)];
    crate::check_bounds(device.size(), range.start, bytes.len())?;
    device.read_at(&mut bytes, range.start).await?;
    Ok(bytes)
}

fn unsupported(what: &'static str, value: u64) -> Error {
    Error::Unsupported { what, value }
}

/// A directory of some million files.
const LARGEST_DIRECTORY: u64 = 1 << 30;
