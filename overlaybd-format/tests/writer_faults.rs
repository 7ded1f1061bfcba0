//! Sinks that fail and content that cannot be written: an error, at once or at the end, and never a
//! blob that opens and has a gap.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use futures::executor::block_on;
use overlaybd_format::{
    Compression, Content, ContentWriter, Error, Layer, LayerBlob, LayerOptions, LayerWriter, Limits,
    MemoryBlob, Tar, Wrappers,
};

use crate::faults::Random;

#[path = "harness/faults.rs"]
mod faults;

/// Fails once, in the call of a given number, and works before and after.
#[derive(Debug)]
struct FailingSink {
    bytes: Cursor<Vec<u8>>,
    calls: usize,
    fails_at: usize,
}

impl FailingSink {
    fn new(fails_at: usize) -> Self {
        Self { bytes: Cursor::new(Vec::new()), calls: 0, fails_at }
    }

    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.calls == self.fails_at { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Write for &mut FailingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call()
    }
}

impl Seek for &mut FailingSink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call()?;
        self.bytes.seek(to)
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// Writes on after an error, as a careless caller would.
fn write_layer(sink: &mut FailingSink, options: LayerOptions, noise: &[u8]) -> overlaybd_format::Result<()> {
    let mut writer = LayerWriter::new(sink, options)?;
    for (number, part) in (0..).zip(noise.chunks(100 * 512)) {
        let _ = writer.write(number * 100 * 512, part);
    }
    writer.finish().map(|_| ())
}

#[test]
fn no_call_of_the_sink_may_fail() {
    let noise = noise(1000 * 512);
    let plain = LayerOptions::new(1 << 20);
    let zfile = plain.clone().with_compression(Some(Compression::default()));
    let threads = plain.clone().with_compression(Some(Compression::default().with_threads(2)));
    for options in [plain, zfile, threads].map(|options| options.with_tar(Some(Tar::Pax))) {
        let mut sound = FailingSink::new(usize::MAX);
        write_layer(&mut sound, options.clone(), &noise).unwrap();
        assert!(sound.calls > 10);
        for fails_at in 1..=sound.calls {
            let mut sink = FailingSink::new(fails_at);
            let error = write_layer(&mut sink, options.clone(), &noise).expect_err("a layer with a gap");
            assert!(matches!(error, Error::Io { .. }), "call {fails_at}: {error}");
        }
    }
}

#[test]
fn a_layer_that_is_not_finished_is_none() {
    for tar in [None, Some(Tar::Pax), Some(Tar::Ustar)] {
        for compression in [None, Some(Compression::default())] {
            let options = LayerOptions::new(1 << 20).with_compression(compression).with_tar(tar);
            let mut sink = FailingSink::new(usize::MAX);
            let mut writer = LayerWriter::new(&mut sink, options).unwrap();
            writer.write(0, &noise(1000 * 512)).unwrap();
            drop(writer);
            let blob = LayerBlob::new("unfinished", MemoryBlob::new(sink.bytes.into_inner()));
            block_on(Layer::open(blob, &Limits::default())).expect_err("an unfinished layer");
        }
    }
}

/// On other threads the error comes later, and it is not lost.
#[test]
fn what_the_reference_could_not_read_is_refused() {
    for threads in [1, 2, 5] {
        let compression = Compression::default().with_block_size(64 << 10).with_threads(threads);
        let wrappers = Wrappers::default().with_compression(Some(compression));
        let mut writer = ContentWriter::new(Cursor::new(Vec::new()), wrappers).unwrap();
        writer.write_all(&vec![0; 1 << 20]).unwrap();
        let _ = writer.write_all(&noise(64 << 10));
        for _ in 0..20 {
            let _ = writer.write_all(&vec![0; 128 << 10]);
        }
        writer.finish().expect_err("a blob that the reference cannot read");
    }
}

#[test]
fn an_unfinished_zfile_is_none() {
    let wrappers = Wrappers::default().with_compression(Some(Compression::default()));
    let mut sink = FailingSink::new(usize::MAX);
    let mut writer = ContentWriter::new(&mut sink, wrappers).unwrap();
    writer.write_all(&noise(1 << 20)).unwrap();
    drop(writer);
    let blob = MemoryBlob::new(sink.bytes.into_inner());
    block_on(Content::open(blob, &Limits::default())).expect_err("an unfinished ZFile");
}
