//! What a cold image costs: opening takes at most three dependent waves of requests and few bytes,
//! whatever the layers are wrapped in, and neighbouring blocks come in one request.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use overlaybd_format::{Compression, Image, LayerBlob, LayerOptions, LayerWriter, Limits, ReadAt, Tar};

use crate::anatomy::Anatomy;
use crate::far::{FarBlob, Link, bytes_of, waves};
use crate::faults::Random;
use crate::golden::{Case, DEVICE_CASES};

#[path = "harness/anatomy.rs"]
mod anatomy;
#[path = "harness/far.rs"]
mod far;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

/// The most that opening may fetch of a reference layer, in bytes: both ends, read before it is known
/// what is there. A compressed layer costs its first and its last block besides.
const OPENING_BYTES: u64 = 72 << 10;

fn far_layers(link: &Arc<Link>, blobs: impl IntoIterator<Item = Bytes>) -> Vec<LayerBlob> {
    let far = |(number, bytes)| {
        LayerBlob::new(format!("layer {number}"), Arc::new(FarBlob { link: link.clone(), number, bytes }))
    };
    blobs.into_iter().enumerate().map(far).collect()
}

#[test]
fn a_stack_opens_in_three_waves() {
    for case in DEVICE_CASES.map(Case::open) {
        for device in case.devices().iter().filter(|device| device.sha256.is_some()) {
            let link = Arc::new(Link::default());
            let layers = far_layers(&link, device.layers.iter().map(|file| case.bytes(file)));
            let (image, requests) = link.run(async { Image::open(layers, &Limits::default()).await });
            image.unwrap();

            assert!(waves(&requests) <= 3, "{:?}: {requests:#?}", device.layers);
            for (number, file) in device.layers.iter().enumerate() {
                let of_layer: Vec<_> =
                    requests.iter().filter(|request| request.blob == number).cloned().collect();
                let fetched = bytes_of(&of_layer);
                let block_size = Anatomy::of(&case.bytes(file)).zfile.map_or(0, |blocks| blocks.size as u64);
                assert!(
                    fetched <= OPENING_BYTES + 2 * block_size,
                    "{file}: {fetched} bytes to open, {of_layer:#?}"
                );
            }
        }
    }
}

/// The hardest case: a first block that both ends miss, and a jump table and an index too large for
/// what is read ahead of them.
#[test]
fn a_large_compressed_layer_opens_in_three_waves() {
    const SEGMENTS: u64 = 20_000;
    const SEGMENT: u64 = 27 * 512;
    let mut random = Random::new(7);
    let compression = Compression::default().with_block_size(16 << 10);
    let options = LayerOptions::new(SEGMENTS * (SEGMENT + 16 * 512))
        .with_compression(Some(compression))
        .with_tar(Some(Tar::Pax));
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
    let incompressible: Vec<u8> = (0..SEGMENT).map(|_| random.below(256) as u8).collect();
    writer.write(0, &incompressible).unwrap();
    let mut at = SEGMENT;
    for _ in 1..SEGMENTS {
        at += 512 * (1 + random.below(15) as u64);
        writer.write(at, &[0; SEGMENT as usize]).unwrap();
        at += SEGMENT;
    }
    let blob = writer.finish().unwrap().into_inner();

    let link = Arc::new(Link::default());
    let layers = far_layers(&link, [Bytes::from(blob)]);
    let (image, requests) = link.run(async { Image::open(layers, &Limits::default()).await });
    assert_eq!(image.unwrap().index().len() as u64, SEGMENTS);
    assert!(waves(&requests) <= 3, "{requests:#?}");
}

#[test]
fn neighbouring_blocks_come_in_one_request() {
    let case = Case::open("stack");
    for file in ["L0.obd", "L1.obd", "L2.obd", "L3.obd", "merged.cli"] {
        let link = Arc::new(Link::default());
        let layers = far_layers(&link, [case.bytes(file)]);
        let (image, _) = link.run(async { Image::open(layers, &Limits::default()).await });
        let image = image.unwrap();

        let segment = image
            .index()
            .segments()
            .iter()
            .filter(|segment| !segment.is_zeroed())
            .max_by_key(|segment| segment.len())
            .unwrap();
        let mut whole = vec![0; usize::try_from(segment.len() * 512).unwrap()];
        let (result, requests) = link.run(image.read_at(&mut whole, segment.start() * 512));
        result.unwrap();
        assert!(whole.len() > 2 * 4096, "{file} has no segment of several blocks");
        assert_eq!(requests.len(), 1, "{file}: {requests:#?}");
    }
}
