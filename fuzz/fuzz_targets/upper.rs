//! A writable layer: a data file, an index file, and the length of the first. Whatever opens can be
//! read and written, and reads the same when it is opened again.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Limits, ReadWriteAt, Result, Upper, WritableImage};
use overlaybd_format_fuzz::MemoryFile;

fuzz_target!(|data: &[u8]| {
    let Some((files, length)) = data.split_last_chunk::<4>() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(files.len());
    let (data, index) = (MemoryFile::new(&files[..length]), MemoryFile::new(&files[length..]));

    let Ok(device) = open(&data, &index) else { return };
    let places = [0, device.size() / 1024 * 512, device.size() - 512];
    for at in places {
        let mut sector = [0; 512];
        block_on(device.read_at(&mut sector, at)).expect("what is mapped is in the file");
    }
    block_on(device.write_at(&[0x77; 1024], 0)).expect("memory takes all writes");
    block_on(device.discard(512, 512)).expect("memory takes all discards");
    device.flush().expect("memory syncs");
    let before = read(&device);
    drop(device);
    let device = open(&data, &index).expect("what was open opens again");
    assert!(read(&device) == before, "other bytes after opening again");
});

/// Opens a device of at least two sectors.
fn open(data: &MemoryFile, index: &MemoryFile) -> Result<WritableImage> {
    let upper = Upper::open(data.clone(), index.clone(), &Limits::default())?;
    if upper.virtual_size() < 1024 {
        upper.set_virtual_size(1 << 20)?;
    }
    WritableImage::new(None, upper)
}

fn read(device: &WritableImage) -> Vec<u8> {
    let mut start = vec![0; device.size().min(64 << 10) as usize];
    block_on(device.read_at(&mut start, 0)).expect("what is mapped is in the file");
    start
}
