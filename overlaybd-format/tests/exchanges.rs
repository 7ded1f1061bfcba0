//! Exchanging a part of a device: what is refused, what goes on after a failure, and what was
//! acknowledged meanwhile.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, Error, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, PublishError, ReadAt,
    ReadWriteAt, Sparse, Storage, Upper, UpperOptions, Warm, WritableImage,
};

use crate::disk::{Disk, DiskFile, Fault, Tearing};

#[path = "harness/disk.rs"]
mod disk;
#[path = "harness/faults.rs"]
mod faults;

fn append_only(disk: &Disk, name: &str, size: u64) -> AppendOnly {
    let (data, index) = (disk.open(name), disk.open(&format!("{name}.index")));
    AppendOnly::create(data, index, &UpperOptions::new(size)).unwrap()
}

fn write(device: &WritableImage, byte: u8, offset: u64) {
    block_on(device.write_at(&[byte; 512], offset)).unwrap();
}

fn read(device: &WritableImage, offset: u64) -> u8 {
    let mut byte = [0];
    block_on(device.read_at(&mut byte, offset)).unwrap();
    byte[0]
}

#[test]
fn a_device_goes_on_with_its_old_layer_if_the_new_one_is_not_published() {
    let disk = Disk::new(0, Tearing::Everything);
    let device = WritableImage::new(None, append_only(&disk, "old", 4096)).unwrap();
    write(&device, 1, 0);
    let refuse = || Err(PublishError::NotDone(io::Error::other("no space for the configuration")));
    let error = device.snapshot(append_only(&disk, "new", 0), refuse).unwrap_err();
    assert!(error.to_string().contains("no space for the configuration"), "{error}");
    let error = device.compact(disk.open("new2"), disk.open("new2.index"), refuse).unwrap_err();
    assert!(error.to_string().contains("publishing the stack"), "{error}");
    write(&device, 2, 512);
    device.flush().unwrap();
    drop(device);

    disk.crash();
    let old = AppendOnly::open(disk.open("old"), disk.open("old.index"), &Limits::default()).unwrap();
    let device = WritableImage::new(None, old).unwrap();
    assert_eq!((read(&device, 0), read(&device, 512)), (1, 2));
}

#[test]
fn a_device_whose_stack_is_in_doubt_loses_nothing_that_was_acknowledged() {
    let disk = Disk::new(0, Tearing::Everything);
    let device = WritableImage::new(None, append_only(&disk, "old", 4096)).unwrap();
    write(&device, 1, 0);
    let doubt = || Err(PublishError::InDoubt(io::Error::other("the directory did not sync")));
    device.snapshot(append_only(&disk, "new", 0), doubt).unwrap_err();
    assert_eq!(read(&device, 0), 1);
    for refused in [block_on(device.write_at(&[2; 512], 512)), device.flush()] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("in doubt") && error.contains("the directory did not sync"), "{error}");
    }
    drop(device);

    // The new configuration names a layer, the old one a sealed upper.
    disk.crash();
    let blob = LayerBlob::new("old", MemoryBlob::new(disk.bytes("old")));
    let lowers = block_on(Image::open(vec![blob], &Limits::default())).unwrap();
    let new = AppendOnly::open(disk.open("new"), disk.open("new.index"), &Limits::default()).unwrap();
    assert_eq!(read(&WritableImage::new(lowers, new).unwrap(), 0), 1);
    let files = || (disk.open("old"), disk.open("old.index"));
    let (data, index) = files();
    assert!(matches!(Upper::open(data, index, &Limits::default()), Err(Error::InBlob { .. })));
    let (data, index) = files();
    let device = WritableImage::new(None, Upper::unseal(data, index, &Limits::default()).unwrap()).unwrap();
    assert_eq!(read(&device, 0), 1);

    let doubt = || Err(PublishError::InDoubt(io::Error::other("the directory did not sync")));
    device.compact(disk.open("new2"), disk.open("new2.index"), doubt).unwrap_err();
    block_on(device.write_at(&[2; 512], 512)).unwrap_err();
}

#[test]
fn a_sparse_layer_is_unsealed_by_what_its_header_says() {
    let disk = Disk::new(0, Tearing::Everything);
    let sparse: Upper = Sparse::create(disk.open("data"), &UpperOptions::new(8192)).unwrap().into();
    sparse.write(0, &[1; 512]).unwrap();
    sparse.seal().unwrap();
    let opened = Upper::unseal(disk.open("data"), disk.open("none"), &Limits::default()).unwrap();
    opened.write(512, &[2; 512]).unwrap();
    assert!(matches!(opened, Upper::Sparse(_)));
}

#[test]
fn what_a_restack_brings_while_a_device_grows_does_not_show() {
    let disk = Disk::new(0, Tearing::Everything);
    // Both read the same up to the size of the device; the new lowers have one sector more.
    let old = layer(&[4608]);
    let new = block_on(Image::open(vec![LayerBlob::new("new", layer(&[4608, 12_288]))], &Limits::default()));
    let hook = Arc::new(Hook(Mutex::new(None)));
    let blob = LayerBlob::new("old", Hooked { blob: old, hook: Arc::clone(&hook) });
    let old = block_on(Image::open(vec![blob], &Limits::default())).unwrap();
    let upper = Sparse::create(disk.open("upper"), &UpperOptions::new(4096)).unwrap();
    let device = Arc::new(WritableImage::new(old, upper).unwrap());
    let (during, new) = (Arc::clone(&device), new.unwrap());
    *hook.0.lock().unwrap() = Some(Box::new(move || during.restack(new).unwrap()));

    block_on(device.resize(16_384)).unwrap();
    assert!(hook.0.lock().unwrap().is_none(), "the lowers were exchanged");
    assert_eq!((read(&device, 4608), read(&device, 12_288)), (0, 0));
}

#[test]
fn a_layer_whose_medium_failed_is_not_committed() {
    let disk = Disk::new(0, Tearing::Everything);
    let sparse: Upper = Sparse::create(disk.open("sparse"), &UpperOptions::new(4096)).unwrap().into();
    for upper in [append_only(&disk, "data", 4096).into(), sparse] {
        upper.write(0, &[1; 512]).unwrap();
        upper.to_layer().unwrap();
        disk.set_fault(0, Fault::Error);
        upper.flush().unwrap_err();
        assert!(matches!(upper.to_layer(), Err(Error::InBlob { .. })));
    }
}

#[test]
fn what_is_flushed_during_a_compaction_is_in_the_compacted_layer() {
    let disk = Disk::new(0, Tearing::Everything);
    let device = Arc::new(WritableImage::new(None, append_only(&disk, "old", 4096)).unwrap());
    write(&device, 1, 0);
    write(&device, 2, 0);
    let late = {
        let device = Arc::clone(&device);
        move || {
            write(&device, 3, 512);
            block_on(device.discard(0, 512)).unwrap();
            device.flush().unwrap();
        }
    };
    let data = OnSecondSync { file: disk.open("new"), hook: Mutex::new((0, Some(Box::new(late)))) };
    device.compact(data, disk.open("new.index"), || Ok(())).unwrap();
    drop(device);

    disk.crash();
    let new = AppendOnly::open(disk.open("new"), disk.open("new.index"), &Limits::default()).unwrap();
    let device = WritableImage::new(None, new).unwrap();
    assert_eq!((read(&device, 0), read(&device, 512)), (0, 3));
}

#[test]
fn what_cannot_be_exchanged_is_refused() {
    let refused = |result: overlaybd_format::Result<()>, why: &str| match result {
        Err(Error::Refused { why: found, .. }) if found.contains(why) => {}
        other => panic!("{other:?} instead of {why}"),
    };
    let disk = Disk::new(0, Tearing::Everything);
    refused(WritableImage::new(None, append_only(&disk, "sizeless", 0)).map(drop), "how large");

    let used = append_only(&disk, "used", 4096);
    used.write(0, &[1; 512]).unwrap();
    let sparse = Sparse::create(disk.open("sparse"), &UpperOptions::new(8192)).unwrap();
    let device = WritableImage::new(None, sparse).unwrap();
    refused(device.snapshot(used, || panic!("published")), "not empty");
    let (data, index) = (disk.open("data"), disk.open("index"));
    refused(device.compact(data, index, || panic!("published")).map(drop), "sparse");

    device.snapshot(append_only(&disk, "next", 0), || Ok(())).unwrap();
    let small = append_only(&disk, "small", 4096);
    small.seal().unwrap();
    let blob = LayerBlob::new("small", MemoryBlob::new(disk.bytes("small")));
    let small = block_on(Image::open(vec![blob], &Limits::default())).unwrap();
    refused(device.restack(small), "smaller");
}

/// A layer of 16 KiB with a sector of ones at each of these places.
fn layer(places: &[u64]) -> MemoryBlob {
    let mut writer = LayerWriter::new(io::Cursor::new(Vec::new()), LayerOptions::new(16_384)).unwrap();
    places.iter().for_each(|&at| writer.write(at, &[1; 512]).unwrap());
    MemoryBlob::new(writer.finish().unwrap().into_inner())
}

/// A blob that does something when it is read.
#[derive(Debug)]
struct Hooked {
    blob: MemoryBlob,
    hook: Arc<Hook>,
}

struct Hook(Mutex<Option<Work>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[async_trait]
impl ReadAt for Hooked {
    fn size(&self) -> u64 {
        self.blob.size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> overlaybd_format::Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> overlaybd_format::Result<Warm> {
        let hook = self.hook.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.blob.try_read_at(buf, offset)
    }
}

/// A file that does something when it is synced for the second time: it was created, and then filled.
struct OnSecondSync {
    file: DiskFile,
    hook: Mutex<(u32, Option<Work>)>,
}

type Work = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for OnSecondSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl Storage for OnSecondSync {
    fn name(&self) -> &Arc<str> {
        self.file.name()
    }
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.file.punch(range)
    }
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.file.next_data(from)
    }
    fn sync(&self) -> io::Result<()> {
        let hook = {
            let (syncs, hook) = &mut *self.hook.lock().unwrap();
            *syncs += 1;
            if *syncs == 2 { hook.take() } else { None }
        };
        if let Some(hook) = hook {
            hook();
        }
        self.file.sync()
    }
}
