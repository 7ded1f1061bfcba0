//! Two layers, one after the other, and the length of the first; their checksums set right. What is
//! converted can be read back, and holds the same files in both modes.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::convert::{ConvertOptions, Converter, TarIndex, files};
use overlaybd_format::oci_tar::{EntryKind, TarEntry};
use overlaybd_format::{Image, LayerBlob, LayerWriter, Limits, MemoryBlob, ReadAt, Result};

fuzz_target!(|data: &[u8]| {
    let Some((tars, first)) = data.split_last_chunk() else { return };
    let Some((lower, upper)) = tars.split_at_checked(u32::from_le_bytes(*first) as usize) else { return };
    let tars = [lower, upper].map(|tar| {
        let mut tar = tar.to_vec();
        tar.as_chunks_mut::<512>()
            .0
            .iter_mut()
            .filter(|block| &block[257..262] == b"ustar")
            .for_each(set_checksum);
        tar
    });
    let full = converted(&tars, false);
    let index_only = converted(&tars, true);
    if let (Ok(full), Ok(index_only)) = (full, index_only) {
        assert!(listed(&full) == listed(&index_only), "the modes hold other files");
    }
});

/// The device of the layers. What a converter takes, it converts to layers that can be opened.
fn converted(tars: &[Vec<u8>], index_only: bool) -> Result<Image> {
    let mut converter = Converter::new(ConvertOptions::default().with_limits(limits()));
    let mut layers = Vec::new();
    for tar in tars {
        let options = converter.layer_options().with_index_only(index_only);
        let layer = LayerWriter::streaming(Vec::new(), options)?;
        let (layer, _) = match index_only {
            true => converter.index_only(TarIndex::read(tar.as_slice(), &limits())?, layer)?,
            false => converter.full(tar.as_slice(), layer)?,
        };
        let layer = LayerBlob::new("layer", MemoryBlob::new(layer));
        let mut target = tar.clone();
        target.resize(tar.len().next_multiple_of(512), 0);
        layers.push(if index_only { layer.with_target("tar", MemoryBlob::new(target)) } else { layer });
    }
    Ok(block_on(Image::open(layers, &Limits::default())).expect("what was written can be opened"))
}

/// The files, and the contents of those that are small.
fn listed(device: &Image) -> Vec<(TarEntry, Vec<u8>)> {
    let entries = block_on(files(device, &Limits::default())).expect("what was written can be listed");
    let listed = entries.into_iter().map(|mut entry| {
        let mut content = Vec::new();
        if let EntryKind::File { size, content: ranges } = &mut entry.kind {
            // Where it is depends on the mode.
            let ranges = std::mem::take(ranges);
            if *size <= 1 << 20 {
                content = vec![0; *size as usize];
                for range in ranges {
                    let part = &mut content[range.offset as usize..][..range.len as usize];
                    block_on(device.read_at(part, range.at)).expect("what was written can be read");
                }
            }
        }
        (entry, content)
    });
    listed.collect()
}

/// Fewer files and names than the memory of a fuzzer holds.
fn limits() -> Limits {
    Limits::default().with_files(10_000).with_file_bytes(8 << 20)
}

/// Sums the header's bytes, the checksum field taken as blanks.
fn set_checksum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
