//! The cache: stores, flights and downloads under one roof, from which blobs are opened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::blob::Blob;
use crate::blob_options::BlobOptions;
use crate::discards::Discards;
use crate::download::Downloads;
use crate::flight::Flights;
use crate::gate::Gate;
use crate::observer::Observer;
use crate::plan::Shape;
use crate::retry::{Jitter, RetryOptions};
use crate::source::BlobSource;
use crate::store::{ChunkKey, ChunkStore, MemoryStore};
use crate::tier::Tier;
use crate::{BlobId, Error, ErrorKind, Result, Runtime};

/// A cache of chunks of remote blobs, shared by everything that reads them. Clones are the same cache.
#[derive(Debug, Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// What all blobs of one cache share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) downloads: Downloads,
    /// Fastest first; never empty.
    pub(crate) tiers: Vec<Tier>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// The budget of bytes that are on their way or not yet in every store.
    pub(crate) in_flight: Arc<Gate>,
    /// The budget of chunks that are being looked up in the stores.
    pub(crate) lookups: Arc<Gate>,
    pub(crate) discards: Discards,
    pub(crate) chunk_size: u32,
    pub(crate) shape: Shape,
    pub(crate) read_timeout: Duration,
}

/// Sizes and times of a [`Cache`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// Bytes that are fetched and kept together: a power of two from 4 KiB to 4 MiB.
    ///
    /// The default of 64 KiB is 5 ms of a 100 Mbit/s link, well below a usual round trip, so that a
    /// random read of 4 KiB costs little more than its latency; streams are not held back by it,
    /// because adjacent chunks share a request.
    pub chunk_size: u32,
    /// The largest request in bytes. Longer reads use several at once.
    pub max_request_len: u64,
    /// Bytes between two missing chunks that are fetched along to save a request. All gaps of a request
    /// are at most a sixteenth of what is wanted of it.
    ///
    /// The default of 128 KiB is 10 ms of a 100 Mbit/s link, half of a usual round trip.
    pub max_gap: u64,
    /// The most bytes that are asked for and not yet in every store. Further requests wait, the most
    /// urgent first; a quarter is for reads alone, not for prefetch.
    pub max_in_flight: u64,
    /// Time for a read until it fails, unless the caller names a deadline.
    pub read_timeout: Duration,
    /// Time without a byte after which a request is given up and resumed, and after which a store is
    /// passed over.
    pub stall_timeout: Duration,
    /// When and how often a failed request is repeated.
    pub retry: RetryOptions,
    /// The percentile of latency to the first byte after which a read's request is sent a second time; the
    /// faster one counts. At most one request in twenty is. `None`: never.
    pub hedge_percentile: Option<u8>,
    /// Makes the jitter of the retries repeatable.
    pub seed: Option<u64>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            chunk_size: 64 << 10,
            max_request_len: 4 << 20,
            max_gap: 128 << 10,
            max_in_flight: 32 << 20,
            read_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(5),
            retry: RetryOptions::default(),
            hedge_percentile: Some(95),
            seed: None,
        }
    }
}

impl CacheOptions {
    /// Sets [`chunk_size`](Self::chunk_size).
    #[must_use]
    pub fn with_chunk_size(mut self, bytes: u32) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Sets [`max_request_len`](Self::max_request_len).
    #[must_use]
    pub fn with_max_request_len(mut self, bytes: u64) -> Self {
        self.max_request_len = bytes;
        self
    }

    /// Sets [`max_gap`](Self::max_gap).
    #[must_use]
    pub fn with_max_gap(mut self, bytes: u64) -> Self {
        self.max_gap = bytes;
        self
    }

    /// Sets [`max_in_flight`](Self::max_in_flight).
    #[must_use]
    pub fn with_max_in_flight(mut self, bytes: u64) -> Self {
        self.max_in_flight = bytes;
        self
    }

    /// Sets [`read_timeout`](Self::read_timeout).
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets [`stall_timeout`](Self::stall_timeout).
    #[must_use]
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(mut self, retry: RetryOptions) -> Self {
        self.retry = retry;
        self
    }

    /// Sets [`hedge_percentile`](Self::hedge_percentile).
    #[must_use]
    pub fn with_hedge_percentile(mut self, percentile: Option<u8>) -> Self {
        self.hedge_percentile = percentile;
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

/// What a [`Cache`] is using at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Of [`CacheOptions::max_in_flight`].
    pub bytes_in_flight: u64,
    /// Requests that wait for their turn.
    pub requests_waiting: usize,
}

/// Puts a [`Cache`] together.
#[derive(Debug)]
pub struct CacheBuilder {
    runtime: Arc<dyn Runtime>,
    options: CacheOptions,
    stores: Vec<Arc<dyn ChunkStore>>,
    observer: Option<Arc<dyn Observer>>,
}

impl Cache {
    /// Starts to build a cache whose fetches run on `runtime`.
    pub fn builder(runtime: Arc<dyn Runtime>) -> CacheBuilder {
        CacheBuilder { runtime, options: CacheOptions::default(), stores: Vec::new(), observer: None }
    }

    /// Opens the blob `id` of `size` bytes, which `source` brings, with readahead. No I/O.
    ///
    /// Blobs of the same id share chunks and fetches, whatever their sources; those with a verifier among
    /// themselves.
    pub fn open(&self, id: BlobId, size: u64, source: Arc<dyn BlobSource>) -> Blob {
        Blob::new(Arc::clone(&self.shared), id, size, source, BlobOptions::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the chunk size of the cache is no multiple of the verifier's unit.
    pub fn open_with(
        &self,
        id: BlobId,
        size: u64,
        source: Arc<dyn BlobSource>,
        options: BlobOptions,
    ) -> Result<Blob> {
        let units = options.verifier.as_ref().map(|verifier| verifier.unit());
        if units.is_some_and(|unit| self.shared.chunk_size % unit != 0) {
            let why = "the chunk size is no multiple of the unit of the verifier";
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(Blob::new(Arc::clone(&self.shared), id, size, source, options))
    }

    /// What the cache is using of its budgets now.
    pub fn usage(&self) -> Usage {
        let in_flight = &self.shared.in_flight;
        Usage { bytes_in_flight: in_flight.used(), requests_waiting: in_flight.waiting() }
    }
}

impl CacheBuilder {
    /// Replaces the options.
    #[must_use]
    pub fn options(mut self, options: CacheOptions) -> Self {
        self.options = options;
        self
    }

    /// Adds a store below those added before: fastest first, the first one in memory. A chunk found
    /// in a lower store is put into those above it. Without any call there is one [`MemoryStore`] of
    /// 64 MiB.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn ChunkStore>) -> Self {
        self.stores.push(store);
        self
    }

    /// Tells `observer` what happens to the blobs.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an option that cannot be.
    pub fn build(mut self) -> Result<Cache> {
        let options = self.options;
        let invalid = |why: &'static str| Err(Error::new(ErrorKind::InvalidInput, why));
        if !options.chunk_size.is_power_of_two() || !CHUNK_SIZES.contains(&options.chunk_size) {
            return invalid("the chunk size is not a power of two from 4 KiB to 4 MiB");
        }
        if options.read_timeout.is_zero() || options.stall_timeout.is_zero() {
            return invalid("a timeout is zero");
        }
        if options.retry.tries == 0 {
            return invalid("no try is allowed");
        }
        if self.stores.is_empty() {
            self.stores.push(Arc::new(MemoryStore::new(DEFAULT_MEMORY)));
        }
        let downloads = Downloads {
            runtime: self.runtime,
            retry: options.retry,
            stall_timeout: options.stall_timeout,
            jitter: Jitter::new(options.seed),
            hedge_percentile: options.hedge_percentile,
        };
        let shared = Shared {
            downloads,
            tiers: self.stores.into_iter().map(Tier::new).collect(),
            flights: Arc::default(),
            observer: self.observer,
            chunk_size: options.chunk_size,
            shape: Shape { max_len: options.max_request_len, max_gap: options.max_gap },
            in_flight: Gate::new(options.max_in_flight),
            lookups: Gate::new(MAX_LOOKUPS),
            discards: Discards::default(),
            read_timeout: options.read_timeout,
        };
        Ok(Cache { shared: Arc::new(shared) })
    }
}

impl Shared {
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.downloads.runtime
    }

    /// The chunk, if a store has it in memory.
    pub(crate) fn warm(&self, key: &ChunkKey) -> Option<Bytes> {
        self.tiers
            .iter()
            .find_map(|tier| tier.store.try_get(key))
            .filter(|chunk| key.check_len(chunk).is_ok())
    }

    /// When a fetch that starts now ends.
    pub(crate) fn default_deadline(&self) -> Instant {
        let now = self.runtime().now();
        now.checked_add(self.read_timeout).unwrap_or(now + FOREVER)
    }
}

/// From a page, below which nothing can be saved, to what a memory store still keeps in good number.
const CHUNK_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=4 << 20;
const DEFAULT_MEMORY: u64 = 64 << 20;
/// More look-ups at a time make no disk faster and keep a reader's from their turn.
const MAX_LOOKUPS: u64 = 64;
/// For a timeout too long for the clock.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
