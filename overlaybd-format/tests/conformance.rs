//! Everything here that implements `ReadAt` keeps its contract, and the suite notices who does not.
#![cfg(feature = "conformance")]

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use futures::executor::block_on;
use overlaybd_format::trace::Recorder;
use overlaybd_format::{
    Content, Error, FileBlob, Image, Layer, LayerBlob, Limits, MemoryBlob, ReadAt, Result, Warm,
    check_bounds, conformance,
};

use crate::golden::Case;

#[path = "harness/golden.rs"]
mod golden;

fn bytes() -> Vec<u8> {
    Case::open("zfile-raw").bytes("z.rnd.lz4.32k").to_vec()
}

#[test]
fn memory_blob() {
    block_on(conformance::read_at(&MemoryBlob::new(bytes()), &bytes()));
    block_on(conformance::read_at(&MemoryBlob::new(Vec::new()), &[]));
}

#[test]
fn shared_reader() {
    block_on(conformance::read_at(&Arc::new(MemoryBlob::new(bytes())), &bytes()));
}

#[test]
fn file_blob() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes()).unwrap();
    block_on(conformance::read_at(&FileBlob::new(file).unwrap(), &bytes()));
}

#[test]
fn content() {
    let case = Case::open("zfile-raw");
    for file in [
        "z.lz4.4k",
        "z.zstd.16k",
        "z.lz4.64k",
        "zh.lz4.4k.overwrite",
        "z.zstd.4k.tar",
        "z.s.empty",
        "z.s.one",
    ] {
        let content = block_on(Content::open(case.blob(file), &Limits::default())).unwrap();
        let expected = read_all(&content);
        block_on(conformance::read_at(&content, &expected));
    }
}

#[test]
fn image() {
    let case = Case::open("lsmt-edge");
    for device in case.devices().iter().filter(|device| device.sha256.is_some()) {
        let image = block_on(Image::open(case.layers(device), &Limits::default())).unwrap();
        let expected = read_all(&image);
        block_on(conformance::read_at(&image, &expected));
    }
}

#[test]
fn recorder() {
    let limits = Limits::default();
    let recorder = Recorder::new(MemoryBlob::new(bytes()), &limits);
    block_on(conformance::read_at(&recorder, &bytes()));
    let whole = 0..bytes().len() as u64;
    assert_eq!(recorder.ranges(), [whole], "the suite begins with a read of everything");
}

#[test]
fn index_only_layer() {
    let case = Case::open("turbooci");
    let blob = LayerBlob::new("metadata", case.blob("erofs-tar-L3.fs.meta"))
        .with_target("target", case.blob("L3.gzip.meta"));
    // Any bytes will do as a target, if only they are enough.
    let error = block_on(Layer::open(blob.clone(), &Limits::default())).unwrap_err();
    assert!(matches!(error.root(), Error::Broken { .. }), "{error}");
    let mut target = case.bytes("L1.tar.gz").to_vec();
    target.truncate(798_720 + 77);
    let blob = blob.with_target("target", MemoryBlob::new(target));
    let layer = block_on(Layer::open(blob, &Limits::default())).unwrap();
    let expected = read_all(layer.content());
    block_on(conformance::read_at(layer.content(), &expected));
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_blob() {
    use overlaybd_format::{GzipBlob, GzipIndex};

    let case = Case::open("gzindex");
    for (gzip, index) in [("g1.gz", "g1.s1048576.a0.l6.meta"), ("stored.gz", "stored.meta")] {
        let open = || {
            let index = block_on(GzipIndex::open(case.blob(index), &Limits::default())).unwrap();
            GzipBlob::new(case.blob(gzip), index).unwrap()
        };
        let expected = read_all(&open());
        block_on(conformance::read_at(&open(), &expected));
        block_on(conformance::read_at(&open().with_memory(0), &expected));
    }
}

fn read_all(reader: &dyn ReadAt) -> Vec<u8> {
    let mut all = vec![0; usize::try_from(reader.size()).unwrap()];
    block_on(reader.read_at(&mut all, 0)).unwrap();
    all
}

/// A reader that breaks one promise.
#[derive(Debug)]
struct Faulty {
    bytes: Vec<u8>,
    fault: Fault,
    reads: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    ShortRead,
    ZeroFilledEnd,
    WrappingBounds,
    RefusedEmptyRead,
    WrongWarmPath,
    ChangingBytes,
    Size,
}

#[async_trait]
impl ReadAt for Faulty {
    fn size(&self) -> u64 {
        self.bytes.len() as u64 + u64::from(self.fault == Fault::Size)
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        let size = self.bytes.len() as u64;
        match self.fault {
            Fault::WrappingBounds if offset.wrapping_add(buf.len() as u64) <= size => {}
            Fault::RefusedEmptyRead if buf.is_empty() => {
                return Err(Error::OutOfBounds { offset, len: 0, size });
            }
            Fault::ZeroFilledEnd if offset <= size => {}
            _ => check_bounds(size, offset, buf.len())?,
        }

        let source =
            usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..)).unwrap_or_default();
        let len = source.len().min(buf.len());
        let (found, missing) = buf.split_at_mut(len);
        found.copy_from_slice(&source[..len]);
        missing.fill(0);
        match (self.fault, buf.last_mut()) {
            (Fault::ShortRead, Some(last)) => *last = 0,
            (Fault::ChangingBytes, Some(last)) if reads > 500 => *last ^= 1,
            _ => {}
        }
        Ok(())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.bytes.len() as u64, offset, buf.len())?;
        if self.fault != Fault::WrongWarmPath {
            return Ok(Warm::No);
        }
        buf.fill(0);
        Ok(Warm::Yes)
    }
}

/// What the suite says of a reader with `fault`; none if it passes.
fn complaint(fault: Fault) -> Option<String> {
    let bytes = bytes();
    let reader = Faulty { bytes: bytes.clone(), fault, reads: AtomicU64::new(0) };
    let panic = block_on(AssertUnwindSafe(conformance::read_at(&reader, &bytes)).catch_unwind()).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn the_suite_names_the_broken_promise() {
    assert_eq!(complaint(Fault::None), None);
    for (fault, promise) in [
        (Fault::ShortRead, "exactness"),
        (Fault::ZeroFilledEnd, "bounds"),
        (Fault::WrappingBounds, "bounds"),
        (Fault::RefusedEmptyRead, "exactness"),
        (Fault::WrongWarmPath, "warm path"),
        (Fault::ChangingBytes, "immutability"),
        (Fault::Size, "size"),
    ] {
        let complaint = complaint(fault).unwrap_or_else(|| panic!("{fault:?} passes"));
        assert!(complaint.starts_with(promise), "{fault:?}: {complaint}");
    }
}
