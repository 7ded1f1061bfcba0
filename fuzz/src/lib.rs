//! What the fuzz targets share: reading whatever opened, and never more than is sensible.

mod memory_file;

pub use memory_file::MemoryFile;

use futures::executor::block_on;
use overlaybd_format::ReadAt;

/// Reads both ends of `reader` and pieces in between, at odd places and lengths. Errors are fine; a
/// warm read that disagrees with a cold one is not.
pub fn read_pieces(reader: &dyn ReadAt) {
    let size = reader.size();
    for piece in 0..PIECES {
        let offset = size / PIECES * piece;
        let len = usize::try_from(size - offset).unwrap_or(usize::MAX).min(PIECE_LEN);
        let (mut cold, mut warm) = (vec![0; len], vec![0; len]);
        let cold_result = block_on(reader.read_at(&mut cold, offset));
        if let (Ok(()), Ok(overlaybd_format::Warm::Yes)) =
            (cold_result, reader.try_read_at(&mut warm, offset))
        {
            assert!(cold == warm, "warm and cold reads differ in {len} bytes at {offset}");
        }
    }
}

const PIECES: u64 = 7;
const PIECE_LEN: usize = 70_001;
