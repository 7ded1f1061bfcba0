//! A ZFile: header, jump table and blocks, as it is and with the digests of its records switched off,
//! which a fuzzer cannot guess.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Content, Limits, MemoryBlob};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    open_and_read(data.to_vec());

    let mut undigested = data.to_vec();
    for record in [Some(0), data.len().checked_sub(512)].into_iter().flatten() {
        if let Some(flags) = undigested.get_mut(record + 32) {
            *flags &= !(1 << 4);
        }
    }
    open_and_read(undigested);
});

fn open_and_read(data: Vec<u8>) {
    if let Ok(content) = block_on(Content::open(MemoryBlob::new(data), &Limits::default())) {
        read_pieces(&content);
    }
}
