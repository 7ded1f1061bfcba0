//! sha256 digests of bytes that pass by.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use referrers::Digest;
use sha2::{Digest as _, Sha256};

/// Hashes what passes through to another writer.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Hashes what is written to `inner` from now on.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The writer below, and the digest and the length in bytes of what was written.
    ///
    /// # Errors
    ///
    /// None in practice: the digest is written in the form that its own parser takes.
    pub fn finish(self) -> Result<(W, Digest, u64)> {
        Ok((self.inner, digest(self.hash)?, self.size))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        if let Some(bytes) = bytes.get(..written) {
            self.hash.update(bytes);
        }
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what is read from another reader.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> HashingReader<R> {
    /// Hashes what is read from `inner` from now on.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The digest of what was read so far.
    ///
    /// # Errors
    ///
    /// As [`HashingWriter::finish`].
    pub fn digest(&self) -> Result<Digest> {
        digest(self.hash.clone())
    }

    /// The reader below, and the digest and the length in bytes of what was read.
    ///
    /// # Errors
    ///
    /// As [`HashingWriter::finish`].
    pub fn finish(self) -> Result<(R, Digest, u64)> {
        Ok((self.inner, digest(self.hash)?, self.size))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.hash.update(into.get(..read).unwrap_or_default());
        self.size += read as u64;
        Ok(read)
    }
}

/// The digest and the length in bytes of everything that `from` has.
///
/// # Errors
///
/// If reading fails.
pub fn digest_of(from: &mut impl Read) -> Result<(Digest, u64)> {
    let mut hashing = HashingWriter::new(io::sink());
    io::copy(from, &mut hashing).context("hashing")?;
    let (_, digest, size) = hashing.finish()?;
    Ok((digest, size))
}

fn digest(hash: Sha256) -> Result<Digest> {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{hex}").parse()?)
}
