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
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.inner, format!("sha256:{hex}").parse()?, self.size))
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
