//! One layer of a tree as an overlaybd layer: what it changes on the ext4 device, as LSMT in ZFile in
//! tar.

use std::io::{Seek, Write};

use anyhow::Result;
use overlaybd_format::{Algorithm, Compression, LayerOptions, LayerWriter, Tar};

use crate::ext4::{Change, Ext4State};
use crate::tree::Tree;

/// Writes layer `layer` of `tree` (0 is the bottom) to `sink`. `done` is told of each piece of
/// device bytes.
///
/// # Errors
///
/// If a source file cannot be read or has another length than it had, or `sink` fails.
pub fn write(tree: &Tree, layer: usize, sink: impl Write + Seek, done: &dyn Fn(u64)) -> Result<()> {
    let below = (layer > 0).then(|| Ext4State::new(tree, layer)).transpose()?;
    let state = Ext4State::new(tree, layer + 1)?;
    let compression = Compression::new(Algorithm::Zstd).with_block_size(COMPRESSION_BLOCK);
    let options =
        LayerOptions::new(state.size()).with_compression(Some(compression)).with_tar(Some(Tar::Pax));
    let mut writer = LayerWriter::new(sink, options)?;
    state.changes(below.as_ref(), |change| {
        match change {
            Change::Write { offset, bytes } => {
                writer.write(offset, bytes)?;
                done(bytes.len() as u64);
            }
            Change::Zero { offset, len } => writer.zero(offset, len)?,
        }
        Ok(())
    })?;
    writer.finish()?.flush()?;
    Ok(())
}

/// Bytes that are compressed together: the largest that every reader of the format takes. Larger
/// blocks make fewer bytes to fetch, which is what a start over a network waits for.
const COMPRESSION_BLOCK: u32 = 32 << 10;
