//! Gzip blobs and indexes that are not what they should be: typed errors, bounded memory, and no wrong
//! byte after the whole of a member has been seen.
#![cfg(feature = "gzip")]

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::executor::block_on;
use overlaybd_format::{
    Error, GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt, Result,
};

use crate::faults::{FlippedBlob, Random};
use crate::golden::Case;

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn index_of(gzip: &[u8]) -> Result<Vec<u8>> {
    GzipIndexer::new(gzip, GzipIndexOptions::default().with_span(64 << 10).with_permille(1000)).finish()
}

fn open(gzip: impl Into<Bytes>, index: impl Into<Bytes>) -> Result<GzipBlob> {
    open_over(Arc::new(MemoryBlob::new(gzip)), index)
}

fn open_over(gzip: Arc<dyn ReadAt>, index: impl Into<Bytes>) -> Result<GzipBlob> {
    GzipBlob::new(gzip, block_on(GzipIndex::open(MemoryBlob::new(index), &Limits::default()))?)
}

fn read_all(blob: &GzipBlob, piece: usize) -> Result<Vec<u8>> {
    let mut all = vec![0xa5; usize::try_from(blob.size()).unwrap()];
    for (number, part) in all.chunks_mut(piece).enumerate() {
        block_on(blob.read_at(part, (number * piece) as u64))?;
    }
    Ok(all)
}

#[test]
fn a_stream_that_is_not_whole_is_not_indexed() {
    let content: Vec<u8> = Random::new(1).words(300_000);
    let sound = gzip(&content);
    let two = [sound.clone(), sound.clone()].concat();
    assert!(index_of(&sound).is_ok());
    assert!(index_of(&two).is_ok());
    assert!(index_of(&[&sound[..], &[0; 1000]].concat()).is_ok(), "zeros behind the last member");

    let truncated = [0, 1, 9, 10, 11, sound.len() / 2, sound.len() - 8, sound.len() - 1, sound.len() + 5];
    for len in truncated {
        let error = index_of(&two[..len]).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{len} bytes: {error}");
    }
    for (garbage, what) in [(&b"garbage"[..], "no gzip member"), (b"\0\0BZh", "no gzip member")] {
        let error = index_of(&[&sound[..], garbage].concat()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let patched = |at: usize| {
        let mut bytes = sound.clone();
        bytes[sound.len() - at] ^= 1;
        index_of(&bytes).unwrap_err()
    };
    assert!(matches!(patched(8), Error::Checksum { .. }));
    assert!(matches!(patched(4), Error::Broken { .. }), "the length");
}

/// Every bit of a gzip stream is protected once all of it was read, in whatever order.
#[test]
fn a_flipped_bit_does_not_survive_a_whole_read() {
    let case = Case::open("gzindex");
    for name in ["g1.gz", "multi-member.gz", "stored.gz"] {
        let bytes = case.bytes(name);
        let index = index_of(&bytes).unwrap();
        let sound = read_all(&open(bytes.clone(), index.clone()).unwrap(), 1 << 20).unwrap();
        let mut random = Random::new(3);
        for flip in 0..40 {
            let (at, bit) = (10 + random.below(bytes.len() - 10), random.below(8) as u8);
            let flipped = || Arc::new(FlippedBlob { bytes: bytes.clone(), at, bit });
            let blob = open_over(flipped(), index.clone()).unwrap();
            let mut order: Vec<usize> = (0..sound.len().div_ceil(100_000)).collect();
            if flip % 2 == 1 {
                order.reverse();
            }
            let outcome = order.iter().try_for_each(|piece| {
                let start = piece * 100_000;
                let mut part = vec![0xa5; 100_000.min(sound.len() - start)];
                block_on(blob.read_at(&mut part, start as u64))
            });
            match outcome {
                Err(error) => assert!(
                    matches!(error, Error::Broken { .. } | Error::Checksum { .. }),
                    "{name}: bit {bit} of byte {at}: {error}"
                ),
                // The rest of a byte behind the last block, and the second member's header, mean nothing.
                Ok(()) => {
                    assert!(read_all(&blob, 1 << 20).unwrap() == sound, "{name}: bit {bit} of byte {at}")
                }
            }
        }
    }
}

#[test]
fn a_failed_member_fails_all_later_reads() {
    let content = Random::new(5).words(400_000);
    let mut bytes = gzip(&content);
    let index = index_of(&bytes).unwrap();
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    let blob = open(bytes, index).unwrap();
    let mut start = [0; 512];
    block_on(blob.read_at(&mut start, 0)).unwrap();
    assert_eq!(start, content[..512], "a part of a member is not protected");

    let error = read_all(&blob, 64 << 10).unwrap_err();
    assert!(matches!(error, Error::Checksum { what: "gzip member", .. }), "{error}");
    let again = block_on(blob.read_at(&mut start, 0)).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert!(blob.try_read_at(&mut start, 0).is_err());
}

/// A flip in the index of ours: its header and its zlib streams have checksums.
#[test]
fn a_flipped_bit_of_the_index_is_noticed() {
    let case = Case::open("gzindex");
    let bytes = case.bytes("g1.gz");
    let index = index_of(&bytes).unwrap();
    let sound = read_all(&open(bytes.clone(), index.clone()).unwrap(), 1 << 20).unwrap();
    let mut random = Random::new(9);
    for flip in 0..400 {
        let at = random.below(if flip % 4 == 0 { 333 } else { index.len() });
        let mut index = index.clone();
        index[at] ^= 1 << random.below(8);
        let outcome = open(bytes.clone(), index).and_then(|blob| read_all(&blob, 200_000));
        match outcome {
            Ok(found) => assert!(found == sound, "byte {at}"),
            Err(error) => assert!(
                matches!(
                    error,
                    Error::Broken { .. }
                        | Error::Checksum { .. }
                        | Error::Unsupported { .. }
                        | Error::Limit { .. }
                ),
                "byte {at}: {error}"
            ),
        }
    }
}

/// An index as the reference writes it without compression, from its fields.
struct Forged {
    version: u8,
    coding: u8,
    window: i32,
    entry_size: i32,
    entries: Vec<Entry>,
    count: Option<u64>,
    gzip_size: u64,
    uncompressed_size: u64,
}

/// Places in the output and in the gzip blob, the place of the window, bits and the window's length.
type Entry = (u64, u64, u64, u8, u32);

impl Forged {
    fn of(gzip: &[u8], content: &[u8]) -> Self {
        Self {
            version: 1,
            coding: 0,
            window: 32768,
            entry_size: 29,
            entries: vec![(0, 10, 333, 0, 32768)],
            count: None,
            gzip_size: gzip.len() as u64,
            uncompressed_size: content.len() as u64,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let table_len = self.entries.len() as u64 * 29;
        let table_at = 333 + 32768;
        let mut bytes = b"ddgzidx\0".to_vec();
        bytes.extend([self.version, 0, self.coding, 6, 0]);
        bytes.extend(65536_i32.to_le_bytes());
        bytes.extend(self.window.to_le_bytes());
        bytes.extend(self.entry_size.to_le_bytes());
        for size in [
            self.count.unwrap_or(self.entries.len() as u64),
            self.gzip_size,
            table_at + table_len,
            self.uncompressed_size,
        ] {
            bytes.extend(size.to_le_bytes());
        }
        bytes.resize(313, 0);
        bytes.extend(table_at.to_le_bytes());
        bytes.extend(table_len.to_le_bytes());
        bytes.extend((!crc32c::crc32c_append(!0, &bytes)).to_le_bytes());
        bytes.resize(usize::try_from(table_at).unwrap(), 0);
        for (uncompressed, compressed, window_at, bits, window_len) in &self.entries {
            for place in [uncompressed, compressed, window_at] {
                bytes.extend(place.to_le_bytes());
            }
            bytes.push(*bits);
            bytes.extend(window_len.to_le_bytes());
        }
        bytes
    }
}

#[test]
fn each_rule_of_an_index_has_its_error() {
    let content = Random::new(11).words(10_000);
    let stream = gzip(&content);
    let size = stream.len() as u64;
    let outcome = |forge: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::of(&stream, &content);
        forge(&mut forged);
        open(stream.clone(), forged.bytes()).and_then(|blob| read_all(&blob, 1 << 20))
    };
    assert!(outcome(&|_| ()).unwrap() == content);

    type Forge = Box<dyn Fn(&mut Forged)>;
    let entry = |entry: Entry| -> Forge { Box::new(move |index| index.entries = vec![entry]) };
    let entries = |entries: [Entry; 2]| -> Forge { Box::new(move |index| index.entries = entries.to_vec()) };
    let first = (0, 10, 333, 0, 32768);
    let broken: Vec<(Forge, &str)> = vec![
        (Box::new(|index| index.gzip_size += 1), "of a blob of"),
        (Box::new(|index| index.entries.clear()), "no entry"),
        (Box::new(|index| index.count = Some(2)), "for each checkpoint"),
        (Box::new(|index| index.uncompressed_size = 1 << 63), "negative"),
        (Box::new(|index| index.uncompressed_size += 1), "the index has"),
        (entry((1, 10, 333, 0, 32768)), "not at the start"),
        (entry((0, size + 1, 333, 0, 32768)), "beyond the end"),
        (entry((0, 10, 333, 8, 32768)), "no such bits"),
        (entry((0, 0, 333, 3, 32768)), "no such bits"),
        (entry((0, 10, 332, 0, 32768)), "outside the windows"),
        (entry((0, 10, u64::MAX, 0, 32768)), "outside the windows"),
        (entry((0, 10, 334, 0, 32768)), "outside the windows"),
        (entry((0, 10, 333, 0, 32767)), "32768 bytes"),
        (entry((0, 11, 333, 0, 32768)), ""),
        (entries([first, (5_000, 9, 333, 0, 32768)]), "precedes"),
        (entries([first, (20_000, 100, 333, 0, 32768)]), "beyond the end"),
        (entries([first, (5_000, 1_000, 333, 0, 32768)]), "the index has"),
    ];
    for (number, (forge, why)) in broken.iter().enumerate() {
        let error = outcome(forge).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{number}: {error:?}");
        assert!(error.to_string().contains(why), "{number}: {error}, not {why}");
    }
    let unsupported: Vec<Forge> = vec![
        Box::new(|index| index.version = 2),
        Box::new(|index| index.coding = 2),
        Box::new(|index| index.window = 65536),
        Box::new(|index| index.entry_size = 30),
    ];
    for (number, forge) in unsupported.iter().enumerate() {
        let error = outcome(forge).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{number}: {error:?}");
    }
    let error = outcome(&|index| index.count = Some(1 << 40)).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error:?}");
}

/// Everything is right but for one bit of where the second span starts.
#[test]
fn a_span_must_end_where_the_next_one_starts() {
    let gzip = Case::open("gzindex").bytes("g1.gz");
    let mut index = index_of(&gzip).unwrap();
    let table_at = usize::try_from(u64::from_le_bytes(index[313..321].try_into().unwrap())).unwrap();
    let mut table = Vec::new();
    flate2::read::ZlibDecoder::new(&index[table_at..]).read_to_end(&mut table).unwrap();
    table[29 + 24] ^= 1;

    index.truncate(table_at);
    let mut encoder = flate2::write::ZlibEncoder::new(index, Compression::fast());
    encoder.write_all(&table).unwrap();
    let mut index = encoder.finish().unwrap();
    let size = index.len() as u64;
    index[41..49].copy_from_slice(&size.to_le_bytes());
    index[321..329].copy_from_slice(&(size - table_at as u64).to_le_bytes());
    let checksum = !crc32c::crc32c_append(!0, &index[..329]);
    index[329..333].copy_from_slice(&checksum.to_le_bytes());

    let blob = open(gzip, index).unwrap();
    let error = read_all(&blob, 16 << 10).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && error.to_string().contains("the index has"), "{error}");
}
