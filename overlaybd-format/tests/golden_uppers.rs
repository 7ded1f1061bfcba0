//! Writable layers of the reference read as they were written, and the same operations give the same
//! files here.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, Error, FileStorage, Image, LayerBlob, Limits, MemoryBlob, ReadWriteAt, Sparse, Storage,
    Upper, UpperOptions, WritableImage, lsmt,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::golden::{Case, manifest};

#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/script.rs"]
mod script;

#[derive(Deserialize)]
struct Writable {
    append_only: Vec<AppendOnlyLayer>,
    sparse: Vec<SparseLayer>,
    on_stack: OnStack,
}

#[derive(Deserialize)]
struct AppendOnlyLayer {
    ops: Option<String>,
    payload: String,
    data: String,
    index: String,
    device_size: u64,
    /// Of the whole device; none where it has no size or is large.
    sha256: Option<String>,
    sealed: Option<String>,
}

#[derive(Deserialize)]
struct SparseLayer {
    ops: String,
    payload: String,
    /// The file with its holes.
    tar: String,
    device_size: u64,
    sha256: Option<String>,
    sealed: Option<String>,
}

#[derive(Deserialize)]
struct OnStack {
    payload: String,
    append_only: StackedAppendOnly,
    sparse: StackedSparse,
}

#[derive(Deserialize)]
struct StackedAppendOnly {
    ops: String,
    data: String,
    index: String,
    sha256: String,
}

#[derive(Deserialize)]
struct StackedSparse {
    ops: String,
    tar: String,
    /// Of the device as it was written.
    written: String,
    /// Of the device that the reference reads when it opens its own file again.
    left_by_reference: String,
}

struct Bench {
    case: Case,
    expected: Writable,
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { case: Case::open("writable"), expected: manifest("writable"), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name.replace('/', "-"))
    }

    fn create(&self, name: &str) -> FileStorage {
        FileStorage::create(self.path(name)).unwrap()
    }

    /// A copy of a file of the case, to be written on.
    fn copy(&self, name: &str) -> FileStorage {
        let path = self.path(&format!("copy-{name}"));
        fs::write(&path, self.case.bytes(name)).unwrap();
        FileStorage::open(path).unwrap()
    }

    /// A file of the case that is packed with its holes.
    fn copy_sparse(&self, name: &str) -> FileStorage {
        let path = self.path(&format!("copy-{name}"));
        let packed = self.case.bytes(name);
        let mut archive = tar::Archive::new(packed.as_ref());
        archive.entries().unwrap().next().unwrap().unwrap().unpack(&path).unwrap();
        FileStorage::open(path).unwrap()
    }

    fn run(&self, ops: &str, payload: &str, target: &impl script::Target) {
        let ops = self.case.bytes(ops);
        script::run(std::str::from_utf8(&ops).unwrap(), &self.case.bytes(payload), target);
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

/// The options that a file of the case was created with.
fn options_of(data: &[u8]) -> UpperOptions {
    let header = lsmt::Header::decode(&data[..4096], "header", 0).unwrap();
    UpperOptions::new(header.virtual_size).with_identity(header.uuid, header.parent_uuid)
}

fn digest(device: &impl ReadWriteAt) -> String {
    let mut digest = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < device.size() {
        let len = usize::try_from(device.size() - at).unwrap_or(usize::MAX).min(buf.len());
        buf.fill(0xa5);
        block_on(device.read_at(&mut buf[..len], at)).unwrap();
        digest.update(&buf[..len]);
        at += len as u64;
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    (a.len() != b.len()).then_some(a.len()).or_else(|| a.iter().zip(b).position(|(a, b)| a != b))
}

#[test]
fn append_only_files_are_the_same() {
    let bench = Bench::new();
    for layer in &bench.expected.append_only {
        let options = options_of(&bench.case.bytes(&layer.data));
        let made =
            AppendOnly::create(bench.create(&layer.data), bench.create(&layer.index), &options).unwrap();
        if let Some(ops) = &layer.ops {
            bench.run(ops, &layer.payload, &made);
        }
        for file in [&layer.data, &layer.index] {
            let at = difference(&bench.bytes(file), &bench.case.bytes(file));
            assert_eq!(at, None, "first difference in {file}");
        }
        if let Some(sealed) = &layer.sealed {
            made.seal().unwrap();
            same_but_for_padding(&bench.bytes(&layer.data), &bench.case.bytes(sealed), sealed);
        }
    }
}

#[test]
fn append_only_layers_are_opened() {
    let bench = Bench::new();
    for layer in &bench.expected.append_only {
        let (data, index) = (bench.copy(&layer.data), bench.copy(&layer.index));
        let upper = Upper::open(data, index, &Limits::default()).unwrap();
        assert!(matches!(upper, Upper::AppendOnly(_)));
        assert_eq!(upper.virtual_size(), layer.device_size, "{}", layer.data);
        if let Some(expected) = &layer.sha256 {
            assert_eq!(&digest(&WritableImage::new(None, upper).unwrap()), expected, "{}", layer.data);
        }
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn sparse_files_are_the_same() {
    let bench = Bench::new();
    for layer in &bench.expected.sparse {
        let golden = bench.copy_sparse(&layer.tar);
        let made = Sparse::create(bench.create(&layer.tar), &options_of(&read(&golden, 0..4096))).unwrap();
        bench.run(&layer.ops, &layer.payload, &made);
        drop(made);
        let made = FileStorage::open(bench.path(&layer.tar)).unwrap();
        assert_eq!(made.size().unwrap(), golden.size().unwrap(), "{}", layer.tar);
        for run in runs(&golden) {
            let same = read(&made, run.clone()) == read(&golden, run.clone());
            assert!(same, "{run:?} differs in {}", layer.tar);
        }
        // A discard of part of a block leaves a hole here where there was one, and zeros there.
        let within =
            |run: &Range<u64>| runs(&golden).iter().any(|of| of.start <= run.start && run.end <= of.end);
        assert!(runs(&made).iter().all(within), "{:?} is not within {:?}", runs(&made), runs(&golden));

        if let Some(sealed) = &layer.sealed {
            dig_zeros(&made);
            let made = Sparse::open(made, &Limits::default()).unwrap();
            made.seal().unwrap();
            same_but_for_padding(&bench.bytes(&layer.tar), &bench.case.bytes(sealed), sealed);
        }
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn sparse_layers_are_opened() {
    let bench = Bench::new();
    for layer in &bench.expected.sparse {
        let data = bench.copy_sparse(&layer.tar);
        let upper =
            Upper::open(data, bench.create(&format!("{}.index", layer.tar)), &Limits::default()).unwrap();
        assert!(matches!(upper, Upper::Sparse(_)));
        assert_eq!(upper.virtual_size(), layer.device_size, "{}", layer.tar);
        if let Some(expected) = &layer.sha256 {
            assert_eq!(&digest(&WritableImage::new(None, upper).unwrap()), expected, "{}", layer.tar);
        }
    }
}

#[test]
fn sealed_layers_are_not_written_on() {
    let bench = Bench::new();
    let limits = Limits::default();
    for layer in &bench.expected.append_only {
        let Some(sealed) = &layer.sealed else { continue };
        let (data, index) = (bench.copy(sealed), bench.copy(&layer.index));
        let error = Upper::open(data, index, &limits).unwrap_err();
        assert!(matches!(error.root(), Error::ReadOnly { .. }), "{error}");
    }
    for layer in &bench.expected.sparse {
        let Some(sealed) = &layer.sealed else { continue };
        let error = Sparse::open(bench.copy(sealed), &limits).unwrap_err();
        assert!(matches!(error.root(), Error::ReadOnly { .. }), "{error}");
    }
}

#[test]
fn an_append_only_layer_on_a_stack_is_the_same() {
    let bench = Bench::new();
    let OnStack { payload, append_only: layer, .. } = &bench.expected.on_stack;
    let options = options_of(&bench.case.bytes(&layer.data));
    let made = AppendOnly::create(bench.create(&layer.data), bench.create(&layer.index), &options).unwrap();
    let device = WritableImage::new(stack(), made).unwrap();
    bench.run(&layer.ops, payload, &device);
    for file in [&layer.data, &layer.index] {
        assert_eq!(
            difference(&bench.bytes(file), &bench.case.bytes(file)),
            None,
            "first difference in {file}"
        );
    }
    assert_eq!(digest(&device), layer.sha256);

    let opened =
        AppendOnly::open(bench.copy(&layer.data), bench.copy(&layer.index), &Limits::default()).unwrap();
    assert_eq!(digest(&WritableImage::new(stack(), opened).unwrap()), layer.sha256);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn a_sparse_layer_on_a_stack_keeps_what_the_reference_loses() {
    let bench = Bench::new();
    let OnStack { payload, sparse: layer, .. } = &bench.expected.on_stack;
    let opened = Sparse::open(bench.copy_sparse(&layer.tar), &Limits::default()).unwrap();
    assert_eq!(digest(&WritableImage::new(stack(), opened).unwrap()), layer.left_by_reference);

    let options = options_of(&bench.bytes(&format!("copy-{}", layer.tar)));
    let made = Sparse::create(bench.create(&layer.tar), &options).unwrap();
    let device = WritableImage::new(stack(), made).unwrap();
    bench.run(&layer.ops, payload, &device);
    assert_eq!(digest(&device), layer.written);
    drop(device);
    let file = FileStorage::open(bench.path(&layer.tar)).unwrap();
    let opened = Sparse::open(file, &Limits::default()).unwrap();
    assert_eq!(digest(&WritableImage::new(stack(), opened).unwrap()), layer.written, "opened again");
}

/// The five layers that the stacked uppers were written on.
fn stack() -> Image {
    let case = Case::open("stack");
    let layers = ["L0.obd", "L1.obd", "L2.obd", "L3.obd", "L4.obd"];
    let blobs = layers.map(|file| LayerBlob::new(file, MemoryBlob::new(case.bytes(file))));
    block_on(Image::open(blobs.into(), &Limits::default())).unwrap()
}

/// Makes holes of the blocks of zeros, as the copy did that the reference sealed.
fn dig_zeros(file: &FileStorage) {
    for block in runs(file).into_iter().flat_map(|run| run.step_by(4096)) {
        if read(file, block..block + 4096).iter().all(|&byte| byte == 0) {
            file.punch(block..block + 4096).unwrap();
        }
    }
}

fn read(file: &FileStorage, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    file.read_at(&mut bytes, range.start).unwrap();
    bytes
}

/// The runs of data of a file.
fn runs(file: &dyn Storage) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(run) = file.next_data(at).unwrap() {
        at = run.end;
        runs.push(run);
    }
    runs
}

/// Compares sealed files. The reference leaves what memory held between index and trailer.
fn same_but_for_padding(made: &[u8], golden: &[u8], name: &str) {
    let trailer = lsmt::Header::decode(&golden[golden.len() - 4096..], "trailer", 0).unwrap();
    let end = usize::try_from(trailer.index_offset + trailer.index_entries * 16).unwrap();
    assert_eq!(made.len(), golden.len(), "{name}");
    assert_eq!(
        difference(&made[..end], &golden[..end]),
        None,
        "first difference up to the end of the index of {name}"
    );
    let trailer = made.len() - 4096;
    assert_eq!(
        difference(&made[trailer..], &golden[trailer..]),
        None,
        "first difference in the trailer of {name}"
    );
}
