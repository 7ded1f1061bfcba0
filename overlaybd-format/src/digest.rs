//! The digest of a blob, by which OCI names it.

use std::fmt;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. It is shown as OCI writes it: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The thirty-two bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of everything that is left to read, and its length in bytes.
    ///
    /// # Errors
    ///
    /// What reading reports.
    pub fn of(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut writer = DigestWriter::new(io::sink());
        io::copy(reader, &mut writer)?;
        let (_, digest, size) = writer.finish();
        Ok((digest, size))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes the digest of a blob while it is written, without a second look at it.
///
/// It cannot seek, because a digest is one of bytes in order. What is written through it therefore
/// has nothing in front that is known last: layers that are [streamed](crate::LayerWriter::streaming).
/// For a blob in a tar, or with a finished ZFile header, use [`Digest::of`] on its file.
///
/// The DiffID of an OCI layer is the digest of its tar before compression. A layer of overlaybd is a
/// tar that is not compressed as a whole, so its DiffID is its digest. Where a tar is compressed on its
/// way, as that of an index-only layer, one writer stands on each side of the compressor:
/// `DigestWriter::new(Gzip::new(DigestWriter::new(file)))`.
///
/// ```
/// use overlaybd_format::{DigestWriter, LayerOptions, LayerWriter};
///
/// let mut writer = LayerWriter::streaming(DigestWriter::new(Vec::new()), LayerOptions::new(1 << 20))?;
/// writer.write(0, &[7; 512])?;
/// let (blob, digest, size) = writer.finish()?.finish();
/// assert_eq!(size, blob.len() as u64);
/// assert!(digest.to_string().starts_with("sha256:"));
/// # Ok::<_, overlaybd_format::Error>(())
/// ```
#[derive(Clone)]
pub struct DigestWriter<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Digests what is written to `inner` from now on.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The writer below, and the digest and the length in bytes of what was written.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest(self.hash.finalize().into()), self.size)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        self.size = self.size.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> fmt::Debug for DigestWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestWriter").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        let (digest, size) = Digest::of(&mut b"abc".as_slice()).unwrap();
        assert_eq!(size, 3);
        // FIPS 180-4, the example of one block.
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), expected);
    }

    #[test]
    fn only_what_was_taken_counts() {
        struct Half;
        impl Write for Half {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len().div_ceil(2))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = DigestWriter::new(Half);
        writer.write_all(b"abc").unwrap();
        let (_, digest, size) = writer.finish();
        assert_eq!((digest, size), Digest::of(&mut b"abc".as_slice()).unwrap());
    }
}
