//! From a cache of chunks to the whole blob in a file that is known to be right.
//!
//! ```text
//!  stores ─┐
//!          ├─► windows, in order ─► FILE.partial ─► digest of all ─► sync ─► FILE ─► reads go there
//!  origin ─┘    in the background, at a rate
//! ```
//!
//! It may wait until the blob is used densely enough to be worth it. The partial file grows at its end only and
//! is locked by whoever completes it, so that a later attempt, also of another process, goes on where the last
//! one stopped. What is in it counts for nothing until the digest of the whole has been computed over every
//! byte. When that does not match, the file is emptied and filled once more, from the origin alone.

mod local_file;
mod partial_file;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

pub(crate) use self::local_file::LocalFile;
use self::partial_file::PartialFile;
use crate::runtime::blocking;
use crate::source::Priority;
use crate::terms::Terms;
use crate::{Blob, Digest, Error, ErrorKind, Result, Runtime};

/// How a blob is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompleteOptions {
    /// The most bytes per second to fetch; `None`: as many as come.
    pub bytes_per_second: Option<u64>,
    /// Requests at once. More than one helps where the link is longer than a request. With a rate there is
    /// only one.
    pub parallel: usize,
    /// Waits until so many hundredths of the blob have been fetched for readers and prefetch; 0: begins at once.
    ///
    /// Where a reader uses a blob densely, the whole of it in large requests is here sooner than what is left of
    /// it in small ones; where it does not, nothing is fetched in vain.
    pub after_percent: u8,
}

impl Default for CompleteOptions {
    fn default() -> Self {
        Self { bytes_per_second: None, parallel: 2, after_percent: 0 }
    }
}

impl CompleteOptions {
    /// Sets [`bytes_per_second`](Self::bytes_per_second).
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Sets [`parallel`](Self::parallel).
    #[must_use]
    pub fn with_parallel(mut self, requests: usize) -> Self {
        self.parallel = requests;
        self
    }

    /// Sets [`after_percent`](Self::after_percent).
    #[must_use]
    pub fn with_after_percent(mut self, percent: u8) -> Self {
        self.after_percent = percent;
        self
    }
}

impl Blob {
    /// Brings the whole blob into the file at `path`, checks it against `digest`, and reads from that file
    /// from then on. Meant for a task of its own: reads go on meanwhile and come first.
    ///
    /// [`discard`](Self::discard) ends the use of the file: the next call checks and, if need be, replaces it.
    ///
    /// A file that is there already is checked and used; a blob that is complete in another file is copied. What
    /// is dropped or fails in between is continued by the next call. The directory must exist; the space counts
    /// against no store's limit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the bytes of the origin do not match `digest`; [`ErrorKind::Storage`] if
    /// the file cannot be written, or somebody else is completing it; otherwise what the source reports.
    pub async fn complete(
        &self,
        path: impl AsRef<Path>,
        digest: Digest,
        options: CompleteOptions,
    ) -> Result<()> {
        let completion = Completion {
            blob: self,
            terms: self.terms(Priority::Background),
            path: path.as_ref().into(),
            digest,
            options,
        };
        let file = completion.run().await.map_err(|e| e.at(self.id(), 0..self.size()))?;
        self.read_from(file);
        Ok(())
    }
}

struct Completion<'a> {
    blob: &'a Blob,
    terms: Terms,
    path: PathBuf,
    digest: Digest,
    options: CompleteOptions,
}

impl Completion<'_> {
    async fn run(&self) -> Result<Arc<LocalFile>> {
        if let Some(file) = self.blob.completed() {
            let (path, known) = (self.path.clone(), Arc::clone(&file));
            if self.job(move || Ok(known.is_at(&path))).await? {
                return Ok(file);
            }
        }
        let (path, size, digest) = (self.path.clone(), self.blob.size(), self.digest);
        let share = (size / 100).saturating_mul(self.options.after_percent.into());
        self.terms.meter.until_fetched(share).await;
        if let Some(file) = self.job(move || LocalFile::open_checked(&path, size, digest)).await? {
            return Ok(Arc::new(file));
        }
        let path = self.path.clone();
        let mut partial = self.job(move || PartialFile::open(&path, size)).await?;
        for use_stores in [true, false] {
            partial = self.fill(partial, use_stores).await?;
            let finished = self.job(move || partial.finish(digest)).await?;
            partial = match finished {
                Ok(file) => return Ok(Arc::new(file)),
                Err(emptied) => emptied,
            };
            self.terms.meter.mismatch(0..size);
            // A store that does not answer is not asked in the second round anyway.
            let _ = self.blob.discard(0..size).await;
        }
        Err(Error::new(ErrorKind::Corrupt, format!("the blob does not match {digest}")))
    }

    /// Appends what is missing.
    async fn fill(&self, partial: PartialFile, use_stores: bool) -> Result<PartialFile> {
        let step = self.terms.cache.shape.max_len.max(1);
        let (start, size) = (partial.len(), self.blob.size());
        let windows =
            std::iter::successors(Some(start), |at| at.checked_add(step)).take_while(|at| *at < size);
        let windows = windows.map(|at| self.window(at..at.saturating_add(step).min(size), use_stores));
        let pace = Pace { runtime: self.terms.cache.runtime(), rate: self.options.bytes_per_second };
        // A window that waits for the pace would hold its request, and with it what readers wait for.
        let parallel = if self.options.bytes_per_second.is_some() { 1 } else { self.options.parallel.max(1) };
        stream::iter(windows)
            .buffered(parallel)
            .try_fold((partial, pace.now()), async |(mut partial, due), window| {
                let len: u64 = window.iter().map(|piece| piece.len() as u64).sum();
                let partial = self
                    .job(move || {
                        partial.append(&window)?;
                        Ok(partial)
                    })
                    .await?;
                Ok((partial, pace.after(len, due).await))
            })
            .await
            .map(|(partial, _)| partial)
    }

    /// The bytes of `range`: from the stores where they have them, else from the origin. What is held between two
    /// missing parts is fetched along where that is quicker than another request, unless a rate is to be kept.
    async fn window(&self, range: Range<u64>, use_stores: bool) -> Result<Vec<Bytes>> {
        let Terms { cache, urgency, meter, .. } = &self.terms;
        let _permit = cache.in_flight.enter(range.end.saturating_sub(range.start), urgency).await?;
        if use_stores && let Some(window) = self.copied(&range).await {
            return Ok(vec![window]);
        }
        let max_gap = if self.options.bytes_per_second.is_some() { 0 } else { cache.shape.max_gap };
        // What is missing, and what is held after it.
        let (mut pieces, mut missing, mut held) = (Vec::new(), range.start..range.start, Vec::new());
        let keys: Vec<_> = self.blob.keys(range.clone()).collect();
        for key in keys {
            let wanted = key.range().start.max(range.start)..key.range().end.min(range.end);
            // A window that starts inside a chunk, after an interruption, takes that part from the origin.
            let is_whole = wanted == key.range();
            let stored = if use_stores && is_whole { self.terms.stored(&key).await } else { None };
            let gap = wanted.end.saturating_sub(missing.end);
            match stored {
                Some(chunk) if !missing.is_empty() && gap <= max_gap => held.push(chunk),
                Some(chunk) => {
                    self.download(missing, &mut pieces).await?;
                    pieces.append(&mut held);
                    pieces.push(chunk);
                    missing = wanted.end..wanted.end;
                }
                None => {
                    let fetched_along: usize = held.drain(..).map(|chunk| chunk.len()).sum();
                    meter.counts.bytes_in_gaps.add(fetched_along as u64);
                    missing.end = wanted.end;
                }
            }
        }
        self.download(missing, &mut pieces).await?;
        pieces.append(&mut held);
        Ok(pieces)
    }

    /// The bytes of `range`, where the whole blob is in another file already.
    async fn copied(&self, range: &Range<u64>) -> Option<Bytes> {
        let file = self.blob.completed()?;
        let mut window = vec![0; usize::try_from(range.end.saturating_sub(range.start)).ok()?];
        file.read(self.terms.cache.runtime(), &mut window, range.start).await.ok()?;
        Some(window.into())
    }

    async fn download(&self, range: Range<u64>, pieces: &mut Vec<Bytes>) -> Result<()> {
        let Terms { cache, source, meter, urgency, .. } = &self.terms;
        let mut download = cache.downloads.start(&**source, meter, range, urgency, cache.default_deadline());
        while let Some(piece) = download.next().await? {
            pieces.push(piece);
        }
        Ok(())
    }

    /// Runs file I/O where it may block.
    async fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(self.terms.cache.runtime(), job).await?.map_err(|e| {
            Error::new(ErrorKind::Storage, format!("completing {}", self.path.display())).with_source(e)
        })
    }
}

/// Keeps a rate.
struct Pace<'a> {
    runtime: &'a dyn Runtime,
    rate: Option<u64>,
}

impl Pace<'_> {
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Waits until `bytes` that were begun at `due` may have ended; gives that time.
    async fn after(&self, bytes: u64, due: Instant) -> Instant {
        let Some(rate) = self.rate else { return due };
        let took = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        // A pause on the way is not made up for by a burst.
        let due = due.max(self.now()).checked_add(took).unwrap_or(due);
        self.runtime.sleep_until(due).await;
        due
    }
}
