//! A device that gets over wrong bytes from its origin.
//!
//! What a registry or a proxy on the way sent wrong stays wrong in every cache. Where the format proves it,
//! the reader forgets these bytes and reads once more, from the origin.

use std::ops::Range;

use async_trait::async_trait;
use overlaybd_format::trace::{BlobRange, Trace};
use overlaybd_format::{Error, Limits, ReadAt, Result, Warm};

use crate::lazy_image::{LazyImage, OpenBlob, wrong_blob};

/// The device of an image, with a second try for bytes that prove wrong.
#[derive(Debug)]
pub struct Refetching {
    image: LazyImage,
}

impl Refetching {
    /// The device of `image`.
    pub fn new(image: LazyImage) -> Self {
        Self { image }
    }

    /// Forgets what the blob named `wrong` has of the bytes under `read`, a range of the device.
    async fn forget(&self, wrong: &str, read: Range<u64>) -> Result<()> {
        let device = &*self.image.device;
        let limits = Limits::default();
        for range in Trace::of(device, &[read], &limits)?.blob_ranges(device)? {
            let BlobRange { layer, target, mut range } = range;
            let blob = self.image.stored(layer, target).filter(|blob| blob.name == wrong);
            let Some(remote) = blob.and_then(|blob| blob.remote.as_ref()) else { continue };
            // Where the bytes of a compressed stream are is known to its index alone.
            if target && self.image.blobs.get(layer).is_some_and(OpenBlob::has_compressed_target) {
                range = 0..remote.size();
            }
            let len = (range.end - range.start) as usize;
            remote.discard(range.clone()).await.map_err(|error| Error::io(range.start, len, error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl ReadAt for Refetching {
    fn size(&self) -> u64 {
        self.image.device.size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Err(error) = self.image.device.read_at(buf, offset).await else { return Ok(()) };
        let Some(wrong) = wrong_blob(&error) else { return Err(error) };
        let read = offset..offset.saturating_add(buf.len() as u64);
        match self.forget(wrong, read).await {
            Ok(()) => self.image.device.read_at(buf, offset).await,
            // What is wrong with the blob says more than why it could not be forgotten.
            Err(_) => Err(error),
        }
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        self.image.device.try_read_at(buf, offset)
    }
}
