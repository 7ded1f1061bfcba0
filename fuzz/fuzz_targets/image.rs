//! A stack of two layers. The last four bytes of the input are the length of the lower one, the rest
//! are both, one after the other.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Image, LayerBlob, Limits, MemoryBlob};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let Some((layers, length)) = data.split_last_chunk() else { return };
    let Some((lower, upper)) = layers.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let layers = [lower, upper].map(|bytes| LayerBlob::new("fuzzed", MemoryBlob::new(bytes.to_vec())));
    if let Ok(image) = block_on(Image::open(layers.into(), &Limits::default())) {
        read_pieces(&image);
    }
});
