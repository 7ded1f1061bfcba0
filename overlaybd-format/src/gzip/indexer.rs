//! Building the index of a gzip blob while it is inflated.

use std::io::{self, Read};

use crc32fast::Hasher;

use super::checks;
use super::index::IndexWriter;
use super::members::{Event, Members, WINDOW};
use super::window::WindowTrace;
use crate::{Error, Result};

/// How dense an index is.
///
/// A checkpoint costs a window, which is some hundred bytes to some kilobytes; a read inflates half a
/// span on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GzipIndexOptions {
    /// The smallest distance of checkpoints, in bytes of the uncompressed stream; from 64 KiB to 1 GiB.
    pub span: u32,
    /// The largest size of the index, in thousandths of the gzip blob. The span grows until the
    /// index keeps to it. Blobs of less than a few megabytes may have 32 KiB.
    pub permille: u32,
}

impl Default for GzipIndexOptions {
    fn default() -> Self {
        Self { span: 512 << 10, permille: 8 }
    }
}

impl GzipIndexOptions {
    /// Sets [`span`](Self::span).
    #[must_use]
    pub fn with_span(mut self, span: u32) -> Self {
        self.span = span;
        self
    }

    /// Sets [`permille`](Self::permille).
    #[must_use]
    pub fn with_permille(mut self, permille: u32) -> Self {
        self.permille = permille;
        self
    }
}

/// Inflates a gzip stream of any number of members and notes where inflating can start again.
///
/// The checksum and the length of each member are checked when it ends; a stream that fails is never
/// indexed. Memory is bounded by the index, and that by [`GzipIndexOptions::permille`].
///
/// ```
/// use std::io::{Read, Write};
/// use overlaybd_format::{GzipIndexOptions, GzipIndexer};
///
/// # let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
/// # gzip.write_all(b"a layer")?;
/// # let gzip = gzip.finish()?;
/// let mut indexer = GzipIndexer::new(gzip.as_slice(), GzipIndexOptions::default());
/// let mut layer = Vec::new();
/// indexer.read_to_end(&mut layer)?;
/// assert_eq!(layer, b"a layer");
/// let index: Vec<u8> = indexer.finish()?;
/// # assert!(index.starts_with(b"ddgzidx"));
/// # Ok::<_, std::io::Error>(())
/// ```
pub struct GzipIndexer<R> {
    input: Input<R>,
    members: Members,
    /// The window and the output behind it.
    out: Vec<u8>,
    filled: usize,
    /// The end of what was given to the reader.
    given: usize,
    /// What the current member holds so far.
    member: Hasher,
    uncompressed: u64,
    checkpoints: Checkpoints,
}

impl<R: Read> GzipIndexer<R> {
    /// Begins at the start of the gzip stream that `input` holds.
    pub fn new(input: R, options: GzipIndexOptions) -> Self {
        let span = options.span.clamp(MIN_SPAN, MAX_SPAN).into();
        Self {
            input: Input { reader: input, bytes: vec![0; INPUT], next: 0, end: 0, last: 0 },
            members: Members::new(),
            out: vec![0; WINDOW + OUTPUT],
            filled: WINDOW,
            given: WINDOW,
            member: Hasher::new(),
            uncompressed: 0,
            checkpoints: Checkpoints {
                index: IndexWriter::default(),
                trace: None,
                next: 0,
                span,
                permille: options.permille.into(),
            },
        }
    }

    /// Reads what is left of the stream and gives the bytes of its index.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] or [`Error::Checksum`] for a stream that does not inflate, is cut short or is
    /// followed by something else than members and zeros; [`Error::Io`] of the input.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        while self.fill()? {
            self.given = self.filled;
        }
        let Checkpoints { index, span, .. } = self.checkpoints;
        let span = u32::try_from(span).unwrap_or(MAX_SPAN);
        Ok(index.finish(span, self.members.at(), self.uncompressed))
    }

    /// Inflates until there is output that was not given. False at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        while self.given == self.filled {
            if self.filled == self.out.len() {
                self.out.copy_within(self.filled.saturating_sub(WINDOW).., 0);
                (self.filled, self.given) = (WINDOW, WINDOW);
            }
            if self.input.unused().is_empty() && !self.input.refill(self.members.at())? {
                if !self.members.may_end() {
                    return Err(Error::broken("gzip stream", self.members.at(), "it ends inside a member"));
                }
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    fn step(&mut self) -> Result<()> {
        let before = self.input.unused();
        let mut input = before;
        let event = self.members.step(&mut input, &mut self.out, &mut self.filled)?;
        let used = before.get(..before.len().saturating_sub(input.len())).unwrap_or_default();
        let written = self.out.get(self.given..self.filled).unwrap_or_default();
        self.member.update(written);
        self.uncompressed = self.uncompressed.saturating_add(written.len() as u64);
        self.checkpoints.trace(used, self.members.at())?;
        self.input.consume(used.len());

        match event {
            Event::MemberStart if self.checkpoints.due(self.uncompressed) => {
                let compressed = self.members.at();
                self.checkpoints.push(Place::new(self.uncompressed, compressed, 0), None);
                self.checkpoints.keep_to_budget(compressed);
            }
            Event::Boundary { bits } if self.checkpoints.due(self.uncompressed) => {
                let place = Place::new(self.uncompressed, self.members.at(), bits);
                let window = self.out.get(self.filled.saturating_sub(WINDOW)..self.filled);
                self.checkpoints.begin(place, window.unwrap_or_default().to_vec(), self.input.last)?;
            }
            Event::MemberEnd(trailer) => checks::check(&std::mem::take(&mut self.member), trailer)?,
            _ => {}
        }
        Ok(())
    }
}

impl<R: Read> Read for GzipIndexer<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || !self.fill()? {
            return Ok(0);
        }
        let output = self.out.get(self.given..self.filled).unwrap_or_default();
        let len = output.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), output.get(..len)) {
            to.copy_from_slice(from);
        }
        self.given = self.given.saturating_add(len);
        Ok(len)
    }
}

impl<R> std::fmt::Debug for GzipIndexer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipIndexer")
            .field("members", &self.members)
            .field("uncompressed", &self.uncompressed)
            .finish_non_exhaustive()
    }
}

/// A buffered reader that remembers the last byte it gave.
struct Input<R> {
    reader: R,
    bytes: Vec<u8>,
    next: usize,
    end: usize,
    last: u8,
}

impl<R: Read> Input<R> {
    fn unused(&self) -> &[u8] {
        self.bytes.get(self.next..self.end).unwrap_or_default()
    }

    fn consume(&mut self, len: usize) {
        if let Some(&last) = self.unused().get(..len).and_then(<[u8]>::last) {
            self.last = last;
        }
        self.next = self.next.saturating_add(len);
    }

    /// Reads on; `at` is the place in the stream. False at its end.
    fn refill(&mut self, at: u64) -> Result<bool> {
        let read = loop {
            match self.reader.read(&mut self.bytes) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| Error::io(at, self.bytes.len(), e))?,
            }
        };
        (self.next, self.end) = (0, read);
        Ok(read > 0)
    }
}

/// Where a checkpoint is.
#[derive(Clone, Copy)]
struct Place {
    uncompressed: u64,
    compressed: u64,
    bits: u8,
}

impl Place {
    fn new(uncompressed: u64, compressed: u64, bits: u8) -> Self {
        Self { uncompressed, compressed, bits }
    }
}

/// The index so far.
struct Checkpoints {
    index: IndexWriter,
    /// The last checkpoint, while it is not known what of its window is needed.
    trace: Option<(Place, WindowTrace)>,
    /// Where the next checkpoint is due, in bytes of the uncompressed stream.
    next: u64,
    span: u64,
    permille: u64,
}

impl Checkpoints {
    fn due(&self, uncompressed: u64) -> bool {
        uncompressed >= self.next && self.trace.is_none()
    }

    fn begin(&mut self, place: Place, window: Vec<u8>, byte: u8) -> Result<()> {
        self.next = place.uncompressed.saturating_add(self.span);
        self.trace = Some((place, WindowTrace::new(window, place.compressed, place.bits, byte)?));
        Ok(())
    }

    /// Shows the trace the bytes of the stream up to `compressed`.
    fn trace(&mut self, used: &[u8], compressed: u64) -> Result<()> {
        if let Some((place, mut trace)) = self.trace.take() {
            if trace.feed(used)? {
                self.push(place, trace.reduced().as_deref());
                self.keep_to_budget(compressed);
            } else {
                self.trace = Some((place, trace));
            }
        }
        Ok(())
    }

    fn push(&mut self, Place { uncompressed, compressed, bits }: Place, window: Option<&[u8]>) {
        self.next = uncompressed.saturating_add(self.span);
        self.index.push(uncompressed, compressed, bits, window);
    }

    fn keep_to_budget(&mut self, compressed: u64) {
        let budget = (compressed.saturating_mul(self.permille) / 1000).max(SMALL_INDEX);
        while self.index.len() > budget && self.span < MAX_SPAN.into() {
            self.span = self.span.saturating_mul(3).div_ceil(2).min(MAX_SPAN.into());
            self.index.thin_out(self.span);
        }
    }
}

/// The smallest span that the reference writes.
const MIN_SPAN: u32 = 64 << 10;
const MAX_SPAN: u32 = 1 << 30;
/// What an index may have however small the blob: one window as it is.
const SMALL_INDEX: u64 = WINDOW as u64;
const INPUT: usize = 64 << 10;
const OUTPUT: usize = 256 << 10;
