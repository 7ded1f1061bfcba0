//! A ZFile read by the rules of the reference's reader and of the format, without the code under test.

use std::ops::Range;

/// Checks every rule and gives the content. `zfile` is all of the file.
pub(crate) fn content(zfile: &[u8]) -> Vec<u8> {
    let (header, trailer) = (&zfile[..512], &zfile[zfile.len() - 512..]);
    for record in [header, trailer] {
        assert_eq!(&record[..24], b"ZFile\0\x01\0tuji.yyf@Alibaba");
        assert_eq!(u32_at(record, 24), 96, "used size");
        let mut cleared = record.to_vec();
        cleared[28..32].fill(0);
        assert_eq!(raw_crc(0, &cleared), u32_at(record, 28), "digest");
        assert_eq!(record[77..80], [0; 3], "level, dictionary flag, padding");
        assert_eq!(record[80..88], [0; 8], "reserved, dictionary size");
        assert_eq!(record[88], 1, "block checksums");
        assert!(record[89..].iter().all(|&byte| byte == 0));
        assert_eq!(record[68..79], header[68..79], "block size and algorithm");
    }
    assert_eq!(u64_at(trailer, 32), 0x16, "flags of the trailer");
    match u64_at(header, 32) {
        // As first written: no sizes.
        0x13 => assert!(header[40..68].iter().all(|&byte| byte == 0)),
        // Written again.
        0x1B => assert_eq!(header[40..68], trailer[40..68]),
        flags => panic!("flags of the header: {flags:#x}"),
    }

    let table = usize_at(trailer, 40);
    let (blocks, content_size) = (usize_at(trailer, 48), usize_at(trailer, 56));
    let block_size = u32_at(trailer, 72) as usize;
    assert_eq!(content_size.div_ceil(block_size), blocks);
    assert_eq!(table + 4 * blocks, zfile.len() - 512, "nothing between table and trailer");
    let lengths = &zfile[table..zfile.len() - 512];
    assert_eq!(raw_crc(0, lengths), u32_at(trailer, 64), "checksum of the table");

    let stored = ranges(lengths, block_size);
    assert_eq!(stored.last().map_or(512, |last| last.end), table, "the blocks fill the file");
    let mut content = Vec::with_capacity(content_size);
    for range in stored {
        let (bytes, crc) = zfile[range].split_last_chunk::<4>().unwrap();
        assert_eq!(raw_crc(100_007, bytes), u32::from_le_bytes(*crc), "checksum of a block");
        let len = block_size.min(content_size - content.len());
        content.extend(match trailer[76] {
            1 => lz4_flex::block::decompress(bytes, len).unwrap(),
            2 => zstd::bulk::decompress(bytes, len).unwrap(),
            other => panic!("algorithm {other}"),
        });
    }
    assert_eq!(content.len(), content_size);
    content
}

/// Where each block is, if the reference can take the lengths: it keeps them as 16-bit distances from
/// the first block of each 64 KiB of content, and reads blocks into a buffer of 64 KiB.
fn ranges(lengths: &[u8], block_size: usize) -> Vec<Range<usize>> {
    let mut at = 512;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (block, length) in lengths.as_chunks::<4>().0.iter().enumerate() {
        let length = u32::from_le_bytes(*length) as usize;
        assert!(length > 4 && length <= 65_536, "block {block} is stored in {length} bytes");
        let first = block - block % (65_536 / block_size);
        let base = ranges.get(first).map_or(at, |range| range.start);
        assert!(at - base < 65_535, "block {block} is {} bytes from block {first}", at - base);
        ranges.push(at..at + length);
        at += length;
    }
    ranges
}

fn raw_crc(state: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!state, bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64_at(bytes, at)).unwrap()
}
