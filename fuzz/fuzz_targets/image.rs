//! A stack of two layers, read and mapped. The last four bytes of the input are the length of the lower
//! one, the rest are both, one after the other.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{ExtentKind, Image, LayerBlob, Limits, MemoryBlob, ReadAt};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let Some((layers, length)) = data.split_last_chunk() else { return };
    let Some((lower, upper)) = layers.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let layers = [lower, upper].map(|bytes| LayerBlob::new("fuzzed", MemoryBlob::new(bytes.to_vec())));
    if let Ok(image) = block_on(Image::open(layers.into(), &Limits::default())) {
        read_pieces(&image);
        map(&image);
    }
});

/// The extents of the device leave no gap, and each lies inside its blob.
fn map(image: &Image) {
    let mut mapped_to = 0;
    for extent in image.map(0..image.size()).expect("the whole device").take(MOST_EXTENTS) {
        let extent = extent.expect("a segment that was checked when its layer was opened");
        assert!(extent.device.start == mapped_to && !extent.device.is_empty(), "{extent:?}");
        mapped_to = extent.device.end;
        if let ExtentKind::Plain { layer, content, .. } | ExtentKind::Compressed { layer, content, .. } =
            extent.kind
        {
            assert!(content.end <= image.layers()[layer].content().size());
        }
    }
}

const MOST_EXTENTS: usize = 100_000;
