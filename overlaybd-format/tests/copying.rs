//! Copying layers that are far away, damaged, of a device of their own or mostly zeros.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::executor::block_on;
use overlaybd_format::{
    Compression, Error, Image, Layer, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt,
    Segment, Source,
};

use crate::far::{FarBlob, Link, bytes_of, waves};
use crate::faults::{FlippedBlob, Random};

#[path = "harness/far.rs"]
mod far;
#[path = "harness/faults.rs"]
mod faults;

const SECTOR: usize = 512;

fn writer(options: LayerOptions) -> LayerWriter<Cursor<Vec<u8>>> {
    LayerWriter::new(Cursor::new(Vec::new()), options).unwrap()
}

/// A layer of data at the given bytes of the device, each with its own length.
fn layer(options: LayerOptions, data: &[(u64, Vec<u8>)]) -> Bytes {
    let mut writer = writer(options);
    data.iter().for_each(|(offset, bytes)| writer.write(*offset, bytes).unwrap());
    writer.finish().unwrap().into_inner().into()
}

fn open(name: &str, blob: impl ReadAt + 'static) -> Layer {
    block_on(Layer::open(LayerBlob::new(name, blob), &Limits::default())).unwrap()
}

fn device(layers: Vec<Layer>) -> Vec<u8> {
    let image = Image::stack(layers, &Limits::default()).unwrap();
    let mut bytes = vec![0xa5; image.size() as usize];
    block_on(image.read_at(&mut bytes, 0)).unwrap();
    bytes
}

/// Sectors that tell where they are.
fn sectors(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).flat_map(|sector| [sector as u8 | 1; SECTOR]).collect()
}

#[test]
fn a_batch_of_many_segments_is_one_wave() {
    const SIZE: u64 = 4 << 20;
    // Every second page in the lower layer, every fourth of the others in the upper one.
    let pages = |step: u64, first: u64| {
        let page = |page| (page * 4096, sectors(page * 8, 8));
        (first..SIZE / 4096).step_by(step as usize).map(page).collect::<Vec<_>>()
    };
    let layers = [pages(2, 0), pages(4, 1)].map(|data| layer(LayerOptions::new(SIZE), &data));
    let link = Arc::new(Link::default());
    let far = |(number, bytes): (usize, &Bytes)| {
        LayerBlob::new(
            format!("layer {number}"),
            FarBlob { link: link.clone(), number, bytes: bytes.clone() },
        )
    };
    let blobs = layers.iter().enumerate().map(far).collect();
    let (image, _) = link.run(Image::open(blobs, &Limits::default()));
    let image = image.unwrap();

    let mut merged = writer(LayerOptions::of_image(&image));
    let (result, requests) = link.run(merged.copy_image(&image));
    result.unwrap();
    // 3 MiB of data in 768 segments.
    assert_eq!(waves(&requests), 3);
    assert_eq!(bytes_of(&requests), 3 << 20);
    let merged = open("merged", MemoryBlob::new(merged.finish().unwrap().into_inner()));
    let layers = layers.map(|bytes| open("layer", MemoryBlob::new(bytes))).into();
    assert!(device(vec![merged]) == device(layers));
}

#[test]
fn what_is_contiguous_is_one_read() {
    let data: Vec<_> = (0..100).map(|n| (n * 8192, sectors(n * 16, 8))).collect();
    let link = Arc::new(Link::default());
    let bytes = layer(LayerOptions::new(1 << 20), &data);
    let blob = LayerBlob::new("far", FarBlob { link: link.clone(), number: 0, bytes });
    let (layer, _) = link.run(Layer::open(blob, &Limits::default()));
    let layer = layer.unwrap();
    assert_eq!(layer.segments().len(), 100);
    let mut copy = writer(LayerOptions::of_layer(&layer));
    let (result, requests) = link.run(copy.copy_layer(&layer));
    result.unwrap();
    assert_eq!(requests.len(), 1, "{requests:?}");
}

#[test]
fn an_error_names_the_layer_and_nothing_comes_of_the_copy() {
    let options = LayerOptions::new(1 << 20).with_compression(Some(Compression::default()));
    let mut random = Random::new(5);
    let noise = (0..1 << 19).map(|_| random.below(256) as u8).collect();
    let lower = layer(options.clone(), &[(0, sectors(0, 64))]);
    let upper = layer(options, &[(1 << 16, noise)]);
    // In the middle, which opening does not look at.
    let damaged = FlippedBlob { at: upper.len() / 2, bytes: upper, bit: 3 };
    let layers = vec![open("lower", MemoryBlob::new(lower)), open("upper", damaged)];
    let image = Image::stack(layers, &Limits::default()).unwrap();
    let mut merged = writer(LayerOptions::of_image(&image));
    let error = block_on(merged.copy_image(&image)).unwrap_err();
    assert!(matches!(error.root(), Error::Checksum { .. }), "{error}");
    assert!(error.to_string().starts_with("upper: "), "{error}");
    merged.finish().expect_err("a layer with a part of the segments");
}

#[test]
fn nothing_comes_of_a_copy_that_is_dropped() {
    let bytes = layer(LayerOptions::new(1 << 20), &[(0, sectors(0, 64))]);
    let blob = FarBlob { link: Arc::default(), number: 0, bytes };
    let mut copy = writer(LayerOptions::new(1 << 20));
    let segments = [Segment::data(0, 64, 8).unwrap()];
    let sources = [Source::new("far", &blob)];
    let mut copying = Box::pin(copy.copy(&segments, &sources));
    assert!(copying.as_mut().now_or_never().is_none(), "it waits for the far end");
    drop(copying);
    block_on(copy.copy(&[], &[])).expect_err("a copy behind one that is not complete");
    copy.finish().expect_err("a layer without the segment");
}

#[test]
fn a_segment_of_no_source_is_an_error() {
    let source = MemoryBlob::new(vec![1; 16 * SECTOR]);
    let beyond = Segment::data(0, 9, 8).unwrap();
    let error =
        block_on(writer(LayerOptions::new(1 << 20)).copy(&[beyond], &[Source::new("short", &source)]))
            .unwrap_err();
    assert!(matches!(error.root(), Error::OutOfBounds { .. }), "{error}");
    let none = Segment::data(0, 8, 8).unwrap();
    let error = block_on(writer(LayerOptions::new(1 << 20)).copy(&[none], &[])).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}

/// A layer that is read through a device of its own, as one that only has an index of another blob, has
/// its bytes where they are on the device. The size of the merged device comes from the stack and
/// not from what that device has at its front.
#[test]
fn a_source_can_be_a_device() {
    const SIZE: u64 = 1 << 20;
    let inner = layer(LayerOptions::new(SIZE), &[(4096, sectors(8, 8)), (8192, sectors(100, 4))]);
    let inner = Image::stack(vec![open("inner", MemoryBlob::new(inner))], &Limits::default()).unwrap();
    let segments = [Segment::data(8, 12, 8), Segment::zeroed(20, 4), Segment::data(24, 1, 24)];

    let mut merged = writer(LayerOptions::new(SIZE));
    block_on(merged.copy(&segments.map(Option::unwrap), &[Source::new("inner", &inner)])).unwrap();
    let merged = open("merged", MemoryBlob::new(merged.finish().unwrap().into_inner()));
    assert_eq!(merged.virtual_size(), SIZE);
    let mut expected = vec![0; SIZE as usize];
    expected[4096..8192].copy_from_slice(&sectors(8, 8));
    expected[8192..10_240].copy_from_slice(&sectors(100, 4));
    assert!(device(vec![merged]) == expected);
}

#[test]
fn pages_of_zeros_can_be_left_out() {
    const SIZE: u64 = 1 << 20;
    let mut data = sectors(0, 512);
    data[40_960..200_704].fill(0);
    data[100 * SECTOR..101 * SECTOR].fill(7);
    let below = layer(LayerOptions::new(SIZE), &[(0, vec![9; SIZE as usize])]);
    // The first page is not whole, because the data does not start at one.
    let stored = layer(LayerOptions::new(SIZE), &[(512, data)]);
    let stored_size = stored.len();
    let stored = open("stored", MemoryBlob::new(stored));

    let mut shorter = writer(LayerOptions::of_layer(&stored).with_zeroed_pages(true));
    block_on(shorter.copy_layer(&stored)).unwrap();
    let shorter = shorter.finish().unwrap().into_inner();
    // Of 39 pages of zeros, one is in two halves at the ends and one has the sevens.
    assert_eq!(stored_size - shorter.len(), 37 * 4096);
    let shorter = open("shorter", MemoryBlob::new(shorter));
    assert!(shorter.segments().iter().any(|segment| segment.is_zeroed()));
    let below = || open("below", MemoryBlob::new(below.clone()));
    assert!(device(vec![below(), shorter]) == device(vec![below(), stored]));
}
