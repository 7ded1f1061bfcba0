//! The floor of a read: only the work that no reader can avoid.
//!
//! One `pread` of the stored block, its CRC-32C by the processor's instruction, and its decoding with
//! the same codec library, into buffers that are there already. No index, no bounds, no device.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use overlaybd_format::{Algorithm, zfile};

/// The blocks of one layer file, without a reader around them.
pub struct Floor {
    file: File,
    blocks: Vec<(u64, usize)>,
    algorithm: Algorithm,
    stored: Vec<u8>,
    decoder: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor").field("blocks", &self.blocks.len()).finish()
    }
}

impl Floor {
    /// Reads the positions of the blocks of the ZFile at `path`.
    ///
    /// # Panics
    ///
    /// If it is no ZFile with a finished header.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).expect("a layer file");
        let mut start = [0; 512];
        file.read_exact_at(&mut start, 0).expect("its header");
        let header = zfile::Header::decode(&start, "ZFile header", 0).expect("a ZFile");
        let mut table = vec![0; header.blocks as usize * 4];
        file.read_exact_at(&mut table, header.index_offset).expect("its jump table");
        let mut at = 512;
        let blocks = table
            .as_chunks::<4>()
            .0
            .iter()
            .map(|entry| {
                let len = u32::from_le_bytes(*entry);
                at += u64::from(len);
                (at - u64::from(len), len as usize)
            })
            .collect();
        let decoder = zstd::bulk::Decompressor::new().expect("a context");
        Self { file, blocks, algorithm: header.algorithm, stored: vec![0; 256 << 10], decoder }
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Reads, checks and decodes block `block` into `out`, which has the size of a block.
    ///
    /// # Panics
    ///
    /// If the block is damaged.
    pub fn read(&mut self, block: u64, out: &mut [u8]) {
        let (at, len) = self.blocks[block as usize];
        let stored = &mut self.stored[..len];
        self.file.read_exact_at(stored, at).expect("a block");
        let (bytes, crc) = stored.split_last_chunk::<4>().expect("its CRC");
        assert_eq!(!crc32c::crc32c_append(!100_007, bytes), u32::from_le_bytes(*crc));
        match self.algorithm {
            Algorithm::Zstd => {
                self.decoder.decompress_to_buffer(bytes, out).expect("a frame");
            }
            _ => {
                lz4::block::decompress_to_buffer(bytes, Some(out.len() as i32), out).expect("an LZ4 block");
            }
        }
    }
}
