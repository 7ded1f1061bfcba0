//! Committing what is there already: segments and the streams they point into.
//!
//! Segments are read in batches, all of a batch at once, so that a batch over a network costs one
//! round trip; what is contiguous in its stream is one read.

use std::io::Write;
use std::iter::Peekable;
use std::sync::Arc;

use futures::future::try_join_all;

use super::LayerWriter;
use crate::lsmt::{SECTOR_SIZE, Segment};
use crate::{Error, Image, Layer, ReadAt, Result, Warm};

/// Where the bytes of copied segments come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    name: &'a str,
    stream: &'a dyn ReadAt,
    tag: u8,
}

impl<'a> Source<'a> {
    /// The stream that [`Segment::stored_at`] counts sectors of. Errors call it `name`.
    #[must_use]
    pub fn new(name: &'a str, stream: &'a dyn ReadAt) -> Self {
        Self { name, stream, tag: 0 }
    }

    /// Sets the tag that entries from here are written with. It means nothing to a reader; the
    /// reference numbers the layers that it merged.
    #[must_use]
    pub fn with_tag(mut self, tag: u8) -> Self {
        self.tag = tag;
        self
    }
}

impl<W: Write> LayerWriter<W> {
    /// Copies the segments of `layer`: what is overwritten in a layer that was sealed in place is left
    /// behind.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    pub async fn copy_layer(&mut self, layer: &Layer) -> Result<()> {
        let source = Source::new(layer.name(), layer.content());
        self.copy(layer.segments(), &[source]).await
    }

    /// Copies what the device reads from each of its layers, so that one layer takes the place of all.
    ///
    /// ```
    /// use std::io::Cursor;
    /// use overlaybd_format::{Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob};
    ///
    /// # futures::executor::block_on(async {
    /// # let layer = |offset: u64| {
    /// #     let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(1 << 20))?;
    /// #     writer.write(offset, &[1; 4096])?;
    /// #     Ok::<_, overlaybd_format::Error>(MemoryBlob::new(writer.finish()?.into_inner()))
    /// # };
    /// # let stack = vec![LayerBlob::new("lower", layer(0)?), LayerBlob::new("upper", layer(2048)?)];
    /// let image = Image::open(stack, &Limits::default()).await?;
    /// let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::of_image(&image))?;
    /// writer.copy_image(&image).await?;
    /// let merged = writer.finish()?.into_inner();
    /// # assert_eq!(merged.len(), 4096 + 6144 + 4096 + 4096);
    /// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    pub async fn copy_image(&mut self, image: &Image) -> Result<()> {
        let tags = (0..=u8::MAX).take(image.layers().len()).rev();
        let source = |(layer, tag): (_, u8)| {
            let layer: &Layer = layer;
            Source::new(layer.name(), layer.content()).with_tag(tag)
        };
        let sources: Vec<_> = image.layers().iter().zip(tags).map(source).collect();
        self.copy(image.index().segments(), &sources).await
    }

    /// Copies `segments`, which are in ascending order behind all that was written before. The bytes
    /// of a segment are in the source that its [`layer`](Segment::layer) numbers.
    ///
    /// Reads are awaited, writes to the sink block. A segment may end beyond the device, as in layers
    /// of a device that grew. If the copy fails or is dropped, the layer cannot be finished.
    ///
    /// # Errors
    ///
    /// What reading reports, as [`Error::InBlob`]; otherwise as [`write`](Self::write).
    pub async fn copy(&mut self, segments: &[Segment], sources: &[Source<'_>]) -> Result<()> {
        self.check_complete()?;
        self.copying = true;
        let mut pieces = segments.iter().copied().flat_map(pieces).peekable();
        let mut bytes = Vec::new();
        loop {
            let batch = take_batch(&mut pieces);
            if batch.is_empty() {
                break;
            }
            bytes.resize(batch.iter().map(|&piece| data_len(piece)).sum(), 0);
            read(&batch, sources, &mut bytes).await?;
            self.put(&batch, sources, &bytes)?;
        }
        self.copying = false;
        Ok(())
    }

    fn put(&mut self, batch: &[Segment], sources: &[Source<'_>], mut bytes: &[u8]) -> Result<()> {
        for &piece in batch {
            // The tags of an index-only layer tell its target from itself.
            let tag = if self.options.index_only { 0 } else { source(sources, piece)?.tag };
            let offset = piece.start().saturating_mul(SECTOR_SIZE);
            if piece.is_zeroed() {
                let len = piece.len().saturating_mul(SECTOR_SIZE);
                self.index.zeroed(offset, len, self.position / SECTOR_SIZE, tag)?;
            } else {
                let (data, rest) = bytes.split_at(data_len(piece));
                self.data(offset, data, tag)?;
                bytes = rest;
            }
        }
        Ok(())
    }
}

/// The segment in parts that fit a batch. Cutting data at multiples of what the reference copies at
/// once leaves no trace in the index.
fn pieces(segment: Segment) -> impl Iterator<Item = Segment> {
    let mut rest = segment;
    std::iter::from_fn(move || {
        let whole = rest;
        if whole.is_empty() {
            return None;
        }
        let end = if whole.is_zeroed() { whole.end() } else { whole.start().saturating_add(PIECE) };
        rest = whole.from(end);
        Some(whole.before(end))
    })
}

fn take_batch(pieces: &mut Peekable<impl Iterator<Item = Segment>>) -> Vec<Segment> {
    let mut batch = Vec::new();
    let mut sectors = 0u64;
    while let Some(piece) = pieces.next_if(|piece| {
        // A zeroed piece has no data and takes its place in the batch nonetheless.
        sectors = sectors.saturating_add(if piece.is_zeroed() { 1 } else { piece.len() });
        sectors <= PIECE
    }) {
        batch.push(piece);
    }
    batch
}

/// Fills `bytes` with the data of the batch, one piece after the other.
async fn read(batch: &[Segment], sources: &[Source<'_>], mut bytes: &mut [u8]) -> Result<()> {
    let mut cold = Vec::new();
    let mut pieces = batch.iter().copied().filter(|piece| !piece.is_zeroed()).peekable();
    while let Some(first) = pieces.next() {
        let mut stored = first.stored_at()..first.stored_at().saturating_add(first.len());
        while let Some(next) =
            pieces.next_if(|next| next.layer() == first.layer() && next.stored_at() == stored.end)
        {
            stored.end = stored.end.saturating_add(next.len());
        }
        let len = stored.end.saturating_sub(stored.start).saturating_mul(SECTOR_SIZE);
        let (part, rest) = bytes.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len()));
        bytes = rest;

        let Source { name, stream, .. } = source(sources, first)?;
        let at = stored.start.saturating_mul(SECTOR_SIZE);
        let failed = |error: Error| error.in_blob(&Arc::from(*name));
        if stream.try_read_at(part, at).map_err(failed)? == Warm::No {
            cold.push(async move { stream.read_at(part, at).await.map_err(failed) });
        }
    }
    try_join_all(cold).await.map(|_| ())
}

fn source<'s, 'a>(sources: &'s [Source<'a>], piece: Segment) -> Result<&'s Source<'a>> {
    let none = || Error::broken("segment", piece.start(), format!("no source has number {}", piece.layer()));
    sources.get(piece.layer()).ok_or_else(none)
}

/// Bytes of data of a piece.
fn data_len(piece: Segment) -> usize {
    if piece.is_zeroed() { 0 } else { (piece.len() * SECTOR_SIZE) as usize }
}

/// Sectors that are held at once, a multiple of those that the reference copies at once: 1 MiB.
const PIECE: u64 = 2048;
