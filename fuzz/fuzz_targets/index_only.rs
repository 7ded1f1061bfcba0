//! An index-only layer without wrappers over a target. The last four bytes of the input are the size of
//! the target, which is zeros.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Layer, LayerBlob, Limits, MemoryBlob, ReadAt};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let Some((layer, size)) = data.split_last_chunk() else { return };
    let target = vec![0; u32::from_le_bytes(*size) as usize % MOST_TARGET];
    let blob = LayerBlob::new("fuzzed", MemoryBlob::new(layer.to_vec()))
        .with_target("target", MemoryBlob::new(target));
    let Ok(layer) = block_on(Layer::open(blob, &Limits::default())) else { return };
    let size = layer.content().size();
    for segment in layer.segments() {
        assert!(segment.is_zeroed() || (segment.stored_at() + segment.len()) * 512 <= size, "{segment:?}");
    }
    for extent in layer.map(0..u64::from(u32::MAX)) {
        let _ = extent.expect("what opened can be mapped");
    }
    read_pieces(layer.content());
});

const MOST_TARGET: usize = 1 << 20;
