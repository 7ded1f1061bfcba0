//! A remote blob as if it were at hand.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::{Either, select};

use crate::blob_options::BlobOptions;
use crate::cache::Shared;
use crate::complete::LocalFile;
use crate::discards::DiscardCount;
use crate::errand::{Errands, Wanted};
use crate::flight::Flight;
use crate::plan;
use crate::prefetch::PrefetchPolicy;
use crate::source::{BlobSource, Priority, Urgency, check_bounds};
use crate::stats::{Meter, Stats};
use crate::store::ChunkKey;
use crate::sync::{Mutex, lock};
use crate::terms::Terms;
use crate::verify::Verifier;
use crate::{BlobId, Error, ErrorKind, Result};

/// An immutable remote blob, read through a [`Cache`](crate::Cache). Clones are the same blob.
///
/// * **Exact or error.** A read fills the whole buffer or fails; after an error the buffer's content is
///   unspecified.
/// * **Once.** A chunk that is being fetched is not fetched a second time; all who want it wait for it.
/// * **In time.** A read ends at its deadline at the latest.
/// * **Cancellation.** A read may be dropped at any await point. Its fetch goes on, at most until the
///   deadline of the read that started it, and what arrives is cached.
#[derive(Clone)]
pub struct Blob {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Arc<Shared>,
    id: BlobId,
    /// Of its chunks.
    cached_as: BlobId,
    size: u64,
    source: Arc<dyn BlobSource>,
    meter: Arc<Meter>,
    verifier: Option<Arc<dyn Verifier>>,
    /// The whole blob, once it is here.
    completed: Mutex<Option<Arc<LocalFile>>>,
    prefetch: Mutex<Box<dyn PrefetchPolicy>>,
    discards: DiscardCount,
}

impl Blob {
    pub(crate) fn new(
        cache: Arc<Shared>,
        id: BlobId,
        size: u64,
        source: Arc<dyn BlobSource>,
        options: BlobOptions,
    ) -> Self {
        let meter = Arc::new(Meter::new(id.clone(), cache.observer.clone()));
        let BlobOptions { prefetch, verifier } = options;
        let (completed, prefetch) = (Mutex::new(None), Mutex::new(prefetch));
        let discards = cache.discards.of(&id);
        let cached_as = if verifier.is_some() { id.verified() } else { id.clone() };
        let inner =
            Inner { cache, id, cached_as, size, source, meter, verifier, completed, prefetch, discards };
        Self { inner: Arc::new(inner) }
    }

    /// What it is cached under.
    pub fn id(&self) -> &BlobId {
        &self.inner.id
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// What reading it has cost so far.
    pub fn stats(&self) -> Stats {
        self.inner.meter.snapshot()
    }

    /// Fills `buf` with the bytes that start at `offset`, within the read timeout of the cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if the range ends after [`size`](Self::size);
    /// [`ErrorKind::DeadlineExceeded`] if time runs out; otherwise what the source reports.
    pub async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let inner = &*self.inner;
        inner.read(buf, offset, inner.cache.default_deadline()).await
    }

    /// As [`read_at`](Self::read_at), with a deadline in the time of the cache's
    /// [`Runtime`](crate::Runtime).
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    pub async fn read_at_until(&self, buf: &mut [u8], offset: u64, deadline: Instant) -> Result<()> {
        self.inner.read(buf, offset, deadline).await
    }

    /// Fills `buf` if all its bytes are in memory, and says whether it did. Neither waits nor, but for
    /// the start of a readahead, allocates. After `false` the content of `buf` is unspecified.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] as for [`read_at`](Self::read_at).
    pub fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<bool> {
        self.inner.try_read(buf, offset)
    }

    /// Fetches what is missing of `ranges`, which are in the order in which they will be wanted: a warm-up
    /// when a blob is opened, or the reads of an earlier start. Returns at once; a reader that comes to a
    /// chunk before it is here waits for that chunk only, and its request goes first.
    ///
    /// Ranges that are wanted soon after one another share requests. What reaches beyond the end of the
    /// blob is cut off, and so is what goes beyond 65,536 chunks. A fetch that fails is not repeated until a
    /// reader wants its bytes. If the whole blob is in a local file, there is nothing to do.
    pub fn prefetch(&self, ranges: impl IntoIterator<Item = Range<u64>>) {
        self.inner.prefetch(ranges, Priority::Prefetch);
    }

    /// Forgets the chunks that overlap `range`, because their bytes proved wrong: the next read
    /// fetches them again. The file of a completed blob is not read from any more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if the range ends after [`size`](Self::size); [`ErrorKind::Storage`] if a
    /// store does not answer, which may give the bytes again when it does.
    pub async fn discard(&self, range: Range<u64>) -> Result<()> {
        let inner = &*self.inner;
        check_bounds(&range, inner.size).map_err(|e| e.at(&inner.id, range.clone()))?;
        *lock(&inner.completed) = None;
        inner.discards.add();
        let (terms, mut result) = (self.terms(Priority::OnDemand), Ok(()));
        for key in inner.keys(range) {
            for tier in &inner.cache.tiers {
                if let Err(error) = terms.remove(tier, &key).await {
                    result = Err(error.at(&inner.id, key.range()));
                }
            }
        }
        result
    }

    /// Whether the whole blob is in a file, checked against its digest, and read from there.
    pub fn is_complete(&self) -> bool {
        self.inner.completed().is_some()
    }

    pub(crate) fn read_from(&self, file: Arc<LocalFile>) {
        *lock(&self.inner.completed) = Some(file);
    }

    pub(crate) fn completed(&self) -> Option<Arc<LocalFile>> {
        self.inner.completed()
    }

    pub(crate) fn keys(&self, range: Range<u64>) -> impl Iterator<Item = ChunkKey> {
        self.inner.keys(range)
    }

    pub(crate) fn terms(&self, priority: Priority) -> Terms {
        self.inner.terms(priority, None)
    }

    pub(crate) fn read_timeout(&self) -> std::time::Duration {
        self.inner.cache.read_timeout
    }

    pub(crate) fn runtime(&self) -> &dyn crate::Runtime {
        self.inner.cache.runtime()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { id, size, source, .. } = &*self.inner;
        f.debug_struct("Blob")
            .field("id", id)
            .field("size", size)
            .field("source", source)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn try_read(&self, buf: &mut [u8], offset: u64) -> Result<bool> {
        let range = self.range(buf, offset)?;
        if self.completed().is_some_and(|file| file.try_read(buf, offset)) {
            self.meter.counts.bytes_wanted.add(buf.len() as u64);
            self.meter.counts.bytes_local.add(buf.len() as u64);
            return Ok(true);
        }
        let mut hits = 0;
        for key in self.keys(range.clone()) {
            let Some(chunk) = self.cache.warm(&key) else { return Ok(false) };
            copy_overlap(buf, offset, &chunk, key.offset);
            hits += 1;
        }
        // Counted at the end, so that a read that has to be made again counts once.
        self.meter.counts.bytes_wanted.add(buf.len() as u64);
        self.meter.counts.hits_warm.add(hits);
        self.look_ahead(range);
        Ok(true)
    }

    async fn read(&self, buf: &mut [u8], offset: u64, deadline: Instant) -> Result<()> {
        let range = self.range(buf, offset)?;
        let runtime = self.cache.runtime();
        let begun = runtime.now();
        self.meter.counts.bytes_wanted.add(buf.len() as u64);
        let result = match self.read_completed(buf, offset).await {
            true => Ok(()),
            false => self.read_parts(buf, offset, deadline).await,
        };
        let took = runtime.now().saturating_duration_since(begun);
        self.meter.read(range.clone(), took, result.as_ref().err());
        if result.is_ok() {
            self.look_ahead(range);
        }
        result
    }

    fn completed(&self) -> Option<Arc<LocalFile>> {
        lock(&self.completed).clone()
    }

    /// Reads from the file of the whole blob. One that cannot be read is passed over.
    async fn read_completed(&self, buf: &mut [u8], offset: u64) -> bool {
        let Some(file) = self.completed() else { return false };
        match file.read(self.cache.runtime(), buf, offset).await {
            Ok(()) => self.meter.counts.bytes_local.add(buf.len() as u64),
            Err(error) => {
                self.meter.store_failure(&error);
                return false;
            }
        }
        true
    }

    async fn read_parts(&self, buf: &mut [u8], offset: u64, deadline: Instant) -> Result<()> {
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            // Parts end on the grid, so that no chunk is wanted by two of them.
            let len = usize::try_from(PART - at % PART).unwrap_or(usize::MAX).min(rest.len());
            let (part, later) = rest.split_at_mut(len);
            self.read_part(part, at, deadline).await?;
            (rest, at) = (later, at + len as u64);
        }
        Ok(())
    }

    async fn read_part(&self, buf: &mut [u8], offset: u64, deadline: Instant) -> Result<()> {
        let mut errands = self.errands(Priority::OnDemand, Some(self.errand_deadline(deadline)));
        let mut coming = Vec::new();
        for key in self.keys(offset..offset + buf.len() as u64) {
            match errands.join(&key) {
                Wanted::Here(chunk) => copy_overlap(buf, offset, &chunk, key.offset),
                Wanted::Coming(flight) => coming.push((key, flight)),
            }
        }
        errands.send();
        for (key, flight) in coming {
            let chunk = self.arrival(&key, flight, deadline).await?;
            copy_overlap(buf, offset, &chunk, key.offset);
        }
        Ok(())
    }

    /// Waits for a chunk. Where the flight that was joined fails on terms worse than this read's own
    /// (a prefetch, an earlier deadline), a flight on its own terms takes its place.
    async fn arrival(&self, key: &ChunkKey, mut flight: Flight, deadline: Instant) -> Result<Bytes> {
        let mut alarm = self.cache.runtime().sleep_until(deadline);
        loop {
            let result = match select(std::pin::pin!(flight.clone().chunk()), &mut alarm).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => {
                    let error = Error::new(ErrorKind::DeadlineExceeded, "the deadline passed");
                    return Err(error.at(&self.id, key.range()));
                }
            };
            let own = self.errand_deadline(deadline);
            match result {
                Err(error) if flight.is_outdone_by(&error, Priority::OnDemand, own) => {}
                other => return other.map_err(|e| e.at(&self.id, key.range())),
            }
            let mut errands = self.errands(Priority::OnDemand, Some(own));
            flight = match errands.join(key) {
                Wanted::Here(chunk) => return Ok(chunk),
                Wanted::Coming(flight) => flight,
            };
            errands.send();
        }
    }

    /// Lets the policy see a read that is served, and starts what it names.
    fn look_ahead(&self, read: Range<u64>) {
        if self.completed().is_some() {
            return;
        }
        let mut wanted = Vec::new();
        lock(&self.prefetch).observe(read, &mut wanted);
        if !wanted.is_empty() {
            self.prefetch(wanted, Priority::Prefetch);
        }
    }

    fn prefetch(&self, ranges: impl IntoIterator<Item = Range<u64>>, priority: Priority) {
        if lock(&self.completed).is_some() {
            return;
        }
        for request in plan::waves(ranges, self.cache.chunk_size, self.size, self.cache.shape) {
            let mut errands = self.errands(priority, None);
            for key in self.keys(request) {
                errands.join(&key);
            }
            errands.send();
        }
    }

    fn errands(&self, priority: Priority, deadline: Option<Instant>) -> Errands {
        Errands::new(self.terms(priority, deadline))
    }

    fn terms(&self, priority: Priority, deadline: Option<Instant>) -> Terms {
        Terms {
            cache: Arc::clone(&self.cache),
            source: Arc::clone(&self.source),
            meter: Arc::clone(&self.meter),
            verifier: self.verifier.clone(),
            urgency: Urgency::new(priority),
            deadline,
            discards: self.discards.clone(),
        }
    }

    fn range(&self, buf: &[u8], offset: u64) -> Result<Range<u64>> {
        let range = offset..offset.saturating_add(buf.len() as u64);
        check_bounds(&range, self.size).map_err(|e| e.at(&self.id, range.clone()))?;
        Ok(range)
    }

    fn keys(&self, range: Range<u64>) -> impl Iterator<Item = ChunkKey> {
        plan::covering(range, self.cache.chunk_size, self.size).map(|chunk| ChunkKey {
            blob: self.cached_as.clone(),
            offset: chunk.start,
            // A chunk is never longer than the chunk size, which is a u32.
            len: (chunk.end - chunk.start) as u32,
        })
    }

    /// An errand ends shortly before its reader's alarm, so that the reader learns the cause.
    fn errand_deadline(&self, deadline: Instant) -> Instant {
        let left = deadline.saturating_duration_since(self.cache.runtime().now());
        deadline.checked_sub(left / 16).unwrap_or(deadline)
    }
}

/// Copies the bytes that `buf` (which starts at `at` in the blob) and `chunk` (which starts at
/// `chunk_at`) have in common.
#[allow(clippy::indexing_slicing, reason = "a chunk that covers a part of the buffer overlaps it")]
fn copy_overlap(buf: &mut [u8], at: u64, chunk: &[u8], chunk_at: u64) {
    let start = at.max(chunk_at);
    let (into, from) = (&mut buf[(start - at) as usize..], &chunk[(start - chunk_at) as usize..]);
    let len = into.len().min(from.len());
    into[..len].copy_from_slice(&from[..len]);
}

/// Bytes of one read that are under way at a time: what bounds the memory of a large read. A multiple
/// of every chunk size.
const PART: u64 = 16 << 20;
