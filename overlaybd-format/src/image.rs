//! A stack of layers as one block device.

mod cold;
mod map;
mod pieces;

use async_trait::async_trait;
use futures::future::try_join_all;

use crate::read_at::check_bounds;
use crate::{Error, Index, Layer, LayerBlob, Limits, ReadAt, Result, Warm};

use pieces::{Pieces, Source};

/// The device that a stack of layers makes: for each sector the topmost layer that covers it, and
/// zeros where none does.
///
/// Reads may start and end at any byte. What reads as zeros without a request: holes, and ranges
/// that the topmost layer discarded. A read that reaches beyond the device is an error.
///
/// ```
/// use std::io::Cursor;
/// use overlaybd_format::{Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt};
///
/// # futures::executor::block_on(async {
/// let layer = |offset: u64, bytes: &[u8]| {
///     let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(1 << 20))?;
///     writer.write(offset, bytes)?;
///     Ok::<_, overlaybd_format::Error>(MemoryBlob::new(writer.finish()?.into_inner()))
/// };
/// let stack = vec![
///     LayerBlob::new("lower", layer(0, &[1; 1024])?),
///     LayerBlob::new("upper", layer(512, &[2; 512])?),
/// ];
/// let image = Image::open(stack, &Limits::default()).await?;
/// let mut buf = [9; 4];
/// image.read_at(&mut buf, 510).await?;
/// assert_eq!(buf, [1, 1, 2, 2]);
/// image.read_at(&mut buf, 1022).await?;
/// assert_eq!(buf, [2, 2, 0, 0]);
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Image {
    layers: Vec<Layer>,
    index: Index,
    size: u64,
}

impl Image {
    /// Opens the layers of `blobs`, bottom first, all at once, and merges their indexes.
    ///
    /// # Errors
    ///
    /// The first layer that cannot be opened fails the image, as [`Error::InBlob`];
    /// [`Error::Broken`] if no layer says how large the device is; [`Error::Limit`] for too many layers
    /// or segments.
    pub async fn open(blobs: Vec<LayerBlob>, limits: &Limits) -> Result<Self> {
        if blobs.len() > limits.layers {
            let (value, limit) = (blobs.len() as u64, limits.layers as u64);
            return Err(Error::Limit { what: "layers in a stack", value, limit });
        }
        let layers = try_join_all(blobs.into_iter().map(|blob| Layer::open(blob, limits))).await?;
        Self::stack(layers, limits)
    }

    /// Makes the device of layers that are open already, bottom first.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if no layer says how large the device is; [`Error::Limit`].
    pub fn stack(mut layers: Vec<Layer>, limits: &Limits) -> Result<Self> {
        let size = layers
            .iter()
            .rev()
            .map(Layer::virtual_size)
            .find(|&size| size != 0)
            .ok_or_else(|| Error::broken("stack of layers", 0, "no layer says the size of the device"))?;
        let index = Index::merge(layers.iter_mut().map(Layer::take_segments).collect(), limits)?;
        Ok(Self { layers, index, size })
    }

    /// The layers, bottom first. Their segments are in [`index`](Self::index) now, and empty here.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Which layer each sector of the device is read from.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    fn pieces<'a>(&'a self, buf: &'a mut [u8], offset: u64) -> Pieces<'a> {
        Pieces::new(&self.index, buf, offset)
    }

    fn layer(&self, number: usize) -> Result<&Layer> {
        self.layers.get(number).ok_or_else(|| Error::broken("merged index", 0, format!("layer {number}")))
    }
}

#[async_trait]
impl ReadAt for Image {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if self.try_read_at(buf, offset)? == Warm::Yes {
            return Ok(());
        }
        cold::read(self, buf, offset).await
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size, offset, buf.len())?;
        for (source, part) in self.pieces(buf, offset) {
            match source {
                Source::Zeros => part.fill(0),
                Source::Stored { layer, at } => {
                    let layer = self.layer(layer)?;
                    match layer.content().try_read_at(part, at) {
                        Ok(Warm::Yes) => {}
                        Ok(Warm::No) => return Ok(Warm::No),
                        Err(error) => return Err(layer.name_error(error)),
                    }
                }
            }
        }
        Ok(Warm::Yes)
    }
}
