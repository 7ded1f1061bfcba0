//! The tar stream of a layer, its checksums set right, which a fuzzer cannot guess. Entries lie where
//! they say, in order, and their content is what is there.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use overlaybd_format::Limits;
use overlaybd_format::oci_tar::{EntryKind, TarReader};

fuzz_target!(|data: &[u8]| {
    let mut tar = data.to_vec();
    tar.as_chunks_mut::<512>().0.iter_mut().filter(|block| looks_like_a_header(block)).for_each(set_checksum);

    let mut reader = TarReader::new(tar.as_slice(), &Limits::default());
    let mut free_from = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        let EntryKind::File { size, content } = entry.kind else { continue };
        let (mut in_file, mut lent) = (0, Vec::new());
        for range in &content {
            assert!(range.at >= free_from && range.offset >= in_file && range.len > 0, "{content:?}");
            free_from = range.at + range.len;
            in_file = range.offset + range.len;
        }
        assert!(in_file <= size, "{content:?} in {size} bytes");
        if reader.content().read_to_end(&mut lent).is_err() {
            return;
        }
        let at = |range: std::ops::Range<u64>| &tar[range.start as usize..range.end as usize];
        let found: Vec<u8> =
            content.iter().flat_map(|range| at(range.at..range.at + range.len)).copied().collect();
        assert!(found == lent, "content is not where it is said to be");
    }
});

fn looks_like_a_header(block: &[u8; 512]) -> bool {
    &block[257..262] == b"ustar"
}

/// Sums the header's bytes, the checksum field taken as blanks.
fn set_checksum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
