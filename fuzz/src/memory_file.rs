//! A file in memory.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use overlaybd_format::Storage;

/// Bytes as a [`Storage`]; blocks of zeros are its holes. Clones are the same file.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    bytes: Arc<Mutex<Vec<u8>>>,
    name: Arc<str>,
}

impl MemoryFile {
    /// A file of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes.to_vec())), name: "memory".into() }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("no other thread panics")
    }
}

impl Storage for MemoryFile {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        if size > MAX_SIZE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes().resize(size as usize, 0);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes();
        let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.size()? {
            self.set_size(end)?;
        }
        self.bytes()[offset as usize..end as usize].copy_from_slice(bytes);
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let mut bytes = self.bytes();
        let end = (range.end as usize).min(bytes.len());
        bytes[(range.start as usize).min(end)..end].fill(0);
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let bytes = self.bytes();
        let is_data = |&at: &u64| bytes[at as usize..].iter().take(4096).any(|&byte| byte != 0);
        let blocks = (from / 4096 * 4096..bytes.len() as u64).step_by(4096);
        let mut run = blocks.skip_while(|at| !is_data(at)).take_while(is_data);
        let Some(start) = run.next() else { return Ok(None) };
        let end = run.last().unwrap_or(start) + 4096;
        let run = start.max(from)..end.min(bytes.len() as u64);
        Ok((!run.is_empty()).then_some(run))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const MAX_SIZE: u64 = 16 << 20;
