//! ZFiles that this crate writes: the reference's reader takes them, their records are those of the
//! reference's, and neither the number of threads nor the cut of the writes shows in them.

use std::io::{Cursor, Write};

use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, Content, ContentWriter, Error, Limits, MemoryBlob, ReadAt, Tar, Wrappers,
};
use proptest::prelude::*;

use crate::faults::Random;
use crate::golden::Case;

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/strict.rs"]
mod strict;

fn wrappers(compression: Compression) -> Wrappers {
    Wrappers::default().with_compression(Some(compression))
}

/// Writes `content` in parts of `cut` bytes.
fn seekable(content: &[u8], compression: Compression, cut: usize) -> Vec<u8> {
    let mut writer = ContentWriter::new(Cursor::new(Vec::new()), wrappers(compression)).unwrap();
    content.chunks(cut).for_each(|part| writer.write_all(part).unwrap());
    writer.finish().unwrap().into_inner()
}

fn streamed(content: &[u8], compression: Compression) -> Vec<u8> {
    let mut writer = ContentWriter::streaming(Vec::new(), wrappers(compression)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn read(blob: Vec<u8>) -> Vec<u8> {
    let content = block_on(Content::open(MemoryBlob::new(blob), &Limits::default())).unwrap();
    let mut bytes = vec![0xa5; content.size() as usize];
    block_on(content.read_at(&mut bytes, 0)).unwrap();
    bytes
}

/// Runs of noise, of text and of zeros, so that neighbouring blocks compress differently.
fn content(len: usize) -> Vec<u8> {
    let mut random = Random::new(len as u64);
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let run = 1 + random.below(20_000);
        match random.below(3) {
            0 => bytes.extend((0..run).map(|_| random.below(256) as u8)),
            1 => bytes.extend((0..run).map(|_| b"etaoinshrdlu"[random.below(12)])),
            _ => bytes.resize(bytes.len() + run, 0),
        }
    }
    bytes.truncate(len);
    bytes
}

/// Every codec with its default, its fastest and its hardest form.
fn levels() -> Vec<Compression> {
    let (lz4, zstd) = (Compression::new(Algorithm::Lz4), Compression::new(Algorithm::Zstd));
    let all = vec![lz4, zstd, zstd.with_level(-5), zstd.with_level(19)];
    if cfg!(feature = "lz4-c") {
        [all, vec![lz4.with_level(-8), lz4.with_level(9), lz4.with_level(12)]].concat()
    } else {
        all
    }
}

#[test]
fn every_level_and_block_size_is_what_the_reference_reads() {
    let noisy = content(300_000);
    // Blocks of 64 KiB have to compress.
    let word = |&byte: &u8| [b"static ", b"return ", b"struct ", b"unsign "][usize::from(byte) % 4];
    let smooth: Vec<u8> = noisy.iter().flat_map(word).copied().take(300_000).collect();
    for compression in levels() {
        for (block_size, content) in [(4, &noisy), (8, &noisy), (16, &noisy), (32, &noisy), (64, &smooth)] {
            let compression = compression.with_block_size(block_size << 10);
            let zfile = seekable(content, compression, 50_000);
            assert!(strict::content(&zfile) == *content, "{compression:?}");
            assert!(read(zfile) == *content, "{compression:?}");
        }
    }
}

#[test]
fn harder_levels_take_less() {
    let content = content(200_000);
    let size = |compression| streamed(&content, compression).len();
    let zstd = Compression::new(Algorithm::Zstd);
    assert!(size(zstd.with_level(19)) < size(zstd));
    assert!(size(zstd) < size(zstd.with_level(-5)));
    if cfg!(feature = "lz4-c") {
        let lz4 = Compression::new(Algorithm::Lz4);
        assert!(size(lz4.with_level(9)) < size(lz4));
        assert!(size(lz4) < size(lz4.with_level(-8)));
    }
}

#[test]
fn sizes_around_a_block() {
    for len in [0, 1, 4095, 4096, 4097, 8192, 131_071, 131_072, 131_073, 262_144] {
        let content = content(len);
        for threads in [1, 3] {
            let zfile = streamed(&content, Compression::default().with_threads(threads));
            assert!(strict::content(&zfile) == content, "{len} bytes by {threads} threads");
            assert!(read(zfile) == content, "{len} bytes by {threads} threads");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_and_cuts_do_not_show(
        len in 0..1_500_000_usize,
        cut in 1..400_000_usize,
        threads in 2..6_usize,
        which in any::<prop::sample::Index>(),
        block_size in prop_oneof![Just(4096), Just(8192), Just(32_768)],
    ) {
        let content = content(len);
        let compression = which.get(&levels()[..3]).with_block_size(block_size);
        let alone = seekable(&content, compression, len.max(1));
        let together = seekable(&content, compression.with_threads(threads), cut);
        prop_assert!(alone == together, "{compression:?} by {threads} threads in parts of {cut}");
    }
}

#[test]
fn a_sink_that_cannot_seek_gets_the_same_but_for_the_header() {
    let content = content(100_000);
    for compression in levels() {
        let (seekable, streamed) = (seekable(&content, compression, 1000), streamed(&content, compression));
        assert_eq!(seekable[512..], streamed[512..]);
        assert!(read(streamed) == content);
    }
}

/// The reference compresses to other bytes, so that what depends on them may differ: offset and
/// checksum of the table, and digests over them.
#[test]
fn records_are_those_of_the_reference() {
    let case = Case::open("zfile-raw");
    for (file, algorithm, block_size) in [
        ("z.lz4.4k", Algorithm::Lz4, 4),
        ("z.lz4.8k", Algorithm::Lz4, 8),
        ("z.lz4.16k", Algorithm::Lz4, 16),
        ("z.lz4.32k", Algorithm::Lz4, 32),
        ("z.zstd.4k", Algorithm::Zstd, 4),
        ("z.zstd.32k", Algorithm::Zstd, 32),
        ("zh.lz4.4k.overwrite", Algorithm::Lz4, 4),
        ("zh.zstd.4k.overwrite", Algorithm::Zstd, 4),
        ("z.s.empty", Algorithm::Lz4, 4),
        ("z.s.one", Algorithm::Lz4, 4),
        ("z.s.zeros64k", Algorithm::Lz4, 4),
    ] {
        let theirs = case.bytes(file).to_vec();
        let content = strict::content(&theirs);
        let compression = Compression::new(algorithm).with_block_size(block_size << 10);
        let finished = theirs[32] & 8 != 0;
        let ours =
            if finished { seekable(&content, compression, 999) } else { streamed(&content, compression) };

        let depends = |at: usize| (28..32).contains(&at) || (40..48).contains(&at) || (64..68).contains(&at);
        let trailers = ours[ours.len() - 512..].iter().zip(&theirs[theirs.len() - 512..]).enumerate();
        let unlike: Vec<_> = trailers.filter(|(at, (a, b))| a != b && !depends(*at)).collect();
        assert!(unlike.is_empty(), "trailer of {file}: {unlike:?}");
        if finished {
            assert_eq!(ours[..28], theirs[..28], "{file}");
            assert_eq!(ours[32..40], theirs[32..40], "{file}");
        } else {
            assert_eq!(ours[..512], theirs[..512], "header of {file}");
        }
    }
}

#[test]
fn tars_are_read_by_others() {
    let content = content(5000);
    for (tar, start) in [(Tar::Pax, 1536), (Tar::Ustar, 512)] {
        for compression in [None, Some(Compression::default())] {
            let wrappers = Wrappers::default().with_compression(compression).with_tar(Some(tar));
            let mut writer = ContentWriter::new(Cursor::new(Vec::new()), wrappers).unwrap();
            writer.write_all(&content).unwrap();
            let blob = writer.finish().unwrap().into_inner();
            assert_eq!(blob.len() % 512, 0);
            assert!(blob[blob.len() - 1024..].iter().all(|&byte| byte == 0));

            let mut archive = tar::Archive::new(blob.as_slice());
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path_bytes().as_ref(), b"overlaybd.commit");
            assert_eq!(entry.raw_file_position(), start);
            let mut inside = Vec::new();
            std::io::copy(&mut entry, &mut inside).unwrap();
            assert!(entries.next().is_none());
            let inside = if compression.is_some() { strict::content(&inside) } else { inside };
            assert!(inside == content);
            assert!(read(blob) == content);
        }
    }
}

#[test]
fn a_tar_needs_a_way_back() {
    let wrappers = Wrappers::default().with_tar(Some(Tar::Ustar));
    let error = ContentWriter::streaming(Vec::new(), wrappers).unwrap_err();
    assert!(matches!(error, Error::InvalidWrite { .. }), "{error}");
}

#[test]
fn a_blob_starts_where_the_sink_stands() {
    let mut sink = Cursor::new(b"before".to_vec());
    sink.set_position(6);
    let wrappers = wrappers(Compression::default()).with_tar(Some(Tar::Pax));
    let mut writer = ContentWriter::new(sink, wrappers).unwrap();
    writer.write_all(b"content").unwrap();
    let sink = writer.finish().unwrap();
    assert_eq!(sink.position(), sink.get_ref().len() as u64);
    let mut blob = sink.into_inner();
    assert_eq!(&blob[..6], b"before");
    assert_eq!(read(blob.split_off(6)), b"content");
}
