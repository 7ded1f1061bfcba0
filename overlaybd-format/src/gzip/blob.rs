//! What is in a gzip blob, readable at any position.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use futures::TryStreamExt;

use super::checks::Checks;
use super::index::GzipIndex;
use super::run::Run;
use super::runs::Runs;
use crate::read_at::check_bounds;
use crate::{Error, ReadAt, Result, Warm};

/// The uncompressed bytes of a gzip blob of any number of members.
///
/// A read inflates from the checkpoint before it. What that gives is kept, with the state of the
/// decoder, so that a read further on goes on from there: a sequential reader inflates each byte once.
/// Reads of different spans inflate side by side, reads of one span after one another.
///
/// Whenever a member has been inflated as a whole, in whatever order, its checksum and length are
/// checked. If one does not match, that read and all later ones fail, because bytes that were given
/// before may be wrong. Nothing in the format protects what is read of a member in part.
///
/// A warm read gives what has been inflated already, and leaves the rest to
/// [`read_at`](ReadAt::read_at).
///
/// ```
/// use std::io::Write;
/// use overlaybd_format::{GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt};
///
/// # futures::executor::block_on(async {
/// # let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
/// # gzip.write_all(b"an ordinary layer")?;
/// # let gzip = gzip.finish()?;
/// let index = GzipIndexer::new(gzip.as_slice(), GzipIndexOptions::default()).finish()?;
///
/// let index = GzipIndex::open(MemoryBlob::new(index), &Limits::default()).await?;
/// let layer = GzipBlob::new(MemoryBlob::new(gzip), index)?;
/// let mut buf = [0; 8];
/// layer.read_at(&mut buf, 3).await?;
/// assert_eq!(&buf, b"ordinary");
/// # Ok::<_, std::io::Error>(()) }).unwrap();
/// ```
pub struct GzipBlob {
    blob: Arc<dyn ReadAt>,
    index: GzipIndex,
    runs: Runs,
    checks: Mutex<Checks>,
    /// The first member that did not match its checksum.
    failure: OnceLock<Error>,
}

impl GzipBlob {
    /// Reads the gzip blob `blob` by its index.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the index is of a blob of another size.
    pub fn new(blob: impl ReadAt + 'static, index: GzipIndex) -> Result<Self> {
        if blob.size() != index.gzip_size() {
            let (size, indexed) = (blob.size(), index.gzip_size());
            let why = format!("it is of a blob of {indexed} bytes, and this one has {size}");
            return Err(Error::broken("gzip index", 0, why));
        }
        Ok(Self {
            blob: Arc::new(blob),
            index,
            runs: Runs::new(MEMORY),
            checks: Mutex::new(Checks::new()),
            failure: OnceLock::new(),
        })
    }

    /// Sets how many bytes of inflated data and decoder state are kept; by default 16 MiB. What reads
    /// under way need comes on top.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.runs = Runs::new(bytes);
        self
    }

    /// The index that the blob is read by.
    #[must_use]
    pub fn index(&self) -> &GzipIndex {
        &self.index
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        check_bounds(self.size(), offset, len)?;
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Cuts a read at checkpoints: the number of each, where the part starts, and the part.
    fn parts<'a>(
        &'a self,
        buf: &'a mut [u8],
        offset: u64,
    ) -> impl Iterator<Item = (usize, u64, &'a mut [u8])> {
        let (mut at, mut rest) = (offset, buf);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let number = self.index.checkpoint_before(at);
            let room = self.index.span_end(number).saturating_sub(at);
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(len);
            let start = at;
            (at, rest) = (at.saturating_add(len as u64), tail);
            Some((number, start, part))
        })
    }

    /// Reads a part that lies behind checkpoint `number` and before the next.
    async fn read_part(&self, number: usize, offset: u64, part: &mut [u8]) -> Result<()> {
        let shared = self.runs.get_or_insert(number);
        let mut slot = shared.lock().await;
        let result = self.read_run(&mut slot, number, offset, part).await;
        if result.is_err() {
            *slot = None;
        }
        self.runs.account(number, slot.as_ref().map_or(0, Run::memory));
        result
    }

    async fn read_run(
        &self,
        slot: &mut Option<Run>,
        number: usize,
        offset: u64,
        part: &mut [u8],
    ) -> Result<()> {
        let run = match slot.take().filter(|run| !run.is_past(offset)) {
            Some(run) => slot.insert(run),
            None => slot.insert(self.begin(number).await?),
        };
        let end = offset.saturating_add(part.len() as u64);
        let (mut at, mut rest) = (offset, part);
        loop {
            let copied = run.copy(rest, at);
            rest = std::mem::take(&mut rest).get_mut(copied..).unwrap_or_default();
            at = at.saturating_add(copied as u64);
            if rest.is_empty() && !run.is_ending() {
                return Ok(());
            }
            let wanted = run.wanted(end);
            let len = usize::try_from(wanted.end.saturating_sub(wanted.start)).unwrap_or(usize::MAX);
            let mut input = vec![0; len];
            self.blob.read_at(&mut input, wanted.start).await?;
            if let Some(sum) = run.inflate(&input)? {
                let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
                checks.add(number, sum).map_err(|error| self.failure.get_or_init(|| error).clone())?;
            }
        }
    }

    async fn begin(&self, number: usize) -> Result<Run> {
        let checkpoint = self
            .index
            .checkpoint(number)
            .ok_or_else(|| Error::broken("gzip index", 0, format!("there is no checkpoint {number}")))?;
        let window = self.index.window(checkpoint).await?;
        Ok(Run::new(&self.index, number, checkpoint, window))
    }
}

#[async_trait]
impl ReadAt for GzipBlob {
    fn size(&self) -> u64 {
        self.index.uncompressed_size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check(offset, buf.len())?;
        futures::stream::iter(self.parts(buf, offset).map(Ok))
            .try_for_each_concurrent(SPANS_AT_ONCE, |(number, at, part)| self.read_part(number, at, part))
            .await
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        self.check(offset, buf.len())?;
        for (number, at, part) in self.parts(buf, offset) {
            let Some(shared) = self.runs.get(number) else { return Ok(Warm::No) };
            let Some(slot) = shared.try_lock() else { return Ok(Warm::No) };
            if slot.as_ref().is_none_or(|run| run.copy(part, at) < part.len()) {
                return Ok(Warm::No);
            }
        }
        Ok(Warm::Yes)
    }
}

impl std::fmt::Debug for GzipBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipBlob")
            .field("blob", &self.blob)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Spans of one read that are inflated side by side. Each holds one request and its output.
const SPANS_AT_ONCE: usize = 8;
/// Enough for some dozens of places that are read at the same time.
const MEMORY: usize = 16 << 20;
