//! The layout of a device, for those who want to know where bytes are and not the bytes.

use std::ops::Range;

use super::Image;
use crate::extent::{Extent, extents};
use crate::lsmt::SECTOR_SIZE;
use crate::{Error, ReadAt, Result};

impl Image {
    /// The extents of the bytes in `range`, in ascending order and without gaps, cut to it. No I/O.
    ///
    /// ```
    /// # use std::io::Cursor;
    /// # use overlaybd_format::{Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob};
    /// use overlaybd_format::{Extent, ExtentKind};
    ///
    /// # futures::executor::block_on(async {
    /// let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(1 << 20))?;
    /// writer.write(8192, &[7; 1024])?;
    /// let blob = MemoryBlob::new(writer.finish()?.into_inner());
    /// let image = Image::open(vec![LayerBlob::new("a layer", blob)], &Limits::default()).await?;
    ///
    /// let extents: Vec<Extent> = image.map(8000..8200)?.collect::<Result<_, _>>()?;
    /// assert_eq!(extents[0], Extent { device: 8000..8192, kind: ExtentKind::Hole });
    /// let stored = ExtentKind::Plain { layer: 0, content: 4096..4104, blob: 4096..4104 };
    /// assert_eq!(extents[1], Extent { device: 8192..8200, kind: stored });
    /// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the range is not inside the device. An item is an error where a read
    /// of its bytes would be one, too.
    pub fn map(&self, range: Range<u64>) -> Result<impl Iterator<Item = Result<Extent>> + '_> {
        let Range { start, end } = range;
        if start > end || end > self.size() {
            let len = end.saturating_sub(start);
            return Err(Error::OutOfBounds { offset: start, len, size: self.size() });
        }
        let segments = self.index.lookup(start / SECTOR_SIZE..end.div_ceil(SECTOR_SIZE));
        Ok(extents(range, segments, &self.layers))
    }
}
