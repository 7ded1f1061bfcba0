//! What to fetch before it is asked for.
//!
//! A policy sees the reads of one blob and names ranges; it does no I/O and keeps no time. The cache
//! starts the named ranges only after the read that led to them is served, and a read whose bytes are not
//! yet under way starts a request of its own: nobody waits behind a guess.

mod readahead;

use std::fmt;
use std::ops::Range;

pub use self::readahead::Readahead;

/// Observes the reads of one blob and names what to fetch next.
///
/// # Contract
///
/// * Called once for each read that succeeded, in the order in which they ended, under a lock: it must be
///   quick and, where warm reads shall not allocate, must not allocate while it has nothing to name.
/// * Ranges may reach beyond the end of the blob, may overlap and may hold what is cached: the cache cuts
///   them. Ranges that are named together may share a request.
pub trait PrefetchPolicy: Send + fmt::Debug {
    /// Takes note that bytes `read` were read; adds to `wanted` what will be wanted soon.
    fn observe(&mut self, read: Range<u64>, wanted: &mut Vec<Range<u64>>);
}

/// Names nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrefetch;

impl PrefetchPolicy for NoPrefetch {
    fn observe(&mut self, _read: Range<u64>, _wanted: &mut Vec<Range<u64>>) {}
}
