//! Layer after layer on one filesystem.

use std::fmt;
use std::io::{Read, Write};
use std::iter::Peekable;
use std::vec::IntoIter;

use super::apply::{LayerEntry, apply};
use super::blocks::{BLOCK, Blocks, Runs, in_bytes};
use super::tar_index::{self, Piece};
use super::tree::{Attributes, Budget, Node, NodeId, NodeKind, Tree};
use super::{ConvertOptions, ConvertedLayer, TarIndex, metadata, places, read};
use crate::lsmt::SECTOR_SIZE;
use crate::oci_tar::{EntryKind, TarReader};
use crate::{Error, LayerOptions, LayerWriter, ReadAt, Result};

/// Writes the layers of a stack from the tars of an ordinary image, bottom first.
///
/// Each layer may be in full mode or in index-only mode. The same tars and options give the same bytes, however
/// often the work was interrupted and resumed.
///
/// ```
/// use std::io::Cursor;
/// use futures::executor::block_on;
/// use overlaybd_format::convert::{ConvertOptions, Converter, TarIndex};
/// use overlaybd_format::{Image, LayerBlob, LayerWriter, Limits, MemoryBlob, convert};
///
/// # let tar = |path: &str| {
/// #     let mut builder = tar::Builder::new(Vec::new());
/// #     let mut header = tar::Header::new_ustar();
/// #     header.set_size(5);
/// #     builder.append_data(&mut header, path, &b"node\n"[..])?;
/// #     builder.into_inner()
/// # };
/// # let (lower, upper) = (tar("etc/hostname")?, tar("etc/hosts")?);
/// let mut converter = Converter::new(ConvertOptions::default());
/// let layer = LayerWriter::streaming(Vec::new(), converter.layer_options())?;
/// let (full, _) = converter.full(lower.as_slice(), layer)?;
///
/// let index = TarIndex::read(upper.as_slice(), &Limits::default())?;
/// let options = converter.layer_options().with_index_only(true);
/// let (index_only, converted) = converter.index_only(index, LayerWriter::streaming(Vec::new(), options)?)?;
/// assert_eq!((converted.entries, converted.in_target), (1, 512));
///
/// let stack = vec![
///     LayerBlob::new("full", MemoryBlob::new(full)),
///     LayerBlob::new("index-only", MemoryBlob::new(index_only)).with_target("tar", MemoryBlob::new(upper)),
/// ];
/// block_on(async {
///     let device = Image::open(stack, &Limits::default()).await?;
///     let files = convert::files(&device, &Limits::default()).await?;
///     let paths: Vec<_> = files.iter().map(|file| file.path.escape_ascii().to_string()).collect();
///     assert_eq!(paths, ["etc", "etc/hostname", "etc/hosts"]);
///     Ok::<_, overlaybd_format::Error>(())
/// })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Converter {
    options: ConvertOptions,
    tree: Tree,
    /// Blocks of the device that are used.
    used: u32,
    /// Whether a layer was begun and not finished, so that the tree is no stored one.
    failed: bool,
}

impl Converter {
    /// Begins with an empty stack.
    #[must_use]
    pub fn new(options: ConvertOptions) -> Self {
        let mut root = Node::directory(Attributes::of_missing_directory());
        root.place = Some(places::ROOT);
        let tree = Tree::new(root, &options.limits);
        Self { options, tree, used: 1, failed: false }
    }

    /// Goes on above a stack that a converter wrote, of which `device` is the merged device.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for filesystems that no converter wrote, and for a device of another size than the
    /// options say; [`Error::Broken`], [`Error::Checksum`], [`Error::Limit`]; whatever reading reports.
    pub async fn resume(device: &dyn ReadAt, options: ConvertOptions) -> Result<Self> {
        if device.size() != options.virtual_size {
            return Err(Error::Unsupported { what: "size of the device below", value: device.size() });
        }
        let (tree, used) = read::read(device, &options.limits).await?;
        Ok(Self { options, tree, used, failed: false })
    }

    /// Options for the next layer: the size of the device, and nothing else.
    #[must_use]
    pub fn layer_options(&self) -> LayerOptions {
        LayerOptions::new(self.options.virtual_size)
    }

    /// Writes the next layer in full mode: contents while they are read, metadata at the end.
    ///
    /// `tar` is left behind the end of the archive. The UUID of `layer` becomes that of the filesystem, too.
    ///
    /// # Errors
    ///
    /// As [`TarReader::next_entry`] and [`LayerWriter::write`]; [`Error::Broken`] for entries that no unpacker
    /// takes, and [`Error::Unsupported`] for device numbers that Linux has not; [`Error::Limit`];
    /// [`Error::Refused`] if `layer` does not have the [options](Self::layer_options) of the stack, or after an
    /// earlier error.
    pub fn full<W: Write>(
        &mut self,
        tar: impl Read,
        mut layer: LayerWriter<W>,
    ) -> Result<(W, ConvertedLayer)> {
        self.begin(layer.options(), false)?;
        let mut reader = TarReader::new(tar, &self.options.limits);
        let mut budget = Budget::new(&self.options.limits);
        let mut blocks = self.blocks();
        let mut runs = Runs::new(BLOCK);
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        while let Some(mut entry) = reader.next_entry()? {
            budget.charge(1, tar_index::size(&entry))?;
            if let EntryKind::File { size, content } = &mut entry.kind {
                let block = blocks.take(*size)?;
                for range in std::mem::take(content) {
                    let (mut at, mut rest) = (in_bytes(block).saturating_add(range.offset), range.len);
                    while rest > 0 {
                        let room = runs.room(&mut layer, at, rest)?;
                        reader.read_content(room)?;
                        at = at.saturating_add(room.len() as u64);
                        rest = rest.saturating_sub(room.len() as u64);
                    }
                }
                contents.push((entries.len(), block));
            }
            entries.push(LayerEntry { entry, at: reader.entry_at() });
        }
        runs.end(&mut layer)?;

        let mut contents = contents.into_iter().peekable();
        for (number, file) in apply(&mut self.tree, &entries)? {
            if let Some(block) = of_entry(&mut contents, number) {
                self.place(file, block);
            }
        }
        let converted =
            ConvertedLayer { entries: entries.len() as u64, stored: runs.put(), ..ConvertedLayer::default() };
        self.finish(blocks, layer, converted)
    }

    /// Writes the next layer in index-only mode: metadata, and segments that point into the tar, which is the
    /// target of the layer.
    ///
    /// # Errors
    ///
    /// As [`full`](Self::full).
    pub fn index_only<W: Write>(
        &mut self,
        tar: TarIndex,
        mut layer: LayerWriter<W>,
    ) -> Result<(W, ConvertedLayer)> {
        self.begin(layer.options(), true)?;
        let mut blocks = self.blocks();
        let mut runs = Runs::new(SECTOR_SIZE);
        let mut converted = ConvertedLayer { entries: tar.entries.len() as u64, ..ConvertedLayer::default() };
        let mut contents = tar.contents.into_iter().peekable();
        for (number, file) in apply(&mut self.tree, &tar.entries)? {
            let NodeKind::File { size, .. } = self.tree.node(file).kind else { continue };
            let block = blocks.take(size)?;
            self.place(file, block);
            for piece in of_entry(&mut contents, number).into_iter().flatten() {
                let start = in_bytes(block);
                match piece {
                    Piece::InTar { offset, len, at } => {
                        layer.target(start.saturating_add(offset), len, at)?;
                        converted.in_target = converted.in_target.saturating_add(len);
                    }
                    Piece::Held { offset, bytes } => {
                        let (mut at, mut rest) = (start.saturating_add(offset), bytes.as_slice());
                        while !rest.is_empty() {
                            let room = runs.room(&mut layer, at, rest.len() as u64)?;
                            let (part, after) = rest.split_at(room.len());
                            room.copy_from_slice(part);
                            (at, rest) = (at.saturating_add(part.len() as u64), after);
                        }
                    }
                }
            }
        }
        runs.end(&mut layer)?;
        converted.stored = runs.put();
        self.finish(blocks, layer, converted)
    }

    fn begin(&mut self, layer: &LayerOptions, index_only: bool) -> Result<()> {
        let operation = "convert a layer";
        let refuse = |why| Err(Error::Refused { operation, why });
        if self.failed {
            return refuse("an earlier one has failed");
        }
        if self.options.virtual_size == 0 || !self.options.virtual_size.is_multiple_of(BLOCK) {
            return refuse("the size of the device is no multiple of 4096");
        }
        if layer.virtual_size != self.options.virtual_size {
            return refuse("its device has not the size of the stack");
        }
        if layer.index_only != index_only {
            return refuse("its options are those of the other mode");
        }
        self.failed = true;
        Ok(())
    }

    fn blocks(&self) -> Blocks {
        Blocks::new(self.used, self.options.virtual_size)
    }

    fn place(&mut self, file: NodeId, content: u32) {
        if let NodeKind::File { block, .. } = &mut self.tree.node_mut(file).kind {
            *block = content;
        }
    }

    fn finish<W: Write>(
        &mut self,
        mut blocks: Blocks,
        mut layer: LayerWriter<W>,
        mut converted: ConvertedLayer,
    ) -> Result<(W, ConvertedLayer)> {
        converted.metadata = metadata::write(&mut self.tree, &mut blocks, &mut layer)?;
        let sink = layer.finish()?;
        self.used = blocks.used();
        converted.used = blocks.free_from();
        self.failed = false;
        Ok((sink, converted))
    }
}

/// What belongs to the entry `number`; what belongs to earlier ones is dropped.
fn of_entry<T>(contents: &mut Peekable<IntoIter<(usize, T)>>, number: usize) -> Option<T> {
    while contents.next_if(|&(of, _)| of < number).is_some() {}
    contents.next_if(|&(of, _)| of == number).map(|(_, content)| content)
}

impl fmt::Debug for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converter")
            .field("options", &self.options)
            .field("files", &self.tree.live())
            .field("used", &in_bytes(self.used))
            .finish_non_exhaustive()
    }
}
