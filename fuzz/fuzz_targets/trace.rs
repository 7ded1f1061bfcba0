//! A trace file, as it is and with its checksum set right, replayed on a small image.
#![no_main]

use std::io::Cursor;
use std::sync::OnceLock;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::trace::Trace;
use overlaybd_format::{Compression, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob};

fuzz_target!(|data: &[u8]| {
    replay(data);

    let mut signed = data.to_vec();
    if let Some((header, records)) = signed.split_at_mut_checked(24) {
        header[16..20].copy_from_slice(&raw_crc32c(records).to_le_bytes());
        header[8..16].copy_from_slice(&(records.len() as u64).to_le_bytes());
        replay(&signed);
    }
});

fn replay(file: &[u8]) {
    let Ok(trace) = Trace::decode(file, &Limits::default()) else { return };
    let again = Trace::decode(&trace.encode(), &Limits::default()).expect("a trace that was written");
    assert_eq!(again, trace);
    let mut ranges = trace.blob_ranges(image()).expect("ranges of a sound image");
    ranges.sort_by_key(|blob| (blob.layer, blob.range.start));
    assert!(ranges.is_sorted_by(|a, b| a.layer < b.layer || a.range.end <= b.range.start));
    for blob in ranges {
        assert!(!blob.range.is_empty(), "{blob:?}");
        assert!(blob.range.end <= LAYERS[blob.layer].get().expect("made with the image").len() as u64);
    }
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let layers =
            [None, Some(Compression::default())].into_iter().zip(&LAYERS).map(|(compression, made)| {
                let options = LayerOptions::new(1 << 20).with_compression(compression);
                let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).expect("a layer");
                for place in 0..8 {
                    writer.write(place << 16, &[7; 5 << 12]).expect("a write");
                }
                let bytes = writer.finish().expect("the end of the layer").into_inner();
                LayerBlob::new("layer", MemoryBlob::new(made.get_or_init(|| bytes).clone()))
            });
        block_on(Image::open(layers.collect(), &Limits::default())).expect("an image")
    })
}

/// CRC-32C without inversions, bit by bit.
fn raw_crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82f6_3b78 * (crc & 1)))
    })
}

static LAYERS: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
