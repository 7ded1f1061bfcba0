//! A writable device on a disk that can fail, beside a plain map of what its sectors should read.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::cell::Cell;
use std::io::Cursor;
use std::sync::Arc;

use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, Error, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadWriteAt, Result,
    Sparse, Upper, UpperOptions, WritableImage,
};

use crate::disk::{Disk, Tearing};

/// What is done to the device, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Write {
        start: u64,
        len: u64,
    },
    Discard {
        start: u64,
        len: u64,
    },
    Flush,
    Snapshot(Kind),
    Restack,
    Resize(u64),
    Compact,
    /// Closed after a flush, and opened.
    Reopen,
    /// The power fails.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    AppendOnly,
    Sparse,
}

/// What sectors read as: 0 for zeros, or the number of the write.
type Sectors = Vec<u32>;

pub(crate) struct World {
    pub(crate) disk: Disk,
    base: Option<MemoryBlob>,
    /// What names the layers, and is replaced as a whole.
    config: Config,
    device: Option<WritableImage>,
    now: Sectors,
    /// What the device has been since the last flush, that state included.
    since: Vec<Sectors>,
    /// Whether an operation since the last flush may have been done in part.
    halfway: bool,
    writes: u32,
    files: u32,
}

#[derive(Debug, Clone)]
struct Config {
    sealed: Vec<String>,
    kind: Kind,
    upper: String,
}

impl World {
    /// A device of `size` sectors; with `on_base`, on an image that has data in most of them.
    pub(crate) fn new(disk: Disk, kind: Kind, size: u64, on_base: bool) -> Self {
        let base = on_base.then(|| base(size));
        let config = Config { sealed: Vec::new(), kind, upper: "upper-0".into() };
        let virtual_size = if on_base { 0 } else { size * SECTOR };
        let upper = create(&disk, kind, &config.upper, virtual_size).unwrap();
        let mut world = Self {
            disk,
            base,
            config,
            device: None,
            now: Vec::new(),
            since: Vec::new(),
            halfway: false,
            writes: BASE,
            files: 0,
        };
        world.device = Some(WritableImage::new(world.lowers(), upper).unwrap());
        world.now = world.read();
        assert_eq!(world.now.len() as u64, size);
        world.since = vec![world.now.clone()];
        world
    }

    /// The kind of disk on which a crash of this kind of layer can be checked.
    pub(crate) fn tearing(kind: Kind) -> Tearing {
        match kind {
            Kind::AppendOnly => Tearing::Everything,
            Kind::Sparse => Tearing::Sectors,
        }
    }

    /// Does `op` and checks what the device reads then. The error is that of a fault of the disk.
    pub(crate) fn apply(&mut self, op: Op) -> Result<()> {
        match op {
            Op::Crash => {
                self.crash();
                return Ok(());
            }
            Op::Reopen => {
                self.device().flush()?;
                self.since = vec![self.now.clone()];
                self.device = None;
                self.open();
                assert_eq!(self.read(), self.now, "opened again");
                return Ok(());
            }
            _ => {}
        }
        let before = self.now.clone();
        let after = self.after(op);
        match self.run(op) {
            Ok(()) => self.now = after.clone(),
            Err(error) => {
                assert!(matches!(error.root(), Error::Io { .. } | Error::ReadOnly { .. }), "{op:?}: {error}");
                self.now = self.read();
                for (at, &found) in self.now.iter().enumerate() {
                    let (before, after) = (before.get(at), after.get(at));
                    assert!(
                        [before, after].contains(&Some(&found)) || found == 0,
                        "{op:?} failed; sector {at} is {found}, was {before:?}, was to be {after:?}"
                    );
                }
                // An append-only layer has an operation as a whole or not at all; a smaller device is
                // made in two.
                self.halfway |= self.config.kind == Kind::Sparse || matches!(op, Op::Resize(_));
                self.since.extend([after, self.now.clone()]);
                return Err(error);
            }
        }
        if matches!(op, Op::Flush | Op::Snapshot(_) | Op::Resize(_) | Op::Compact) {
            (self.since, self.halfway) = (Vec::new(), false);
        }
        self.since.push(after);
        self.check_around(op);
        Ok(())
    }

    /// Turns the power off, opens the device and checks that its state is a legal one.
    pub(crate) fn crash(&mut self) {
        self.device = None;
        self.disk.crash();
        self.open();
        let found = self.read();
        if self.config.kind == Kind::AppendOnly && !self.halfway {
            assert!(
                self.since.contains(&found),
                "no state since the last flush:\n{found:?}\n{:?}",
                self.since
            );
        }
        assert!(self.since.iter().any(|state| state.len() == found.len()), "size {}", found.len());
        for (at, sector) in found.iter().enumerate() {
            let legal: Vec<u32> =
                self.since.iter().map(|state| state.get(at).copied().unwrap_or(0)).collect();
            assert!(legal.contains(sector), "sector {at} is {sector}, of {legal:?}");
        }
        self.now = found;
        // What was found is what there is: it may not change with the next crash.
        (self.since, self.halfway) = (vec![self.now.clone()], false);
    }

    /// Checks the whole device.
    pub(crate) fn check(&self) {
        assert_eq!(self.read(), self.now);
    }

    pub(crate) fn size(&self) -> u64 {
        self.now.len() as u64
    }

    /// Fits `op` into the device as it is.
    pub(crate) fn fit(&self, op: Op) -> Op {
        let clip = |start: u64, len: u64| {
            let start = start % self.size();
            (start, len.min(self.size() - start))
        };
        match op {
            Op::Write { start, len } => {
                let (start, len) = clip(start, len);
                Op::Write { start, len }
            }
            Op::Discard { start, len } => {
                let (start, len) = clip(start, len);
                Op::Discard { start, len }
            }
            Op::Compact if self.config.kind == Kind::Sparse => Op::Flush,
            Op::Snapshot(_) if self.config.sealed.len() > 6 => Op::Restack,
            other => other,
        }
    }

    fn run(&mut self, op: Op) -> Result<()> {
        let device = self.device.as_ref().unwrap();
        match op {
            Op::Write { start, len } => {
                self.writes += 1;
                let bytes: Vec<u8> = (start..start + len).flat_map(|at| content(self.writes, at)).collect();
                block_on(device.write_at(&bytes, start * SECTOR))
            }
            Op::Discard { start, len } => block_on(device.discard(start * SECTOR, len * SECTOR)),
            Op::Flush => device.flush(),
            Op::Resize(size) => block_on(device.resize(size * SECTOR)),
            Op::Restack => device.restack(self.lowers_or_empty()),
            Op::Snapshot(kind) => {
                let mut config = self.config.clone();
                config.sealed.push(config.upper);
                (config.upper, config.kind) = (next_file(&mut self.files), kind);
                let upper = create(&self.disk, kind, &config.upper, 0)?;
                let published = Cell::new(false);
                let done = device.snapshot(upper, || {
                    self.disk.rename()?;
                    published.set(true);
                    Ok(())
                });
                if published.get() {
                    self.config = config;
                }
                done
            }
            Op::Compact => {
                let name = next_file(&mut self.files);
                let (data, index) = files(&self.disk, &name);
                let published = Cell::new(false);
                let done = device.compact(data, index, || {
                    self.disk.rename()?;
                    published.set(true);
                    Ok(())
                });
                if published.get() {
                    self.config.upper = name;
                }
                done.map(|_| assert_eq!(device.garbage(), 0))
            }
            Op::Reopen | Op::Crash => unreachable!(),
        }
    }

    /// What the device is to read after `op`.
    fn after(&self, op: Op) -> Sectors {
        let mut after = self.now.clone();
        match op {
            Op::Write { start, len } => after[start as usize..(start + len) as usize].fill(self.writes + 1),
            Op::Discard { start, len } => after[start as usize..(start + len) as usize].fill(0),
            Op::Resize(size) => after.resize(size as usize, 0),
            _ => {}
        }
        after
    }

    fn open(&mut self) {
        let (data, index) = files(&self.disk, &self.config.upper);
        let limits = Limits::default();
        let opened: Result<Upper> = match self.config.kind {
            Kind::AppendOnly => {
                AppendOnly::open(data.clone(), index.clone(), &limits).map(Upper::from).or_else(|error| {
                    assert!(matches!(error.root(), Error::ReadOnly { .. }), "{error}");
                    AppendOnly::unseal(data, index, &limits).map(Upper::from)
                })
            }
            Kind::Sparse => Sparse::open(data.clone(), &limits).map(Upper::from).or_else(|error| {
                assert!(matches!(error.root(), Error::ReadOnly { .. }), "{error}");
                Sparse::unseal(data, &limits).map(Upper::from)
            }),
        };
        let upper = opened.unwrap_or_else(|error| panic!("{}: {error}", self.config.upper));
        self.device = Some(WritableImage::new(self.lowers(), upper).unwrap());
    }

    /// The base and the sealed uppers as layers.
    fn lowers(&self) -> Option<Image> {
        let sealed =
            self.config.sealed.iter().map(|name| (name.as_str(), MemoryBlob::new(self.disk.bytes(name))));
        let blobs: Vec<LayerBlob> = self
            .base
            .iter()
            .map(|blob| ("base", blob.clone()))
            .chain(sealed)
            .map(|(name, blob)| LayerBlob::new(name, blob))
            .collect();
        (!blobs.is_empty()).then(|| block_on(Image::open(blobs, &Limits::default())).unwrap())
    }

    fn lowers_or_empty(&self) -> Image {
        self.lowers().unwrap_or_else(|| {
            let writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(SECTOR)).unwrap();
            let blob = MemoryBlob::new(writer.finish().unwrap().into_inner());
            block_on(Image::open(vec![LayerBlob::new("empty", blob)], &Limits::default())).unwrap()
        })
    }

    fn device(&self) -> &WritableImage {
        self.device.as_ref().unwrap()
    }

    fn read(&self) -> Sectors {
        self.read_range(0, self.device().size() / SECTOR)
    }

    fn read_range(&self, start: u64, len: u64) -> Sectors {
        let mut bytes = vec![0xa5; (len * SECTOR) as usize];
        block_on(self.device().read_at(&mut bytes, start * SECTOR)).unwrap();
        bytes.chunks(SECTOR as usize).zip(start..).map(|(sector, at)| number(sector, at)).collect()
    }

    /// Checks the sectors around an operation.
    fn check_around(&self, op: Op) {
        let (start, len) = match op {
            Op::Write { start, len } | Op::Discard { start, len } => (start, len),
            _ => (0, self.size()),
        };
        let (from, to) = (start.saturating_sub(9), (start + len + 9).min(self.size()));
        let expected = &self.now[from as usize..to as usize];
        assert_eq!(self.read_range(from, to - from), expected, "after {op:?}, from {from}");
    }
}

/// An image with data in most of its sectors, and zeroed and unmapped ones between.
fn base(size: u64) -> MemoryBlob {
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(size * SECTOR)).unwrap();
    let mut at = 0;
    for len in [13, 3, 8, 5, 31, 16, 1, 40].into_iter().cycle() {
        let len = len.min(size - at);
        match at % 4 {
            0 | 1 => {
                let bytes: Vec<u8> = (at..at + len).flat_map(|at| content(BASE, at)).collect();
                writer.write(at * SECTOR, &bytes).unwrap();
            }
            2 => writer.zero(at * SECTOR, len * SECTOR).unwrap(),
            _ => {}
        }
        at += len;
        if at == size {
            return MemoryBlob::new(writer.finish().unwrap().into_inner());
        }
    }
    unreachable!()
}

fn create(disk: &Disk, kind: Kind, name: &str, virtual_size: u64) -> Result<Upper> {
    let (data, index) = files(disk, name);
    let options = UpperOptions::new(virtual_size);
    match kind {
        Kind::AppendOnly => AppendOnly::create(data, index, &options).map(Upper::from),
        Kind::Sparse => Sparse::create(data, &options).map(Upper::from),
    }
}

fn files(disk: &Disk, name: &str) -> (Arc<crate::disk::DiskFile>, Arc<crate::disk::DiskFile>) {
    (Arc::new(disk.open(name)), Arc::new(disk.open(&format!("{name}.index"))))
}

fn next_file(files: &mut u32) -> String {
    *files += 1;
    format!("upper-{files}")
}

/// The bytes of sector `at` after write `number`.
fn content(number: u32, at: u64) -> impl Iterator<Item = u8> {
    let word = u64::from(number) << 32 | at;
    std::iter::repeat_n(word.to_le_bytes(), SECTOR as usize / 8).flatten()
}

/// The write that a sector shows.
fn number(sector: &[u8], at: u64) -> u32 {
    let words = sector.as_chunks::<8>().0;
    let number = (u64::from_le_bytes(words[0]) >> 32) as u32;
    let expected = if number == 0 { [0; 8] } else { (u64::from(number) << 32 | at).to_le_bytes() };
    assert!(
        words.iter().all(|word| *word == expected),
        "sector {at} is torn: {:?}",
        sector.chunks(64).map(|c| c[4]).collect::<Vec<_>>()
    );
    number
}

const SECTOR: u64 = 512;
/// The number that sectors of the base have.
const BASE: u32 = 1;
