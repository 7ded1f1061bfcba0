//! What can be written keeps its contract, and the suites notice what does not.
#![cfg(feature = "conformance")]

use std::io::{self, Cursor};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, Error, FileStorage, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob,
    ReadWriteAt, Result, Sparse, Storage, UpperOptions, Warm, WritableImage, check_bounds, conformance,
};

use crate::disk::{Disk, DiskFile, Tearing};

#[path = "harness/disk.rs"]
mod disk;
#[path = "harness/faults.rs"]
mod faults;

/// An image with data in every other run of five sectors.
fn lowers() -> Image {
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(SIZE)).unwrap();
    for start in (0..SIZE - 2560).step_by(5120) {
        writer.write(start, &[0xcc; 2560]).unwrap();
    }
    let blob = MemoryBlob::new(writer.finish().unwrap().into_inner());
    block_on(Image::open(vec![LayerBlob::new("lower", blob)], &Limits::default())).unwrap()
}

#[test]
fn append_only_layers() {
    for lowers in [None, Some(lowers())] {
        let disk = Disk::new(0, Tearing::Sectors);
        let upper =
            AppendOnly::create(disk.open("data"), disk.open("index"), &UpperOptions::new(SIZE)).unwrap();
        block_on(conformance::read_write_at(&WritableImage::new(lowers, upper).unwrap()));
    }
}

#[test]
fn sparse_layers() {
    for lowers in [None, Some(lowers())] {
        let disk = Disk::new(0, Tearing::Sectors);
        let upper = Sparse::create(disk.open("data"), &UpperOptions::new(SIZE)).unwrap();
        block_on(conformance::read_write_at(&WritableImage::new(lowers, upper).unwrap()));
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    conformance::storage(&FileStorage::create(directory.path().join("file")).unwrap());
}

#[test]
fn the_disk_that_fails() {
    conformance::storage(&Disk::new(0, Tearing::Sectors).open("file"));
}

/// A device in memory that breaks one promise.
#[derive(Debug)]
struct Faulty {
    bytes: Mutex<Vec<u8>>,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    WriteBeyondTheEnd,
    UnalignedWrite,
    ForgottenWrite,
    DiscardToOnes,
    WideDiscard,
    FailedFlush,
}

#[async_trait]
impl ReadWriteAt for Faulty {
    fn size(&self) -> u64 {
        SIZE
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(SIZE, offset, buf.len())?;
        buf.copy_from_slice(&self.bytes.lock().unwrap()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn try_read_at(&self, _buf: &mut [u8], _offset: u64) -> Result<Warm> {
        Ok(Warm::No)
    }

    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        if self.fault == Fault::WriteBeyondTheEnd && offset >= SIZE {
            return Ok(());
        }
        check_bounds(SIZE, offset, bytes.len())?;
        if self.fault != Fault::UnalignedWrite
            && (!offset.is_multiple_of(512) || !bytes.len().is_multiple_of(512))
        {
            return Err(Error::InvalidWrite { offset, len: bytes.len() as u64, why: "alignment" });
        }
        if self.fault != Fault::ForgottenWrite || offset < 4096 {
            self.bytes.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let zeros = vec![u8::from(self.fault == Fault::DiscardToOnes); len as usize];
        self.write_at(&zeros, offset).await?;
        if self.fault == Fault::WideDiscard && len > 0 && offset + len < SIZE {
            self.bytes.lock().unwrap()[(offset + len) as usize] ^= 1;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        match self.fault {
            Fault::FailedFlush => Err(Error::ReadOnly { what: "it" }),
            _ => Ok(()),
        }
    }
}

#[test]
fn the_suite_names_the_broken_promise() {
    for (fault, promise) in [
        (Fault::None, ""),
        (Fault::WriteBeyondTheEnd, "bounds"),
        (Fault::UnalignedWrite, "bounds"),
        (Fault::ForgottenWrite, "order"),
        (Fault::DiscardToOnes, "order"),
        (Fault::WideDiscard, "order"),
        (Fault::FailedFlush, "durability"),
    ] {
        let device = Faulty { bytes: Mutex::new(vec![0xaa; SIZE as usize]), fault };
        let run = || block_on(conformance::read_write_at(&device));
        let complaint = catch_unwind(AssertUnwindSafe(run)).err();
        let complaint =
            complaint.map_or(String::new(), |panic| panic.downcast_ref::<String>().unwrap().clone());
        assert_eq!(complaint.is_empty(), promise.is_empty(), "{fault:?}: {complaint}");
        assert!(complaint.starts_with(promise), "{fault:?}: {complaint}");
    }
}

/// A file that takes back what a punch is to do.
#[derive(Debug)]
struct NeverPunched(DiskFile);

impl Storage for NeverPunched {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_size(size)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.0.write_at(&vec![0; (range.end - range.start) as usize], range.start)
    }
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.0.next_data(from)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn a_storage_without_holes_is_noticed() {
    let file = NeverPunched(Disk::new(0, Tearing::Sectors).open("file"));
    let complaint = catch_unwind(AssertUnwindSafe(|| conformance::storage(&file))).unwrap_err();
    let complaint = complaint.downcast_ref::<String>().unwrap();
    assert!(complaint.starts_with("holes: after a punch"), "{complaint}");
}

/// No whole number of blocks.
const SIZE: u64 = 131 * 512;
