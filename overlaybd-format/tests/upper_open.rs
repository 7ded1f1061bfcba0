//! Opening writable layers: torn tails go, sealed layers are refused, and files that cannot be what
//! they claim to be are broken.

use std::sync::Arc;

use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, Error, Layer, LayerBlob, Limits, MemoryBlob, ReadAt, Result, Sparse, Storage, Upper,
    UpperOptions, Uuid,
};

use crate::disk::{Disk, DiskFile, Fault, Tearing};

#[path = "harness/disk.rs"]
mod disk;
#[path = "harness/faults.rs"]
mod faults;

/// An append-only layer of ten writes of two sectors, flushed.
fn ten_writes(disk: &Disk) {
    let layer = AppendOnly::create(disk.open("data"), disk.open("index"), &options()).unwrap();
    for n in 0..10 {
        layer.write(n * 4096, &[n as u8 + 1; 1024]).unwrap();
    }
    layer.flush().unwrap();
}

fn options() -> UpperOptions {
    UpperOptions::new(1 << 20).with_identity(Uuid::from_bytes([7; 16]), Uuid::NIL)
}

fn open(disk: &Disk) -> Result<AppendOnly> {
    AppendOnly::open(disk.open("data"), disk.open("index"), &Limits::default())
}

fn disk() -> Disk {
    Disk::new(0, Tearing::Everything)
}

/// The kind of error that opening `layer` gives, and its text.
fn why<T: std::fmt::Debug>(layer: Result<T>) -> String {
    let error = layer.unwrap_err();
    let kind = match error.root() {
        Error::Broken { .. } => "broken",
        Error::ReadOnly { .. } => "read-only",
        Error::Limit { .. } => "limit",
        Error::Refused { .. } => "refused",
        _ => "other",
    };
    format!("{kind}: {error}")
}

#[test]
fn an_index_file_cut_at_any_byte_has_the_entries_before_the_cut() {
    for size in 4096..=4096 + 160 {
        let disk = disk();
        ten_writes(&disk);
        disk.open("index").set_size(size).unwrap();
        let layer = open(&disk).unwrap();
        assert_eq!(layer.segments().len() as u64, (size - 4096) / 16, "cut at {size}");

        // The next entries do not join the torn one.
        layer.write(1 << 16, &[0xee; 512]).unwrap();
        layer.flush().unwrap();
        drop(layer);
        let segments = open(&disk).unwrap().segments();
        assert_eq!(segments.len() as u64, (size - 4096) / 16 + 1, "cut at {size}");
        assert_eq!(segments.last().unwrap().sectors(), 128..129);
    }
}

#[test]
fn entries_behind_a_gap_are_gone_for_good() {
    let disk = disk();
    ten_writes(&disk);
    disk.open("index").write_at(&[0; 32], 4096 + 48).unwrap();
    let layer = open(&disk).unwrap();
    assert_eq!(layer.segments().len(), 3);
    // Two entries close the gap. Those behind it must not come back.
    layer.write(1 << 16, &[0xee; 512]).unwrap();
    layer.write(1 << 17, &[0xee; 512]).unwrap();
    layer.flush().unwrap();
    drop(layer);
    assert_eq!(open(&disk).unwrap().segments().len(), 5);
}

#[test]
fn a_discard_behind_a_torn_write_is_there_at_the_next_opening() {
    for torn in [1, 100, 511] {
        let disk = disk();
        ten_writes(&disk);
        let data = disk.open("data");
        data.set_size(data.size().unwrap() + torn).unwrap();
        let layer = open(&disk).unwrap();
        layer.discard(0, 512).unwrap();
        layer.flush().unwrap();
        let segments = layer.segments();
        drop(layer);
        assert_eq!(open(&disk).unwrap().segments(), segments, "{torn}");
    }
}

#[test]
fn padding_is_dropped_wherever_it_stands() {
    let disk = disk();
    ten_writes(&disk);
    let padding = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 9, 9, 9, 9, 9, 9, 9, 9];
    disk.open("index").write_at(&padding, 4096 + 48).unwrap();
    assert_eq!(open(&disk).unwrap().segments().len(), 9);
}

#[test]
fn entries_that_cannot_be_are_broken() {
    for (start, len, stored_at, zeroed, reason) in [
        (0, 0, 8, false, "empty"),
        (0, 2, 7, false, "outside the data"),
        (0, 2, 27, false, "outside the data"),
        (0, 2, 29, true, "outside the data"),
    ] {
        let disk = disk();
        ten_writes(&disk);
        let words: [u64; 2] = [start | len << 50, stored_at | u64::from(zeroed) << 55];
        disk.open("index").write_at(&words.map(u64::to_le_bytes).concat(), 4096 + 160).unwrap();
        let why = why(open(&disk));
        assert!(why.starts_with("broken: index: broken entry of an index file at byte 4256"), "{why}");
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_data_file_without_bytes_that_were_flushed_is_broken() {
    let disk = disk();
    ten_writes(&disk);
    disk.open("data").set_size(4096 + 9 * 1024 + 512).unwrap();
    assert!(why(open(&disk)).contains("outside the data"));
}

#[test]
fn files_of_other_layers_and_kinds_are_broken() {
    let disk = disk();
    ten_writes(&disk);
    let (data, index) = (disk.open("data"), disk.open("index"));
    let limits = Limits::default();
    assert!(why(AppendOnly::open(index.clone(), data.clone(), &limits)).starts_with("broken: index: "));
    assert!(why(AppendOnly::open(data.clone(), data.clone(), &limits)).contains("header of an index file"));
    assert!(why(Sparse::open(data.clone(), &limits)).contains("header of a sparse layer"));
    assert!(why(AppendOnly::open(data.clone(), disk.open("nothing"), &limits)).contains("shorter"));

    let other = UpperOptions::new(1 << 20);
    AppendOnly::create(disk.open("other"), disk.open("other.index"), &other).unwrap();
    assert!(why(AppendOnly::open(data.clone(), disk.open("other.index"), &limits)).contains("UUID"));
    assert!(why(AppendOnly::create(data, disk.open("new"), &other)).starts_with("refused: data: "));
    let limits = Limits::default();
    let (mut few, index) = (limits, disk.open("index"));
    few.merged_segments = 9;
    assert!(why(AppendOnly::open(disk.open("data"), index, &few)).starts_with("limit: index: "));
}

#[test]
fn a_sealed_layer_is_refused_and_can_be_unsealed() {
    let disk = disk();
    ten_writes(&disk);
    let size = disk.open("data").size().unwrap();
    open(&disk).unwrap().seal().unwrap();
    assert!(why(open(&disk)).starts_with("read-only: data: "));
    let blob = LayerBlob::new("data", MemoryBlob::new(disk.bytes("data")));
    let sealed = block_on(Layer::open(blob, &Limits::default())).unwrap();
    assert_eq!((sealed.segments().len(), sealed.virtual_size()), (10, 1 << 20));

    AppendOnly::unseal(disk.open("data"), disk.open("index"), &Limits::default()).unwrap();
    assert_eq!(disk.open("data").size().unwrap(), size);
    assert_eq!(open(&disk).unwrap().segments().len(), 10);
}

#[test]
fn a_sealed_sparse_layer_is_refused_and_can_be_unsealed() {
    // A size in the middle of a block: the index must not fill the rest of it.
    let (disk, virtual_size) = (disk(), 9 * 512);
    let layer = Sparse::create(disk.open("data"), &UpperOptions::new(virtual_size)).unwrap();
    layer.write(512, &[5; 512]).unwrap();
    layer.seal().unwrap();
    assert!(matches!(layer.write(0, &[0; 512]), Err(Error::ReadOnly { .. })));
    assert!(why(Sparse::open(disk.open("data"), &Limits::default())).starts_with("read-only: data: "));
    let blob = LayerBlob::new("data", MemoryBlob::new(disk.bytes("data")));
    let sealed = block_on(Layer::open(blob, &Limits::default())).unwrap();
    assert_eq!((sealed.segments().len(), sealed.segments()[0].sectors()), (1, 0..8));

    let layer = Sparse::unseal(disk.open("data"), &Limits::default()).unwrap();
    assert_eq!(layer.segments().len(), 1);
    Sparse::open(disk.open("data"), &Limits::default()).unwrap();
}

#[test]
fn what_looks_like_a_trailer_within_the_data_is_data() {
    let disk = disk();
    ten_writes(&disk);
    open(&disk).unwrap().seal().unwrap();
    let sealed = disk.bytes("data");
    AppendOnly::unseal(disk.open("data"), disk.open("index"), &Limits::default()).unwrap();
    // A file system on the device holds a copy of the layer's own sealed file.
    let layer = open(&disk).unwrap();
    layer.write(1 << 18, &sealed).unwrap();
    layer.flush().unwrap();
    drop(layer);
    open(&disk).unwrap();
}

#[test]
fn an_interrupted_resize_is_finished_from_the_index_file() {
    let disk = disk();
    ten_writes(&disk);
    let data_before = disk.bytes("data");
    let layer = Upper::from(open(&disk).unwrap());
    layer.set_virtual_size(2 << 20).unwrap();
    drop(layer);
    disk.open("data").write_at(&data_before[..4096], 0).unwrap();
    assert_eq!(open(&disk).unwrap().virtual_size(), 2 << 20);
    open(&disk).unwrap().seal().unwrap();
    let blob = LayerBlob::new("data", MemoryBlob::new(disk.bytes("data")));
    assert_eq!(block_on(Layer::open(blob, &Limits::default())).unwrap().virtual_size(), 2 << 20);
}

#[test]
fn a_sparse_file_that_is_cut_is_broken_and_one_that_is_too_long_loses_its_end() {
    let disk = disk();
    let file = || disk.open("data");
    let layer = Sparse::create(file(), &UpperOptions::new(1 << 16)).unwrap();
    layer.write(1 << 15, &[5; 4096]).unwrap();
    layer.flush().unwrap();
    drop(layer);
    file().write_at(&[9; 512], 4096 + (1 << 16) + 4096).unwrap();
    let layer = Sparse::open(file(), &Limits::default()).unwrap();
    assert_eq!(layer.segments().len(), 1);
    assert_eq!(file().size().unwrap(), 4096 + (1 << 16));
    file().set_size(4096 + (1 << 16) - 1).unwrap();
    assert!(why(Sparse::open(file(), &Limits::default())).contains("the file ends at"));
}

#[test]
fn a_sparse_file_that_ends_within_a_sector_is_rounded_up() {
    let disk = disk();
    let layer = Sparse::create(disk.open("data"), &UpperOptions::new(5 * 512)).unwrap();
    layer.write(0, &[5; 5 * 512]).unwrap();
    layer.flush().unwrap();
    drop(layer);
    disk.open("data").set_size(4096 + 5 * 512 + 100).unwrap();
    let layer = Sparse::open(disk.open("data"), &Limits::default()).unwrap();
    // A write into the block takes the rest of it along.
    layer.write(7 * 512, &[6; 512]).unwrap();
    assert_eq!(layer.segments()[0].sectors(), 0..8);
}

#[test]
fn a_block_that_is_mapped_in_part_is_never_punched() {
    let disk = disk();
    drop(Sparse::create(disk.open("data"), &UpperOptions::new(5 * 512)).unwrap());
    // The reference writes no more of the last block than the device has.
    disk.open("data").write_at(&[5; 5 * 512], 4096).unwrap();
    let layer = Sparse::open(disk.open("data"), &Limits::default()).unwrap();
    assert_eq!(layer.segments()[0].sectors(), 0..5);
    disk.set_fault(0, Fault::Error);
    layer.write(5 * 512, &[6; 512]).unwrap_err();
    // Its end is a hole in memory and none in the file, so what follows could be wrong.
    layer.write(0, &[6; 512]).unwrap_err();
    assert_eq!(disk.bytes("data")[4096..4096 + 5 * 512], [5; 5 * 512]);
}

#[test]
fn an_open_layer_reads_as_a_layer() {
    let disk = disk();
    ten_writes(&disk);
    let upper = Upper::from(open(&disk).unwrap());
    let layer = upper.to_layer().unwrap();
    upper.write(0, &[0xee; 512]).unwrap();
    assert_eq!((layer.segments().len(), layer.uuid()), (10, Uuid::from_bytes([7; 16])));
    let mut byte = [0];
    let at = layer.segments()[0].stored_at() * 512;
    block_on(layer.content().read_at(&mut byte, at)).unwrap();
    assert_eq!(byte, [1], "not what was written later");
}

#[test]
fn a_file_without_holes_is_no_place_for_a_sparse_layer() {
    /// A file system that knows no holes reports all of a file as data.
    #[derive(Debug)]
    struct NoHoles(DiskFile);

    impl Storage for NoHoles {
        fn name(&self) -> &Arc<str> {
            self.0.name()
        }
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
        fn set_size(&self, size: u64) -> std::io::Result<()> {
            self.0.set_size(size)
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.read_at(buf, offset)
        }
        fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
            self.0.write_at(bytes, offset)
        }
        fn punch(&self, range: std::ops::Range<u64>) -> std::io::Result<()> {
            self.0.punch(range)
        }
        fn next_data(&self, from: u64) -> std::io::Result<Option<std::ops::Range<u64>>> {
            let size = self.size()?;
            Ok((from < size).then_some(from..size))
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }

    let layer = Sparse::create(NoHoles(disk().open("data")), &UpperOptions::new(1 << 16));
    assert!(matches!(layer.unwrap_err().root(), Error::Unsupported { value: 4096, .. }));
}
