//! The tar of an ordinary layer, decompressed and checked while it is read.
//!
//! ```text
//!  blob ─► digest ─► gzip, zstd or nothing, as its first bytes say ─► DiffID ─► tar
//! ```
//!
//! The media type is not asked: registries hold layers whose type is wrong, and the bytes are not.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use overlaybd_format::{GzipIndexOptions, GzipIndexer, ReadAt, Warm};
use referrers::{Algorithm, Digest};
use tokio::runtime::Handle;

use crate::hashing::HashingReader;

/// How the blob of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// As gzip, of one member or several.
    Gzip,
    /// As Zstandard, in one frame or several.
    Zstd,
}

/// The tar of a layer. Neither its bytes nor their end are to be relied on before
/// [`finish`](Self::finish).
pub struct LayerStream {
    tar: HashingReader<Decoder>,
    name: Digest,
}

/// A tar that was read to its end.
#[derive(Debug)]
pub struct Finished {
    /// The digest of the tar, which image configurations call a DiffID.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The index of the gzip blob, if it was wanted.
    pub gzip_index: Option<Vec<u8>>,
}

impl Encoding {
    /// Tells from the first bytes of the blob. Blocks; `runtime` drives the read.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or belong to a compression that layers do not have.
    pub fn of(blob: &dyn ReadAt, runtime: &Handle) -> Result<Self> {
        let mut head = vec![0; usize::try_from(blob.size()).unwrap_or(MAGIC).min(MAGIC)];
        runtime.block_on(blob.read_at(&mut head, 0))?;
        Ok(match *head {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD] => Self::Zstd,
            // A frame to be skipped, with which zstd:chunked and others may begin.
            [0x50..=0x5F, 0x2A, 0x4D, 0x18] => Self::Zstd,
            [b'B', b'Z', b'h', _] => bail!("layers compressed by bzip2 are not supported"),
            [0xFD, b'7', b'z', b'X'] => bail!("layers compressed by xz are not supported"),
            _ => Self::Plain,
        })
    }
}

impl LayerStream {
    /// The tar in `blob`, whose digest must be `digest`. If it is gzip and `index` says how, it is indexed
    /// on the way. Blocks, as all reading from it does; `runtime` drives the reads.
    ///
    /// # Errors
    ///
    /// As [`Encoding::of`]; for a digest by another algorithm than SHA-256.
    pub fn open(
        blob: Arc<dyn ReadAt>,
        digest: &Digest,
        index: Option<GzipIndexOptions>,
        runtime: Handle,
    ) -> Result<Self> {
        ensure!(digest.algorithm() == Algorithm::Sha256, "{digest}: only digests by SHA-256 are supported");
        let encoding = Encoding::of(&*blob, &runtime).with_context(|| digest.to_string())?;
        let bytes = BlobReader { blob, runtime, at: 0 };
        let bytes = CheckedReader { bytes: HashingReader::new(bytes), expected: digest.clone() };
        let decoder = match (encoding, index) {
            (Encoding::Plain, _) => Decoder::Plain(BufReader::with_capacity(BUFFER, bytes)),
            (Encoding::Gzip, None) => Decoder::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            (Encoding::Gzip, Some(options)) => Decoder::Indexed(Box::new(GzipIndexer::new(bytes, options))),
            (Encoding::Zstd, _) => Decoder::Zstd(Box::new(zstd::Decoder::new(bytes)?)),
        };
        Ok(Self { tar: HashingReader::new(decoder), name: digest.clone() })
    }

    /// Reads what is left and tells what it was.
    ///
    /// # Errors
    ///
    /// If the blob does not have its digest, or does not decompress.
    pub fn finish(mut self) -> Result<Finished> {
        io::copy(&mut self.tar, &mut io::sink()).with_context(|| self.name.to_string())?;
        let (decoder, diff_id, size) = self.tar.finish()?;
        let gzip_index = match decoder {
            Decoder::Indexed(indexer) => Some(indexer.finish().with_context(|| self.name.to_string())?),
            _ => None,
        };
        Ok(Finished { diff_id, size, gzip_index })
    }
}

impl Read for LayerStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tar.read(into)
    }
}

impl std::fmt::Debug for LayerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerStream").field("name", &self.name).finish_non_exhaustive()
    }
}

enum Decoder {
    Plain(BufReader<CheckedReader>),
    Gzip(Box<MultiGzDecoder<CheckedReader>>),
    Indexed(Box<GzipIndexer<CheckedReader>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<CheckedReader>>>),
}

impl Read for Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(into),
            Self::Gzip(reader) => reader.read(into),
            Self::Indexed(reader) => reader.read(into),
            Self::Zstd(reader) => reader.read(into),
        }
    }
}

/// The bytes of a blob, whose end is an error if they do not have the digest. Every decoder reads on to that
/// end, because another member or frame could begin there.
struct CheckedReader {
    bytes: HashingReader<BlobReader>,
    expected: Digest,
}

impl Read for CheckedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        if read == 0 && !into.is_empty() {
            let found = self.bytes.digest().map_err(io::Error::other)?;
            if found != self.expected {
                return Err(io::Error::other(format!("the blob has the digest {found}")));
            }
        }
        Ok(read)
    }
}

/// A blob from front to back.
struct BlobReader {
    blob: Arc<dyn ReadAt>,
    runtime: Handle,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.size().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let Some(part) = into.get_mut(..len).filter(|part| !part.is_empty()) else { return Ok(0) };
        if self.blob.try_read_at(part, self.at)? == Warm::No {
            self.runtime.block_on(self.blob.read_at(part, self.at))?;
        }
        self.at += len as u64;
        Ok(len)
    }
}

/// Bytes that tell one compression from the others.
const MAGIC: usize = 4;
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use overlaybd_format::MemoryBlob;
    use tokio::runtime::Runtime;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    /// Reads a few bytes, then finishes.
    fn finish(blob: Vec<u8>, digest: &Digest, index: bool) -> Result<Finished> {
        let runtime = Runtime::new().unwrap();
        let index = index.then(GzipIndexOptions::default);
        let blob = Arc::new(MemoryBlob::new(blob));
        let mut stream = LayerStream::open(blob, digest, index, runtime.handle().clone())?;
        stream.read_exact(&mut [0; 3])?;
        stream.finish()
    }

    #[test]
    fn every_compression_gives_the_same_tar() {
        let tar: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let (front, back) = tar.split_at(500_000);
        let skipped = [&[0x5A, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 7, 7][..], &zstd(&tar)].concat();
        for blob in [
            tar.clone(),
            gzip(&tar),
            [gzip(front), gzip(back)].concat(),
            zstd(&tar),
            [zstd(front), zstd(back)].concat(),
            skipped,
        ] {
            let digest = Digest::sha256_of(&blob);
            let is_gzip = blob.starts_with(&[0x1F]);
            for index in [false, true] {
                let finished = finish(blob.clone(), &digest, index).unwrap();
                let expected = (Digest::sha256_of(&tar), tar.len() as u64);
                assert_eq!((finished.diff_id, finished.size), expected);
                assert_eq!(finished.gzip_index.is_some(), index && is_gzip);
            }
        }
    }

    #[test]
    fn a_blob_with_another_digest_is_an_error_at_its_end() {
        let tar = vec![7; 100_000];
        for (blob, index) in
            [(tar.clone(), false), (gzip(&tar), false), (gzip(&tar), true), (zstd(&tar), false)]
        {
            let error = finish(blob, &Digest::sha256_of(b"other"), index).unwrap_err();
            assert!(format!("{error:#}").contains("has the digest"), "{error:#}");
        }
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_an_error() {
        let tar = vec![7; 100_000];
        for mut blob in [gzip(&tar), zstd(&tar)] {
            blob.truncate(blob.len() - 5);
            finish(blob.clone(), &Digest::sha256_of(&blob), false).unwrap_err();
        }
        for (magic, name) in [(&b"BZh9..."[..], "bzip2"), (b"\xFD7zXZ\0.", "xz")] {
            let error = finish(magic.to_vec(), &Digest::sha256_of(magic), false).unwrap_err();
            assert!(format!("{error:#}").contains(name), "{error:#}");
        }
    }
}
