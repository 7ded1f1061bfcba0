//! The operation scripts that the reference layers were made with.

// Each test binary uses a part of this.
#![allow(dead_code)]

use futures::executor::block_on;
use overlaybd_format::{AppendOnly, ReadWriteAt, Sparse, WritableImage};

/// Something that a script can be run on.
pub(crate) trait Target {
    fn write(&self, offset: u64, bytes: &[u8]);
    fn discard(&self, offset: u64, len: u64);
    fn flush(&self);
    fn set_index_unit(&self, bytes: usize);
}

/// Runs `script`, whose writes take their bytes from `payload`, and flushes.
pub(crate) fn run(script: &str, payload: &[u8], target: &impl Target) {
    for line in script.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { continue };
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        match (verb, numbers.as_slice()) {
            ("w", &[offset, len, from]) => {
                target.write(offset, &payload[from as usize..(from + len) as usize]);
            }
            ("z", &[offset, len]) => target.write(offset, &vec![0; len as usize]),
            ("d", &[offset, len]) => target.discard(offset, len),
            ("g", &[bytes]) => target.set_index_unit(bytes as usize),
            ("s", []) => target.flush(),
            _ => panic!("{line:?}"),
        }
    }
    target.flush();
}

impl Target for AppendOnly {
    fn write(&self, offset: u64, bytes: &[u8]) {
        self.write(offset, bytes).unwrap();
    }

    fn discard(&self, offset: u64, len: u64) {
        self.discard(offset, len).unwrap();
    }

    fn flush(&self) {
        self.flush().unwrap();
    }

    fn set_index_unit(&self, bytes: usize) {
        self.set_index_unit(bytes);
    }
}

impl Target for Sparse {
    fn write(&self, offset: u64, bytes: &[u8]) {
        self.write(offset, bytes).unwrap();
    }

    fn discard(&self, offset: u64, len: u64) {
        self.discard(offset, len).unwrap();
    }

    fn flush(&self) {
        self.flush().unwrap();
    }

    fn set_index_unit(&self, _bytes: usize) {}
}

impl Target for WritableImage {
    fn write(&self, offset: u64, bytes: &[u8]) {
        block_on(self.write_at(bytes, offset)).unwrap();
    }

    fn discard(&self, offset: u64, len: u64) {
        block_on(ReadWriteAt::discard(self, offset, len)).unwrap();
    }

    fn flush(&self) {
        ReadWriteAt::flush(self).unwrap();
    }

    fn set_index_unit(&self, _bytes: usize) {}
}
