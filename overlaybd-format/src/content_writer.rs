//! Writing the wrappers of a blob: the counterpart of [`Content`](crate::Content).

use std::fmt;
use std::io::{self, Seek, Write};

use crate::sink::Sink;
use crate::tar::{self, Tar};
use crate::zfile::{Compression, Writer};
use crate::{Error, Result};

/// What a blob is wrapped in, from the inside out. By default in nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wrappers {
    /// How the content is compressed into a ZFile, if it is.
    pub compression: Option<Compression>,
    /// The tar around it, if any: what makes a layer blob an ordinary OCI layer.
    pub tar: Option<Tar>,
}

impl Wrappers {
    /// Sets [`compression`](Self::compression).
    #[must_use]
    pub const fn with_compression(mut self, compression: Option<Compression>) -> Self {
        self.compression = compression;
        self
    }

    /// Sets [`tar`](Self::tar).
    #[must_use]
    pub const fn with_tar(mut self, tar: Option<Tar>) -> Self {
        self.tar = tar;
        self
    }
}

/// Writes content of any cut into a blob, in one pass, and completes what stands in front of it at
/// the end.
///
/// After an error nothing more can be written, and a sink that is abandoned before
/// [`finish`](Self::finish) holds nothing that opens as a ZFile or a tar.
///
/// ```
/// use std::io::{Cursor, Write};
/// use overlaybd_format::{Compression, Content, ContentWriter, Limits, MemoryBlob, ReadAt, Wrappers};
///
/// # futures::executor::block_on(async {
/// let wrappers = Wrappers::default().with_compression(Some(Compression::default()));
/// let mut writer = ContentWriter::new(Cursor::new(Vec::new()), wrappers)?;
/// writer.write_all(&[7; 100_000]).unwrap();
/// let blob = MemoryBlob::new(writer.finish()?.into_inner());
///
/// assert!(blob.size() < 10_000);
/// assert_eq!(Content::open(blob, &Limits::default()).await?.size(), 100_000);
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
pub struct ContentWriter<W> {
    body: Body<W>,
    wrappers: Wrappers,
    /// Where the content of the tar starts in the blob, in bytes.
    content_at: u64,
    /// Whether a write has failed, so that the blob has a gap.
    failed: bool,
}

impl<W: Write> ContentWriter<W> {
    /// Begins a blob at the current position of `sink`. A reader needs no trailer of the ZFile then:
    /// its header is written again when all is known.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a block size or a level that cannot be written; [`Error::Io`].
    pub fn new(sink: W, wrappers: Wrappers) -> Result<Self>
    where
        W: Seek,
    {
        Self::begin(Sink::seekable(sink)?, wrappers)
    }

    /// Begins a blob that is written once from front to back, as to a socket or a
    /// [`DigestWriter`](crate::DigestWriter).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`Error::InvalidWrite`] for a tar, whose size stands in front.
    pub fn streaming(sink: W, wrappers: Wrappers) -> Result<Self> {
        if wrappers.tar.is_some() {
            let why = "a tar has its size in front, so its sink has to be able to seek";
            return Err(Error::InvalidWrite { offset: 0, len: 0, why });
        }
        Self::begin(Sink::streaming(sink), wrappers)
    }

    fn begin(mut sink: Sink<W>, wrappers: Wrappers) -> Result<Self> {
        if let Some(tar) = wrappers.tar {
            sink.append(&vec![0; tar.content_at()])?;
        }
        let content_at = sink.position();
        let body = match &wrappers.compression {
            Some(compression) => Body::ZFile(Box::new(Writer::new(sink, compression)?)),
            None => Body::Plain(sink),
        };
        Ok(Self { body, wrappers, content_at, failed: false })
    }

    /// Completes the blob and returns the sink, positioned behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also if an earlier write failed; [`Error::InvalidWrite`] if the content is too
    /// large for the tar.
    pub fn finish(self) -> Result<W> {
        self.check()?;
        let mut sink = match self.body {
            Body::Plain(sink) => sink,
            Body::ZFile(writer) => {
                let (mut sink, header) = writer.finish()?;
                if sink.can_seek() {
                    sink.overwrite(self.content_at, &header)?;
                }
                sink
            }
        };
        if let Some(tar) = self.wrappers.tar {
            let content_size = sink.position().saturating_sub(self.content_at);
            sink.append(&tar::end(content_size))?;
            sink.overwrite(0, &tar.headers(content_size)?)?;
        }
        sink.finish()
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let result = match &mut self.body {
            Body::Plain(sink) => sink.append(bytes),
            Body::ZFile(writer) => writer.append(bytes),
        };
        self.failed = result.is_err();
        result
    }

    fn check(&self) -> Result<()> {
        if self.failed {
            return Err(Error::write_io(0, 0, io::Error::other("an earlier write failed")));
        }
        Ok(())
    }
}

impl<W: Write> Write for ContentWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    /// Does nothing: a block that is not full cannot be written yet.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> fmt::Debug for ContentWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentWriter").field("wrappers", &self.wrappers).finish_non_exhaustive()
    }
}

enum Body<W> {
    Plain(Sink<W>),
    ZFile(Box<Writer<W>>),
}
