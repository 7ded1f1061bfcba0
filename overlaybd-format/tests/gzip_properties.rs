//! Whatever a gzip stream is made of, inflating from a checkpoint gives what inflating the whole does.
#![cfg(feature = "gzip")]

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use futures::executor::block_on;
use overlaybd_format::{
    GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt, Warm,
};
use proptest::prelude::*;

use crate::faults::Random;

#[path = "harness/faults.rs"]
mod faults;

/// A run of bytes in a stream.
#[derive(Debug, Clone)]
enum Run {
    /// Without any pattern: stored blocks.
    Noise(usize),
    /// Words from a small vocabulary: references near and far.
    Words(usize),
    /// One byte over and over: the longest references.
    Byte(u8, usize),
    /// What stood up to 32 KiB before.
    Again(usize, usize),
}

/// A gzip member.
#[derive(Debug, Clone)]
struct Member {
    runs: Vec<Run>,
    level: u32,
    name: Option<String>,
    /// After how many bytes blocks are cut, if at all.
    flush: Option<usize>,
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![
        (0..90_000_usize).prop_map(Run::Noise),
        (0..120_000_usize).prop_map(Run::Words),
        (any::<u8>(), 0..300_000_usize).prop_map(|(byte, len)| Run::Byte(byte, len)),
        (1..33_000_usize, 0..60_000_usize).prop_map(|(back, len)| Run::Again(back, len)),
    ]
}

fn member() -> impl Strategy<Value = Member> {
    let flush = prop::option::weighted(0.3, 1_000..80_000_usize);
    let name = prop::option::of("[a-z]{0,20}");
    (prop::collection::vec(run(), 0..7), 0..=9_u32, name, flush)
        .prop_map(|(runs, level, name, flush)| Member { runs, level, name, flush })
}

fn content(runs: &[Run], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in runs {
        match *run {
            Run::Noise(len) => bytes.extend((0..len).map(|_| random.below(256) as u8)),
            Run::Words(len) => {
                let end = bytes.len() + len;
                while bytes.len() < end {
                    bytes.extend(format!("{:x} ", random.below(700).pow(2)).bytes());
                }
            }
            Run::Byte(byte, len) => bytes.extend(std::iter::repeat_n(byte, len)),
            Run::Again(back, len) => {
                for _ in 0..len {
                    let Some(at) = bytes.len().checked_sub(back) else { break };
                    bytes.push(bytes[at]);
                }
            }
        }
    }
    bytes
}

fn gzip(member: &Member, bytes: &[u8]) -> Vec<u8> {
    let mut builder = GzBuilder::new();
    if let Some(name) = &member.name {
        builder = builder.filename(name.as_str()).comment("a comment").extra(b"extra".to_vec());
    }
    let mut writer = builder.write(Vec::new(), Compression::new(member.level));
    for chunk in bytes.chunks(member.flush.unwrap_or(usize::MAX)) {
        writer.write_all(chunk).unwrap();
        if member.flush.is_some() {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap()
}

fn index(gzip: &[u8], span: u32) -> (Vec<u8>, GzipIndex) {
    let options = GzipIndexOptions::default().with_span(span).with_permille(1000);
    let mut indexer = GzipIndexer::new(gzip, options);
    let mut inflated = Vec::new();
    indexer.read_to_end(&mut inflated).unwrap();
    let index = MemoryBlob::new(indexer.finish().unwrap());
    (inflated, block_on(GzipIndex::open(index, &Limits::default())).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_resumed_read_is_part_of_the_whole(
        members in prop::collection::vec(member(), 1..5),
        padding in 0..3_usize,
        seed in any::<u64>(),
        memory in prop_oneof![Just(0), Just(16 << 20)],
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0..150_000_usize), 1..24),
    ) {
        let mut random = Random::new(seed);
        let contents: Vec<_> = members.iter().map(|member| content(&member.runs, &mut random)).collect();
        let mut stream: Vec<u8> =
            members.iter().zip(&contents).flat_map(|(member, content)| gzip(member, content)).collect();
        stream.extend(vec![0; padding * 512]);
        let whole = contents.concat();

        let (inflated, index) = index(&stream, 64 << 10);
        prop_assert!(inflated == whole);
        prop_assert_eq!(index.uncompressed_size(), whole.len() as u64);
        let blob = GzipBlob::new(MemoryBlob::new(Bytes::from(stream)), index).unwrap().with_memory(memory);
        for (start, len) in reads {
            let start = if whole.is_empty() { 0 } else { start.index(whole.len()) };
            let expected = &whole[start..(start + len).min(whole.len())];
            let mut found = vec![0xa5; expected.len()];
            block_on(blob.read_at(&mut found, start as u64)).unwrap();
            prop_assert!(found == expected, "{} bytes at {start}", expected.len());
            let mut warm = vec![0xa5; expected.len()];
            if blob.try_read_at(&mut warm, start as u64).unwrap() == Warm::Yes {
                prop_assert!(warm == expected, "{} warm bytes at {start}", expected.len());
            }
        }
        let mut found = vec![0xa5; whole.len()];
        block_on(blob.read_at(&mut found, 0)).unwrap();
        prop_assert!(found == whole);
    }
}
