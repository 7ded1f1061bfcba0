//! A layer without wrappers: header, index and trailer. Whatever opens has an index that a reader
//! can trust.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Layer, LayerBlob, Limits, MemoryBlob, ReadAt};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let blob = LayerBlob::new("fuzzed", MemoryBlob::new(data.to_vec()));
    let Ok(layer) = block_on(Layer::open(blob, &Limits::default())) else { return };
    let size = layer.content().size();
    let mut free_from = 0;
    for segment in layer.segments() {
        assert!(segment.start() >= free_from && segment.len() > 0, "{segment:?}");
        assert!(segment.is_zeroed() || (segment.stored_at() + segment.len()) * 512 <= size, "{segment:?}");
        free_from = segment.end();
    }
    read_pieces(layer.content());
});
