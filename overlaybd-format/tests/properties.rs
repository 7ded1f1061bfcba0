//! Layers of any shape read as a naive map of sectors says, whether this crate wrote them or an
//! adversary did.

use std::io::Cursor;
use std::sync::Arc;

use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, Error, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt,
    Tar,
};
use proptest::prelude::*;

use crate::lsmt::Entry;

#[path = "harness/lsmt.rs"]
mod lsmt;

/// The largest device of these tests, in sectors.
const SECTORS: u64 = 1024;

/// What a layer is to hold.
#[derive(Debug, Clone)]
struct Plan {
    virtual_size: u64,
    /// Unwritten sectors before a run, its sectors, and what it is.
    runs: Vec<(u64, u64, Run)>,
    compression: Option<Compression>,
    tar: Option<Tar>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Run {
    Data,
    Zeros,
}

impl Plan {
    /// The runs as device sectors; those that reach beyond the device are left out.
    fn sectors(&self) -> Vec<(u64, u64, Run)> {
        let mut at = 0;
        let mut placed = Vec::new();
        for &(gap, len, run) in &self.runs {
            let start = at + gap;
            at = start + len;
            if at * 512 <= self.virtual_size {
                placed.push((start, len, run));
            }
        }
        placed
    }

    fn write(&self, layer: u64) -> Vec<u8> {
        let options =
            LayerOptions::new(self.virtual_size).with_compression(self.compression).with_tar(self.tar);
        let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
        for (start, len, run) in self.sectors() {
            match run {
                Run::Data => writer.write(start * 512, &content(layer, start, len)).unwrap(),
                Run::Zeros => writer.zero(start * 512, len * 512).unwrap(),
            }
        }
        writer.finish().unwrap().into_inner()
    }

    /// What the layer does to a device below it.
    fn apply(&self, layer: u64, device: &mut [u8]) {
        for (start, len, run) in self.sectors() {
            let range = (start * 512) as usize..((start + len) * 512) as usize;
            // Layers may cover more than the device that the topmost one sizes.
            let Some(target) = device.get_mut(range.start..range.end.min(device.len())) else { continue };
            match run {
                Run::Data => target.copy_from_slice(&content(layer, start, len)[..target.len()]),
                Run::Zeros => target.fill(0),
            }
        }
    }
}

/// Bytes that name their layer and place; half of each sector compresses well.
fn content(layer: u64, start: u64, len: u64) -> Vec<u8> {
    (start..start + len)
        .flat_map(|sector| {
            (0..64_u64).map(move |word| {
                if word < 32 { layer << 32 | sector } else { (sector * 64 + word).pow(3) ^ layer }
            })
        })
        .flat_map(u64::to_le_bytes)
        .collect()
}

fn plan() -> impl Strategy<Value = Plan> {
    let run = prop_oneof![3 => Just(Run::Data), 1 => Just(Run::Zeros)];
    let runs = prop::collection::vec((prop_oneof![Just(0), 0..40_u64], 1..100_u64, run), 0..24);
    let algorithm = prop_oneof![Just(Algorithm::Lz4), Just(Algorithm::Zstd)];
    let block_size = prop_oneof![Just(4096), Just(8192), Just(16_384), Just(32_768)];
    let compression =
        prop::option::of((algorithm, block_size, 1..4_usize).prop_map(|(algorithm, block_size, threads)| {
            Compression::new(algorithm).with_block_size(block_size).with_threads(threads)
        }));
    let tar = prop_oneof![Just(None), Just(Some(Tar::Pax)), Just(Some(Tar::Ustar))];
    (1..=SECTORS, runs, compression, tar).prop_map(|(sectors, runs, compression, tar)| Plan {
        virtual_size: sectors * 512,
        runs,
        compression,
        tar,
    })
}

fn open(layers: Vec<Vec<u8>>) -> overlaybd_format::Result<Image> {
    let layers = layers.into_iter().map(|bytes| LayerBlob::new("layer", Arc::new(MemoryBlob::new(bytes))));
    block_on(Image::open(layers.collect(), &Limits::default()))
}

proptest! {
    #[test]
    fn stacks_read_as_a_naive_map_says(
        plans in prop::collection::vec(plan(), 1..6),
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0..70_000_usize), 1..40),
    ) {
        let layers = plans.iter().zip(0..).map(|(plan, layer)| plan.write(layer)).collect();
        let image = open(layers).unwrap();

        let size = plans.last().unwrap().virtual_size;
        let mut device = vec![0; size as usize];
        plans.iter().zip(0..).for_each(|(plan, layer)| plan.apply(layer, &mut device));

        prop_assert_eq!(image.size(), size);
        let mut whole = vec![0xa5; device.len()];
        block_on(image.read_at(&mut whole, 0)).unwrap();
        prop_assert!(whole == device, "the whole device differs at byte {:?}", difference(&whole, &device));
        for (start, len) in reads {
            let start = start.index(device.len());
            let expected = &device[start..(start + len).min(device.len())];
            let mut found = vec![0xa5; expected.len()];
            block_on(image.read_at(&mut found, start as u64)).unwrap();
            prop_assert!(found == expected, "{} bytes at {start}", expected.len());
        }
    }

    #[test]
    fn a_layer_of_no_size_takes_that_of_the_layers_below(below in plan(), above in plan()) {
        let data = content(1, 0, 1);
        let entry = Entry { start: 0, len: 1, stored_at: 8, zeroed: false };
        let sizeless = lsmt::stream(0, &data, &[entry]);
        let image = open(vec![below.write(0), above.write(1), sizeless]).unwrap();
        prop_assert_eq!(image.size(), above.virtual_size);
        let mut found = [0; 512];
        block_on(image.read_at(&mut found, 0)).unwrap();
        prop_assert_eq!(found.as_slice(), data);
    }

    /// Indexes of entries that mostly break a rule: what opens keeps all of them and reads as it
    /// says, what does not is broken.
    #[test]
    fn adversarial_indexes_are_valid_or_broken(
        steps in prop::collection::vec((0..6_i64, 0..5_u64, 6..13_u64, any::<bool>()), 1..6),
    ) {
        // Four data sectors, stored at 8 to 11.
        let data = content(0, 0, 4);
        let mut at = 0_i64;
        let entries: Vec<Entry> = steps
            .into_iter()
            .map(|(step, len, stored_at, zeroed)| {
                // One sector back in one of six cases, so that some overlap.
                let start = (at + step - 1).max(0);
                at = start + len as i64;
                Entry { start: start as u64, len, stored_at, zeroed }
            })
            .collect();
        let valid = entries.iter().all(is_stored)
            && entries.windows(2).all(|pair| pair[0].start + pair[0].len <= pair[1].start);

        match open(vec![lsmt::stream(64 * 512, &data, &entries)]) {
            Ok(image) => {
                prop_assert!(valid, "{entries:?} opens");
                let mut device = vec![0; 64 * 512];
                for entry in entries.iter().filter(|entry| !entry.zeroed) {
                    let from = ((entry.stored_at - 8) * 512) as usize;
                    let (start, len) = ((entry.start * 512) as usize, (entry.len * 512) as usize);
                    device[start..start + len].copy_from_slice(&data[from..from + len]);
                }
                let mut whole = vec![0xa5; device.len()];
                block_on(image.read_at(&mut whole, 0)).unwrap();
                prop_assert!(whole == device);
            }
            Err(error) => {
                prop_assert!(!valid, "{entries:?}: {error}");
                prop_assert!(matches!(error.root(), Error::Broken { .. }), "{error}");
            }
        }
    }
}

/// The rule for one entry where the data are sectors 8 to 11.
fn is_stored(entry: &Entry) -> bool {
    let end = entry.stored_at + if entry.zeroed { 0 } else { entry.len };
    entry.len > 0 && entry.stored_at >= 8 && end <= 12
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}
