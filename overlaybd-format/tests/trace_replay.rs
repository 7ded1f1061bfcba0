//! A start that was recorded needs nothing but what the replay of its trace fetches.

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::executor::block_on;
use overlaybd_format::trace::{BlobRange, Recorder, Trace};
use overlaybd_format::{Error, Image, LayerBlob, Limits, ReadAt, Result, Warm, check_bounds};

use crate::faults::Random;
use crate::golden::{Case, DEVICE_CASES};

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

/// A blob of which only the fetched ranges are here.
#[derive(Debug)]
struct Fetched {
    bytes: Bytes,
    /// None while all of it is here.
    ranges: Mutex<Option<Vec<Range<u64>>>>,
}

#[async_trait]
impl ReadAt for Fetched {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size(), offset, buf.len())?;
        let end = offset + buf.len() as u64;
        if let Some(ranges) = &*self.ranges.lock().unwrap() {
            let mut at = offset;
            while let Some(range) = ranges.iter().find(|range| range.contains(&at)) {
                at = range.end;
            }
            if at < end {
                return Err(Error::io(at, 1, std::io::Error::other("it was not fetched")));
            }
        }
        buf.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(Warm::Yes)
    }
}

impl Fetched {
    fn new(bytes: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into(), ranges: Mutex::new(None) })
    }

    /// Forgets all but `ranges`.
    fn keep<'a>(&self, ranges: impl Iterator<Item = &'a BlobRange>) {
        *self.ranges.lock().unwrap() = Some(ranges.map(|fetched| fetched.range.clone()).collect());
    }
}

#[test]
fn a_replay_fetches_all_that_the_start_reads() {
    for name in DEVICE_CASES {
        let case = Case::open(name);
        for device in case.devices().iter().filter(|device| device.sha256.is_some()) {
            let blobs: Vec<_> = device.layers.iter().map(|file| Fetched::new(case.bytes(file))).collect();
            let layers = blobs.iter().map(|blob| LayerBlob::new("layer", Arc::clone(blob))).collect();
            record_and_replay(layers, &blobs, &[]);
        }
    }
}

#[test]
fn a_replay_fetches_what_is_in_targets_too() {
    let case = Case::open("turbooci");
    let tar = |layer: &str| {
        let mut tar = Vec::new();
        let gzip = case.bytes(&format!("{layer}.tar.gz"));
        MultiGzDecoder::new(gzip.as_ref()).read_to_end(&mut tar).unwrap();
        Fetched::new(tar)
    };
    for (filesystem, layers) in [("ext4", ["L1", "L2", "L3"]), ("erofs", ["L1", "L2e", "L3"])] {
        let blob = |layer| Fetched::new(case.bytes(&format!("{filesystem}-tar-{layer}.fs.meta")));
        let (blobs, targets) = (layers.map(blob), layers.map(tar));
        let layers = blobs.iter().zip(&targets).map(|(blob, target)| {
            LayerBlob::new("layer", Arc::clone(blob)).with_target("tar", Arc::clone(target))
        });
        record_and_replay(layers.collect(), &blobs, &targets);
    }
}

/// Reads at random from a device of `layers`, keeps of its blobs and targets what the trace of these reads
/// names, and makes the reads again.
fn record_and_replay(layers: Vec<LayerBlob>, blobs: &[Arc<Fetched>], targets: &[Arc<Fetched>]) {
    let mut random = Random::new(3);
    let image = Arc::new(block_on(Image::open(layers, &Limits::default())).unwrap());
    let recorder = Recorder::new(Arc::clone(&image), &Limits::default());
    let mapped: Vec<_> = image.index().segments().iter().map(|segment| segment.start() * 512).collect();
    let mut reads = Vec::new();
    for _ in 0..20 {
        let offset = match random.below(mapped.len().max(1)) {
            place if random.below(3) > 0 => mapped.get(place).copied().unwrap_or(0),
            _ => random.below(image.size() as usize) as u64,
        };
        let offset = offset.min(image.size() - 1);
        let mut buf = vec![0; (image.size() - offset).min(1 + random.below(30_000) as u64) as usize];
        block_on(recorder.read_at(&mut buf, offset)).unwrap();
        reads.push((offset, buf));
    }

    let file = Trace::of(&image, &recorder.ranges(), &Limits::default()).unwrap().encode();
    let fetched = Trace::decode(&file, &Limits::default()).unwrap().blob_ranges(&image).unwrap();
    for (of_target, blobs) in [(false, blobs), (true, targets)] {
        for (layer, blob) in blobs.iter().enumerate() {
            blob.keep(fetched.iter().filter(|range| range.layer == layer && range.target == of_target));
        }
    }
    for (offset, expected) in reads {
        let mut buf = vec![0; expected.len()];
        block_on(image.read_at(&mut buf, offset)).unwrap();
        assert!(buf == expected);
    }
}
