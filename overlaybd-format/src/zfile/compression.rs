//! How a ZFile is to be written.

use crate::zfile::Algorithm;

/// How content is compressed: by which codec, how hard, in which blocks and by how many threads.
///
/// ```
/// use overlaybd_format::{Algorithm, Compression};
///
/// let small = Compression::new(Algorithm::Zstd).with_level(19).with_block_size(32 << 10).with_threads(4);
/// assert_eq!(Compression::default(), Compression::new(Algorithm::Lz4));
/// # let _ = small;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// The codec.
    pub algorithm: Algorithm,
    /// How hard the codec tries; 0 is its default.
    ///
    /// * Zstandard: its own levels, up to 22; the default is 3, which the reference always uses.
    /// * LZ4: 2 to 12 are the levels of its high-compression form, −n is the fast form with
    ///   *acceleration* n. The default is the fast form without acceleration, as the reference uses.
    pub level: i32,
    /// Uncompressed bytes in a block: 4, 8, 16, 32 or 64 KiB. Larger blocks compress better and make
    /// small reads dearer.
    ///
    /// The reference cannot read a block that is stored in more than 64 KiB. With blocks of 64 KiB,
    /// content that does not compress is therefore refused.
    pub block_size: u32,
    /// Threads that compress. With 0 or 1 the calling thread does it. The bytes are the same for
    /// every number.
    pub threads: usize,
}

impl Compression {
    /// The default level, blocks of 4 KiB, the calling thread.
    #[must_use]
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, level: 0, block_size: 4 << 10, threads: 1 }
    }

    /// Sets [`level`](Self::level).
    #[must_use]
    pub const fn with_level(mut self, level: i32) -> Self {
        self.level = level;
        self
    }

    /// Sets [`block_size`](Self::block_size), in bytes.
    #[must_use]
    pub const fn with_block_size(mut self, block_size: u32) -> Self {
        self.block_size = block_size;
        self
    }

    /// Sets [`threads`](Self::threads).
    #[must_use]
    pub const fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

impl Default for Compression {
    /// LZ4 in blocks of 4 KiB, as the reference tools write.
    fn default() -> Self {
        Self::new(Algorithm::Lz4)
    }
}
