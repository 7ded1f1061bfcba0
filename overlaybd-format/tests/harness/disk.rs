//! A disk whose power fails.
//!
//! What was not synced may reach the medium or not, in any order: sectors of a block that was there
//! before one by one, a block that was a hole as a whole ([`Tearing::Sectors`]) or not even that
//! ([`Tearing::Everything`]), and the size of the file independently of its bytes.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use overlaybd_format::Storage;

use crate::faults::Random;

/// Files by name.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tearing {
    /// What the contract of `Storage` allows.
    Sectors,
    /// Also blocks that were holes, sector by sector.
    Everything,
}

/// What happens at a certain change of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power fails: it is done in part, and nothing happens any more.
    PowerCut,
    /// It fails, done in part. A sync loses what it was to store.
    Error,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Contents>,
    random: Random,
    tearing: Tearing,
    /// Changes made since the disk was made.
    changes: u64,
    fault: Option<(u64, Fault)>,
}

impl Disk {
    pub(crate) fn new(seed: u64, tearing: Tearing) -> Self {
        let random = Random::new(seed);
        Self(Arc::new(Mutex::new(State { files: BTreeMap::new(), random, tearing, changes: 0, fault: None })))
    }

    /// Opens the file `name`, which is empty if it was not there.
    pub(crate) fn open(&self, name: &str) -> DiskFile {
        self.state().files.entry(name.to_owned()).or_default();
        DiskFile { disk: self.clone(), name: name.into() }
    }

    /// The bytes of `name`.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let file = &state.files[name].current;
        let mut bytes = vec![0; file.size as usize];
        file.read(&mut bytes, 0);
        bytes
    }

    /// Lets the change that follows after `changes` more meet `fault`.
    pub(crate) fn set_fault(&self, changes: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.changes + changes, fault));
    }

    /// Changes made so far.
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Counts as a change that is done or not: renaming a file that names others.
    pub(crate) fn rename(&self) -> io::Result<()> {
        self.state().begin().map_err(|fault| fault.error())
    }

    /// Turns the power off and on again.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        state.fault = None;
        let State { files, random, tearing, .. } = &mut *state;
        files.values_mut().for_each(|file| file.crash(random, *tearing));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Whether the next change happens.
    fn begin(&mut self) -> Result<(), Fault> {
        let number = self.changes;
        self.changes += 1;
        match self.fault {
            Some((at, Fault::PowerCut)) if number >= at => Err(Fault::PowerCut),
            Some((at, Fault::Error)) if number == at => Err(Fault::Error),
            _ => Ok(()),
        }
    }

    /// How much of a write is done that meets `fault`.
    fn part(&mut self, fault: Fault, offset: u64, len: usize) -> usize {
        let end = offset + self.random.below(len + 1) as u64;
        let unit = match (self.tearing, fault) {
            (Tearing::Everything, _) => 1,
            (Tearing::Sectors, Fault::Error) => SECTOR as u64,
            // A block is locked against the medium while it is being filled.
            (Tearing::Sectors, Fault::PowerCut) => BLOCK,
        };
        (end / unit * unit).saturating_sub(offset) as usize
    }

    /// Whether the power failed before the last change.
    fn is_off(&self) -> bool {
        matches!(self.fault, Some((at, Fault::PowerCut)) if self.changes > at + 1)
    }
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::other(format!("{self:?}"))
    }
}

/// A file of a [`Disk`].
#[derive(Debug, Clone)]
pub(crate) struct DiskFile {
    disk: Disk,
    name: Arc<str>,
}

impl DiskFile {
    fn with<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(self.disk.state().files.get_mut(&*self.name).unwrap())
    }
}

impl Storage for DiskFile {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.current.size))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.disk.state().begin().map_err(Fault::error)?;
        self.with(|file| file.set_size(size));
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| {
            if offset + buf.len() as u64 > file.current.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.current.read(buf, offset);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let begun = {
            let mut state = self.disk.state();
            let begun = state.begin();
            begun.map_err(|fault| {
                (fault, if state.is_off() { 0 } else { state.part(fault, offset, bytes.len()) })
            })
        };
        match begun {
            Ok(()) => self.with(|file| file.write(bytes, offset)),
            Err((fault, part)) => {
                self.with(|file| file.write(&bytes[..part], offset));
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        assert!(range.start.is_multiple_of(BLOCK) && range.end.is_multiple_of(BLOCK), "{range:?}");
        self.disk.state().begin().map_err(Fault::error)?;
        self.with(|file| file.punch(range));
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.with(|file| file.current.next_data(from)))
    }

    fn sync(&self) -> io::Result<()> {
        let begun = self.disk.state().begin();
        self.with(|file| match begun {
            Ok(()) => {
                file.sync();
                Ok(())
            }
            Err(fault) => {
                if fault == Fault::Error {
                    file.forget();
                }
                Err(fault.error())
            }
        })
    }
}

/// A file as it is read, as it is on the medium, and what may come to be there.
#[derive(Debug, Default)]
struct Contents {
    current: Blocks,
    durable: Blocks,
    /// What each block has been since the last sync, holes included.
    versions: BTreeMap<u64, Vec<Option<Block>>>,
    sizes: Vec<u64>,
}

/// Blocks that are no holes.
#[derive(Debug, Default, Clone)]
struct Blocks {
    size: u64,
    blocks: BTreeMap<u64, Block>,
}

type Block = Box<[u8; BLOCK as usize]>;

impl Contents {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let end = offset + bytes.len() as u64;
        while at < end {
            let number = at / BLOCK;
            let part = at..end.min((number + 1) * BLOCK);
            let block = self.current.blocks.entry(number).or_insert_with(|| Box::new([0; BLOCK as usize]));
            let from = &bytes[(part.start - offset) as usize..(part.end - offset) as usize];
            block[(part.start % BLOCK) as usize..][..from.len()].copy_from_slice(from);
            self.versions.entry(number).or_default().push(Some(block.clone()));
            at = part.end;
        }
        if !bytes.is_empty() && end > self.current.size {
            self.current.size = end;
            self.sizes.push(end);
        }
    }

    fn set_size(&mut self, size: u64) {
        self.current.cut(size);
        self.sizes.push(size);
        for number in self.durable.blocks.keys().chain(self.versions.keys()).copied().collect::<Vec<_>>() {
            if number * BLOCK + BLOCK > size {
                self.versions.entry(number).or_default().push(self.current.blocks.get(&number).cloned());
            }
        }
    }

    fn punch(&mut self, range: Range<u64>) {
        for number in range.start / BLOCK..range.end / BLOCK {
            if self.current.blocks.remove(&number).is_some() {
                self.versions.entry(number).or_default().push(None);
            }
        }
    }

    fn sync(&mut self) {
        for number in std::mem::take(&mut self.versions).into_keys() {
            match self.current.blocks.get(&number) {
                Some(block) => self.durable.blocks.insert(number, block.clone()),
                None => self.durable.blocks.remove(&number),
            };
        }
        if !std::mem::take(&mut self.sizes).is_empty() {
            self.durable.size = self.current.size;
        }
    }

    /// A sync that failed: the cache says that there is nothing left to write.
    fn forget(&mut self) {
        self.versions.clear();
        self.sizes.clear();
    }

    fn crash(&mut self, random: &mut Random, tearing: Tearing) {
        for (number, versions) in std::mem::take(&mut self.versions) {
            let before = self.durable.blocks.remove(&number);
            if let Some(block) = survivor(before, &versions, random, tearing) {
                self.durable.blocks.insert(number, block);
            }
        }
        let mut sizes = std::mem::take(&mut self.sizes);
        sizes.push(self.durable.size);
        self.durable.cut(sizes[random.below(sizes.len())]);
        self.current = self.durable.clone();
    }
}

/// What is left of a block that was `before` and has been `versions` since.
fn survivor(
    before: Option<Block>,
    versions: &[Option<Block>],
    random: &mut Random,
    tearing: Tearing,
) -> Option<Block> {
    // Versions up to the first hole are written over one another in place.
    let in_place: Vec<&Block> =
        versions.iter().take_while(|version| version.is_some()).flatten().chain(&before).collect();
    let chosen = random.below(versions.len() + 1);
    let fresh = before.is_none();
    if (fresh && tearing == Tearing::Sectors) || chosen >= in_place.len().max(1) {
        return if chosen == 0 { before } else { versions[chosen - 1].clone() };
    }
    if fresh && chosen == 0 {
        return None;
    }
    let mut block = before.clone().unwrap_or_else(|| Box::new([0; BLOCK as usize]));
    for sector in 0..BLOCK as usize / SECTOR {
        let choices = in_place.len() + usize::from(fresh);
        // Of a fresh block a sector may be missing, too.
        if let Some(version) = in_place.get(random.below(choices)) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            block[range.clone()].copy_from_slice(&version[range]);
        }
    }
    Some(block)
}

impl Blocks {
    fn read(&self, buf: &mut [u8], offset: u64) {
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            let number = at / BLOCK;
            let part = at..end.min((number + 1) * BLOCK);
            let out = &mut buf[(part.start - offset) as usize..(part.end - offset) as usize];
            match self.blocks.get(&number) {
                Some(block) => out.copy_from_slice(&block[(part.start % BLOCK) as usize..][..out.len()]),
                None => out.fill(0),
            }
            at = part.end;
        }
    }

    fn cut(&mut self, size: u64) {
        self.size = size;
        self.blocks.retain(|&number, _| number * BLOCK < size);
        if let Some(block) = self.blocks.get_mut(&(size / BLOCK)) {
            block[(size % BLOCK) as usize..].fill(0);
        }
    }

    fn next_data(&self, from: u64) -> Option<Range<u64>> {
        let (&first, _) = self.blocks.range(from / BLOCK..).next()?;
        let mut end = first;
        while self.blocks.contains_key(&end) {
            end += 1;
        }
        let run = from.max(first * BLOCK)..self.size.min(end * BLOCK);
        (!run.is_empty()).then_some(run)
    }
}

const BLOCK: u64 = 4096;
const SECTOR: usize = 512;
