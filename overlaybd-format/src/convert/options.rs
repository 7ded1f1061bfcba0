//! What a conversion is told, and what it tells.

use crate::Limits;

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
    /// A device of 256 GiB.
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

/// What became of a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConvertedLayer {
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of files' contents that went into the layer.
    pub stored: u64,
    /// Bytes of files' contents that are in the target, by whole sectors.
    pub in_target: u64,
    /// Bytes of metadata, before compression.
    pub metadata: u64,
    /// Bytes of the device that the filesystem uses so far.
    pub used: u64,
}
