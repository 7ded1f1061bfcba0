//! One flipped bit, thousands of times in every reference layer: never a panic, a hang or memory out
//! of proportion, and where a checksum covers the bit, an error or the right bytes.
//!
//! `cargo test --test bit_flips -- --nocapture` prints what became of the flips of each region.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{Content, Error, Image, LayerBlob, Limits, MemoryBlob, ReadAt, Result};
use peak_alloc::PeakAlloc;

use crate::anatomy::{Anatomy, Blocks, Entry, Region, lsmt_entries};
use crate::faults::{FlippedBlob, Random};
use crate::golden::{Case, DEVICE_CASES, sha256};

#[path = "harness/anatomy.rs"]
mod anatomy;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Flips in each layer.
const FLIPS: usize = 2_000;

/// Bytes that opening and reading a damaged blob may allocate beyond what the sound one takes: a
/// damaged size field must not be believed.
const MEMORY_ALLOWANCE: usize = 64 << 10;

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// A typed error when opening or reading.
    Rejected,
    /// Every byte looked at is right.
    Unchanged,
    /// Wrong bytes came out.
    Undetected,
}

/// A sound blob and what is known of it.
struct Specimen {
    name: String,
    bytes: Bytes,
    anatomy: Anatomy,
    /// The LSMT stream, or whatever plain bytes the blob compresses.
    stream: Vec<u8>,
    /// The index, if the stream is a layer.
    entries: Option<Vec<Entry>>,
}

impl Specimen {
    fn new(name: String, bytes: Bytes) -> Self {
        let anatomy = Anatomy::of(&bytes);
        let stream = match &anatomy.zfile {
            Some(_) => {
                let content =
                    block_on(Content::open(MemoryBlob::new(bytes.clone()), &Limits::default())).unwrap();
                let mut stream = vec![0; usize::try_from(content.size()).unwrap()];
                block_on(content.read_at(&mut stream, 0)).unwrap();
                stream
            }
            None => bytes.to_vec(),
        };
        let entries = lsmt_entries(&stream);
        Self { name, bytes, anatomy, stream, entries }
    }

    /// Opens and reads the blob with one bit of byte `at` in `region` flipped.
    fn flip(&self, region: Region, at: usize, bit: u8) -> Outcome {
        let blob: Arc<dyn ReadAt> = Arc::new(FlippedBlob { bytes: self.bytes.clone(), at, bit });
        self.read(blob, Some((region, at)))
    }

    /// Opens `blob` in every way that fits and looks at what it holds, near a flip above all.
    fn read(&self, blob: Arc<dyn ReadAt>, flip: Option<(Region, usize)>) -> Outcome {
        let stream = self.anatomy.zfile.as_ref().map(|blocks| self.read_stream(blob.clone(), blocks, flip));
        let device = self.entries.as_ref().map(|entries| self.read_device(blob, entries, flip));
        let outcomes: Vec<_> = [stream, device]
            .into_iter()
            .flatten()
            .map(|outcome| outcome.unwrap_or_else(|e| self.rejected(&e)))
            .collect();
        // One that did not meet the flip says nothing; wrong bytes from either are wrong bytes.
        match outcomes.as_slice() {
            all if all.contains(&Outcome::Undetected) => Outcome::Undetected,
            all if all.contains(&Outcome::Rejected) => Outcome::Rejected,
            _ => Outcome::Unchanged,
        }
    }

    fn read_stream(
        &self,
        blob: Arc<dyn ReadAt>,
        blocks: &Blocks,
        flip: Option<(Region, usize)>,
    ) -> Result<Outcome> {
        let content = block_on(Content::open(blob, &Limits::default()))?;
        let len = self.stream.len();
        if content.compression().is_none() {
            // Whoever expects a ZFile sees that it is none.
            return Ok(Outcome::Rejected);
        }
        if content.size() != len as u64 {
            return Ok(Outcome::Undetected);
        }
        let hit = flip.and_then(|(_, at)| blocks.stored.iter().position(|stored| stored.contains(&at)));
        let (starts, piece) = match hit {
            Some(number) => (vec![number * blocks.size], blocks.size),
            None => (spread(len, 64).collect(), 512),
        };
        look_at(&content, starts.iter().map(|&at| (at as u64, &self.stream[at..(at + piece).min(len)])))
    }

    fn read_device(
        &self,
        blob: Arc<dyn ReadAt>,
        entries: &[Entry],
        flip: Option<(Region, usize)>,
    ) -> Result<Outcome> {
        let image = block_on(Image::open(vec![LayerBlob::new("flipped", blob)], &Limits::default()))?;
        if image.size() != self.virtual_size() {
            return Ok(Outcome::Undetected);
        }
        let mut sectors: Vec<u64> =
            spread(entries.len(), 24).flat_map(|number| edges(&entries[number])).collect();
        match flip {
            Some((Region::LsmtData, at)) => {
                sectors = self.device_sector(entries, at / 512).into_iter().collect()
            }
            Some((Region::LsmtIndex, at)) => {
                let hit = entries.get((at - self.anatomy.start_of(Region::LsmtIndex)) / 16);
                sectors.extend(hit.iter().flat_map(|entry| edges(entry)));
            }
            _ => {}
        }
        sectors.retain(|sector| (sector + 1) * 512 <= image.size());
        let expected: Vec<_> =
            sectors.iter().map(|&sector| (sector * 512, self.sector(entries, sector))).collect();
        look_at(&image, expected.iter().map(|(offset, bytes)| (*offset, bytes.as_slice())))
    }

    /// What a sector of the device holds.
    fn sector(&self, entries: &[Entry], sector: u64) -> [u8; 512] {
        let entry = entries.iter().find(|entry| (entry.start..entry.start + entry.len).contains(&sector));
        match entry.filter(|entry| !entry.zeroed) {
            Some(entry) => {
                let at = usize::try_from((entry.stored_at + sector - entry.start) * 512).unwrap();
                self.stream[at..at + 512].try_into().unwrap()
            }
            None => [0; 512],
        }
    }

    /// Where sector `stored` of a plain stream is on the device.
    fn device_sector(&self, entries: &[Entry], stored: usize) -> Option<u64> {
        let stored = stored as u64;
        let holds = |entry: &&Entry| (entry.stored_at..entry.stored_at + entry.len).contains(&stored);
        let entry = entries.iter().filter(|entry| !entry.zeroed).find(holds)?;
        Some(entry.start + stored - entry.stored_at)
    }

    fn virtual_size(&self) -> u64 {
        let trailer = &self.stream[self.stream.len() - 4096..];
        u64::from_le_bytes(trailer[48..56].try_into().unwrap())
    }

    fn rejected(&self, error: &Error) -> Outcome {
        // A flipped tag makes an index look like that of an index-only layer, which has a target.
        let typed = matches!(
            error.root(),
            Error::Broken { .. }
                | Error::Checksum { .. }
                | Error::Unsupported { .. }
                | Error::Limit { .. }
                | Error::MissingTarget
        );
        assert!(typed, "{}: {error:?} does not say that the blob is broken", self.name);
        Outcome::Rejected
    }

    /// What the format makes possible: every reference ZFile has digests, no LSMT stream has any.
    fn allowed(&self, region: Region, at: usize, bit: u8) -> &'static [Outcome] {
        use Outcome::{Rejected, Unchanged, Undetected};
        let zfile = self.anatomy.zfile.as_ref();
        match region {
            Region::TarPadding => &[Unchanged],
            Region::TarHeader | Region::LsmtHeader => &[Rejected, Unchanged],
            // The flag of the digest: without it the digest is not looked at, and nothing else is wrong.
            Region::ZFileHeader | Region::ZFileTrailer
                if (at - self.anatomy.start_of(region), bit) == (32, 4) =>
            {
                &[Unchanged]
            }
            Region::ZFileHeader | Region::ZFileJumpTable => &[Rejected],
            Region::ZFileTrailer if zfile.is_some_and(|blocks| blocks.finished) => &[Unchanged],
            Region::ZFileTrailer => &[Rejected],
            Region::ZFileBlocks if zfile.is_some_and(|blocks| blocks.checked) => &[Rejected],
            Region::LsmtData => &[Unchanged, Undetected],
            Region::ZFileBlocks | Region::LsmtIndex | Region::LsmtTrailer => {
                &[Rejected, Unchanged, Undetected]
            }
        }
    }
}

/// Reads each range and compares.
fn look_at<'a>(reader: &dyn ReadAt, expected: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<Outcome> {
    for (offset, expected) in expected {
        let mut found = vec![0xa5; expected.len()];
        block_on(reader.read_at(&mut found, offset))?;
        if found != expected {
            return Ok(Outcome::Undetected);
        }
    }
    Ok(Outcome::Unchanged)
}

/// The first and last sector of a segment and their neighbours.
fn edges(entry: &Entry) -> [u64; 4] {
    let end = entry.start + entry.len;
    [entry.start.saturating_sub(1), entry.start, end - 1, end]
}

/// At most `count` numbers below `len`, evenly spread.
fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len.div_ceil(count).max(1))
}

/// Every distinct reference blob that opens at all.
fn specimens() -> impl Iterator<Item = Specimen> {
    let mut seen = BTreeSet::new();
    DEVICE_CASES
        .into_iter()
        .chain(["lsmt-huge", "zfile-raw"])
        .flat_map(|case| Case::open(case).files().collect::<Vec<_>>())
        .filter(|(name, _)| !NO_SPECIMENS.iter().any(|suffix| name.ends_with(suffix)))
        .filter(move |(_, bytes)| seen.insert(sha256(bytes)))
        .map(|(name, bytes)| Specimen::new(name, bytes))
}

/// File lists, a writable file, a device without a size and a ZFile without content.
const NO_SPECIMENS: [&str; 4] = [".json", "rw.data", "vsize-zero.commit", "zh.lz4.128k"];

/// The most memory that `work` had allocated at once, and what it gave.
fn memory_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    (MEMORY.peak_usage().saturating_sub(before), result)
}

#[test]
fn flipped_bits() {
    let mut counts: BTreeMap<(Region, Outcome), usize> = BTreeMap::new();
    for specimen in specimens() {
        let name = &specimen.name;
        let sound = Arc::new(MemoryBlob::new(specimen.bytes.clone()));
        let (sound_memory, outcome) = memory_of(|| specimen.read(sound, None));
        assert_eq!(outcome, Outcome::Unchanged, "{name} as it is");

        let mut random = Random::new(specimen.bytes.len() as u64);
        let regions = &specimen.anatomy.regions;
        for number in 0..FLIPS {
            let (region, range) = &regions[number % regions.len()];
            // Every other flip near the front, where records have their fields.
            let len = if number / regions.len() % 2 == 0 { range.len().min(400) } else { range.len() };
            let (at, bit) = (range.start + random.below(len), random.below(8) as u8);

            let (memory, outcome) = memory_of(|| specimen.flip(*region, at, bit));
            let flip = format!("{name}: bit {bit} of byte {at}, {region:?}");
            assert!(
                memory <= sound_memory + MEMORY_ALLOWANCE,
                "{flip}: {memory} bytes, {sound_memory} without it"
            );
            assert!(specimen.allowed(*region, at, bit).contains(&outcome), "{flip}: {outcome:?}");
            *counts.entry((*region, outcome)).or_default() += 1;
        }
    }

    for ((region, outcome), count) in &counts {
        println!("{region:?}: {outcome:?} {count}");
    }
    let undetected = |region| counts.contains_key(&(region, Outcome::Undetected));
    assert!(undetected(Region::LsmtData), "a flip in plain data must reach the reader");
    assert!(undetected(Region::LsmtTrailer), "a flip in the virtual size must reach the reader");
}
