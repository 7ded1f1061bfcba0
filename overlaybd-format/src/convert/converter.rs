//! Layer after layer on one filesystem.

use std::io::{Read, Write};

use super::TarIndex;
use crate::{Error, LayerOptions, LayerWriter, Limits, ReadAt, Result};

/// How a stack of layers is converted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// Size of the device in bytes, the same in all layers of a stack; a multiple of 4096. What is not
    /// used of it takes no space.
    pub virtual_size: u64,
    /// What a tar may cause.
    pub limits: Limits,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self { virtual_size: 256 << 30, limits: Limits::default() }
    }
}

impl ConvertOptions {
    /// Sets [`virtual_size`](Self::virtual_size).
    #[must_use]
    pub fn with_virtual_size(mut self, virtual_size: u64) -> Self {
        self.virtual_size = virtual_size;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Writes the layers of a stack from the tars of an ordinary image, bottom first.
#[derive(Debug)]
pub struct Converter {
    options: ConvertOptions,
}

/// What became of a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConvertedLayer {
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of files' contents that are stored in the layer.
    pub stored: u64,
    /// Bytes of files' contents that are in the target.
    pub in_target: u64,
    /// Bytes of metadata, before compression.
    pub metadata: u64,
    /// Bytes of the device that the filesystem uses so far.
    pub used: u64,
}

impl Converter {
    /// Begins with an empty stack.
    #[must_use]
    pub fn new(options: ConvertOptions) -> Self {
        Self { options }
    }

    /// Goes on above a stack that a converter wrote, of which `device` is the merged device.
    ///
    /// # Errors
    ///
    /// As [`files`](super::files); [`Error::Unsupported`] if the device has another size than the options say.
    pub async fn resume(device: &dyn ReadAt, options: ConvertOptions) -> Result<Self> {
        let _ = device;
        Ok(Self { options })
    }

    /// Options for the next layer: the size of the device, and nothing else.
    #[must_use]
    pub fn layer_options(&self) -> LayerOptions {
        LayerOptions::new(self.options.virtual_size)
    }

    /// Writes the next layer in full mode: contents as they are read, metadata at the end.
    ///
    /// # Errors
    ///
    /// Those of [`TarReader`](crate::oci_tar::TarReader) and [`LayerWriter`]; [`Error::Broken`] for entries that
    /// no unpacker takes; [`Error::Limit`]. After an error the converter refuses to go on.
    pub fn full<W: Write>(&mut self, tar: impl Read, layer: LayerWriter<W>) -> Result<(W, ConvertedLayer)> {
        let _ = tar;
        drop(layer);
        Err(Error::Unsupported { what: "conversion", value: 0 })
    }

    /// Writes the next layer in index-only mode: metadata, and segments that point into the tar.
    ///
    /// # Errors
    ///
    /// As [`full`](Self::full).
    pub fn index_only<W: Write>(
        &mut self,
        tar: TarIndex,
        layer: LayerWriter<W>,
    ) -> Result<(W, ConvertedLayer)> {
        drop((tar.entries, layer));
        Err(Error::Unsupported { what: "conversion", value: 0 })
    }
}
