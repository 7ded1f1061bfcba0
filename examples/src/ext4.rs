//! A tree as an ext4 device that grows layer by layer.
//!
//! ```text
//! state 1  [meta][files of layer 1]                            ─┐ layer 1 = all of it
//! state 2  [meta'][files of layer 1][files of layer 2]         ─┤ layer 2 = meta' + its files
//! state 3  [meta''][files of layer 1][layer 2][layer 3]        ─┘ layer 3 = meta'' + its files
//! ```
//!
//! Each state is a complete filesystem over the same device size, laid out by one deterministic
//! allocator, so that files of lower layers keep their blocks. A layer is the difference between two
//! states. States hold file *places* instead of file bytes: the difference is exact without reading
//! any file, and each file is read once, when its layer is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Options, ROOT, RegionSink};

use crate::tree::{Meta, SourceFile, Tree};

/// An ext4 device with the files of the lowest layers of a tree.
#[derive(Debug)]
pub struct Ext4State<'t> {
    files: Vec<&'t SourceFile>,
    /// By block number; a block that is not listed is zero.
    blocks: BTreeMap<u64, Block>,
    size: u64,
}

/// What writing a layer has to do to the device below it. Offsets and lengths are in bytes and
/// multiples of [`BLOCK_SIZE`].
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// New bytes.
    Write {
        /// First byte on the device.
        offset: u64,
        /// The content.
        bytes: &'a [u8],
    },
    /// A range of zeros over something else.
    Zero {
        /// First byte on the device.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

impl<'t> Ext4State<'t> {
    /// The filesystem with the files of the lowest `layers` layers of `tree`.
    ///
    /// # Errors
    ///
    /// If the tree has something that ext4 cannot hold, such as a name over 255 bytes.
    pub fn new(tree: &'t Tree, layers: usize) -> Result<Self> {
        let size = device_size(tree);
        let files: Vec<_> = tree.layers.iter().take(layers).flat_map(|layer| &layer.files).collect();
        let (layout, handles) = lay_out(tree, &files, size)?;

        let mut metadata = MetadataSink::default();
        layout.writer(&mut metadata)?;
        let mut blocks = metadata.blocks;
        for (file, handle) in handles.into_iter().enumerate() {
            let mut offset = 0;
            for (start, len) in layout.extents(handle) {
                for block in 0..len.div_ceil(BLOCK_SIZE) {
                    blocks.insert(
                        start / BLOCK_SIZE + block,
                        Block::File { file, offset: offset + block * BLOCK_SIZE },
                    );
                }
                offset += len;
            }
        }
        Ok(Self { files, blocks, size })
    }

    /// Size of the device in bytes; the same for all states of a tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Names every change from `below` (the empty device if `None`) to this state, in ascending
    /// order. Blocks of zeros over zeros are left out, so sparse content stays sparse.
    ///
    /// # Errors
    ///
    /// If a source file cannot be read or is no longer as long as it was, or `emit` fails.
    pub fn changes(
        &self,
        below: Option<&Ext4State<'_>>,
        mut emit: impl FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        let nothing = BTreeMap::new();
        let old = below.map_or(&nothing, |below| &below.blocks);
        let mut numbers: Vec<u64> = self.blocks.keys().chain(old.keys()).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| self.blocks.get(number) != old.get(number));

        let mut reader = BlockReader { files: &self.files, open: None };
        let mut run = Run::default();
        for number in numbers {
            let mut bytes = [0; BLOCK_SIZE as usize];
            if let Some(block) = self.blocks.get(&number) {
                reader.read(block, &mut bytes)?;
            }
            if bytes != ZEROS {
                run.push(number, &bytes, &mut emit)?;
            } else if old.contains_key(&number) {
                run.flush(&mut emit)?;
                emit(Change::Zero { offset: number * BLOCK_SIZE, len: BLOCK_SIZE })?;
            }
        }
        run.flush(&mut emit)
    }
}

/// Where the bytes of a block come from.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    Metadata(Box<[u8]>),
    /// Index into the files of the state, and the offset in that file. Lower layers come first, so
    /// an index means the same file in every state that has it.
    File {
        file: usize,
        offset: u64,
    },
}

/// Keeps the metadata blocks that the writer emits, without the zeros.
#[derive(Debug, Default)]
struct MetadataSink {
    blocks: BTreeMap<u64, Block>,
}

impl RegionSink for MetadataSink {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        for (number, block) in (offset / BLOCK_SIZE..).zip(bytes.chunks(BLOCK_SIZE as usize)) {
            if block != ZEROS {
                self.blocks.insert(number, Block::Metadata(block.into()));
            }
        }
        Ok(())
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads blocks, keeping the file of the last one open.
struct BlockReader<'a> {
    files: &'a [&'a SourceFile],
    open: Option<(usize, File)>,
}

impl BlockReader<'_> {
    fn read(&mut self, block: &Block, into: &mut [u8]) -> Result<()> {
        let (index, offset) = match block {
            Block::Metadata(bytes) => {
                into.copy_from_slice(bytes);
                return Ok(());
            }
            Block::File { file, offset } => (*file, *offset),
        };
        let source = self.files.get(index).context("a block of a file outside the tree")?;
        let file = match &self.open {
            Some((open, file)) if *open == index => file,
            _ => {
                let file = source.open()?;
                ensure!(
                    file.metadata()?.len() == source.size,
                    "{} changed its length",
                    source.source.display()
                );
                &self.open.insert((index, file)).1
            }
        };
        let len = (source.size - offset).min(BLOCK_SIZE) as usize;
        let (content, _padding) = into.split_at_mut(len);
        file.read_exact_at(content, offset).with_context(|| format!("reading {}", source.source.display()))
    }
}

/// Consecutive blocks that wait to be emitted as one change.
#[derive(Default)]
struct Run {
    offset: u64,
    bytes: Vec<u8>,
}

impl Run {
    fn push(
        &mut self,
        number: u64,
        block: &[u8],
        emit: &mut impl FnMut(Change<'_>) -> Result<()>,
    ) -> Result<()> {
        let follows = self.offset + self.bytes.len() as u64 == number * BLOCK_SIZE;
        if !follows || self.bytes.len() >= LONGEST_RUN {
            self.flush(emit)?;
            self.offset = number * BLOCK_SIZE;
        }
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    fn flush(&mut self, emit: &mut impl FnMut(Change<'_>) -> Result<()>) -> Result<()> {
        if !self.bytes.is_empty() {
            emit(Change::Write { offset: self.offset, bytes: &self.bytes })?;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// Declares the whole namespace: directories and links of the tree, and `files`.
fn lay_out(tree: &Tree, files: &[&SourceFile], size: u64) -> Result<(Layout, Vec<InodeHandle>)> {
    let mut options = Options::new(size, FILESYSTEM_UUID, 0);
    options.inodes = InodeCount::Exact(inodes(tree));
    options.reserved_percent = 0;
    options.journal_blocks = Some(JOURNAL_BLOCKS);
    let mut builder = FsBuilder::new(options)?;

    let mut directories = BTreeMap::from([("", ROOT)]);
    for directory in &tree.directories {
        let (parent, name) = place(&directories, &directory.path)?;
        let handle = builder.mkdir(parent, name, ext4_meta(directory.meta))?;
        directories.insert(&directory.path, handle);
    }
    for link in &tree.links {
        let (parent, name) = place(&directories, &link.path)?;
        builder.symlink(parent, name, &link.target, ext4_meta(link.meta))?;
    }
    let mut handles = Vec::with_capacity(files.len());
    for file in files {
        let (parent, name) = place(&directories, &file.path)?;
        handles.push(builder.file(parent, name, ext4_meta(file.meta), file.size)?);
    }
    Ok((builder.seal()?, handles))
}

fn place<'p>(directories: &BTreeMap<&str, InodeHandle>, path: &'p str) -> Result<(InodeHandle, &'p str)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let handle =
        directories.get(parent).with_context(|| format!("the directory of {path} is not in the tree"))?;
    Ok((*handle, name))
}

fn ext4_meta(meta: Meta) -> mkext4::Meta {
    mkext4::Meta::new(meta.mode, 0, 0, (meta.mtime, 0))
}

/// Room for all files, a block more for each entry, the inode tables, the journal and an eighth
/// for the rest of the metadata, in whole block groups.
fn device_size(tree: &Tree) -> u64 {
    let entries = u64::from(inodes(tree));
    let blocks: u64 = tree.files().map(|file| file.size.div_ceil(BLOCK_SIZE)).sum();
    let metadata = entries * 2 + u64::from(JOURNAL_BLOCKS) + blocks / 8;
    (blocks + metadata).next_multiple_of(BLOCKS_PER_GROUP) * BLOCK_SIZE
}

/// One inode for each entry and the reserved ones.
fn inodes(tree: &Tree) -> u32 {
    let entries = tree.directories.len() + tree.links.len() + tree.files().count();
    u32::try_from(entries).unwrap_or(u32::MAX).saturating_add(RESERVED_INODES)
}

/// Bytes in an ext4 block; the writer knows no other size.
pub const BLOCK_SIZE: u64 = 4096;

/// A block that a sparse device does not store.
const ZEROS: [u8; BLOCK_SIZE as usize] = [0; BLOCK_SIZE as usize];

/// ext4: one bitmap block has a bit for each block of its group.
const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_SIZE;

/// ext4: inodes 1 to 10 are reserved; 11 is lost+found.
const RESERVED_INODES: u32 = 11;

/// jbd2: the shortest journal it accepts.
const JOURNAL_BLOCKS: u32 = 1024;

/// Any constant keeps the output reproducible.
const FILESYSTEM_UUID: [u8; 16] = *b"overlaybd sample";

/// The longest change, in bytes: bounds the memory of a difference.
const LONGEST_RUN: usize = 1 << 20;
