//! The extents of a range are what a read of it gives, without gaps and cut to the range.

use futures::executor::block_on;
use overlaybd_format::{Error, ExtentKind, Image, Layer, LayerBlob, Limits, ReadAt};

use crate::faults::Random;
use crate::golden::{Case, DEVICE_CASES};

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

#[test]
fn extents_lead_to_the_bytes_of_a_read() {
    let mut random = Random::new(7);
    let mut seen = [0; 4];
    for name in DEVICE_CASES {
        let case = Case::open(name);
        for device in case.devices().iter().filter(|device| device.sha256.is_some()) {
            let blobs: Vec<_> = device.layers.iter().map(|file| case.blob(file)).collect();
            let image = block_on(Image::open(case.layers(device), &Limits::default())).unwrap();
            let size = usize::try_from(image.size()).unwrap();
            let mut ranges: Vec<_> =
                image.index().segments().iter().step_by(37).map(|s| s.start() * 512).collect();
            ranges.extend((0..20).map(|_| random.below(size) as u64));
            for start in ranges {
                let end = (start + random.below(200_000) as u64).min(image.size());
                let mut expected = vec![0xa5; (end - start) as usize];
                block_on(image.read_at(&mut expected, start)).unwrap();

                let mut at = start;
                for extent in image.map(start..end).unwrap() {
                    let extent = extent.unwrap();
                    assert_eq!(extent.device.start, at, "a gap in {start}..{end} of {name}");
                    assert!(!extent.device.is_empty());
                    at = extent.device.end;
                    let expected = &expected
                        [(extent.device.start - start) as usize..(extent.device.end - start) as usize];
                    seen[kind_number(&extent.kind)] += 1;
                    let found = follow(&extent.kind, expected.len(), &image, &blobs);
                    assert!(found == expected, "{extent:?} of {:?}", device.layers);
                }
                assert_eq!(at, end);
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 100), "each kind is met often: {seen:?}");
}

/// The bytes at the place that `kind` names.
fn follow(kind: &ExtentKind, len: usize, image: &Image, blobs: &[std::sync::Arc<dyn ReadAt>]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    match kind {
        ExtentKind::Plain { layer, content, blob } => {
            block_on(blobs[*layer].read_at(&mut bytes, blob.start)).unwrap();
            assert_eq!(blob.end - blob.start, len as u64);
            assert_eq!(content.end - content.start, len as u64);
        }
        ExtentKind::Compressed { layer, content, blob } => {
            let content_reader = image.layers()[*layer].content();
            block_on(content_reader.read_at(&mut bytes, content.start)).unwrap();
            assert_eq!(content.end - content.start, len as u64);
            assert!(!blob.is_empty() && blob.end <= blobs[*layer].size());
        }
        _ => {}
    }
    bytes
}

fn kind_number(kind: &ExtentKind) -> usize {
    match kind {
        ExtentKind::Hole => 0,
        ExtentKind::Zeroed { .. } => 1,
        ExtentKind::Plain { .. } => 2,
        _ => 3,
    }
}

#[test]
fn a_single_layer_maps_as_the_image_of_it() {
    let case = Case::open("lsmt-edge");
    for device in case.devices().iter().filter(|device| device.sha256.is_some()) {
        let blob = || LayerBlob::new("layer", case.blob(&device.layers[0]));
        let layer = block_on(Layer::open(blob(), &Limits::default())).unwrap();
        let image = block_on(Image::open(vec![blob()], &Limits::default())).unwrap();
        for range in [0..image.size(), 513..image.size(), image.size() / 2..image.size(), 0..0] {
            let of_layer: Vec<_> = layer.map(range.clone()).map(Result::unwrap).collect();
            let of_image: Vec<_> = image.map(range).unwrap().map(Result::unwrap).collect();
            assert_eq!(of_layer, of_image);
        }
    }
}

#[test]
#[expect(clippy::reversed_empty_ranges)]
fn ranges_outside_the_device_are_refused() {
    let case = Case::open("lsmt-edge");
    let device = case.devices().into_iter().find(|device| device.sha256.is_some()).unwrap();
    let image = block_on(Image::open(case.layers(&device), &Limits::default())).unwrap();
    for range in [0..image.size() + 1, u64::MAX - 1..u64::MAX, 2..1] {
        assert!(matches!(image.map(range).err(), Some(Error::OutOfBounds { .. })));
    }
    assert_eq!(image.map(image.size()..image.size()).unwrap().count(), 0);
}
