//! Making the tar wrapper around a layer blob.

use super::{BLOCK, CHECKSUM, HEAD, MAGIC, SIZE, TYPE_FLAG, VERSION, checksums};
use crate::{Error, Result};

/// The two forms of the tar wrapper. Readers take either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tar {
    /// A pax header with the size in front of the file's header, as `overlaybd-commit -t` writes.
    Pax,
    /// The file's header alone, as the reference's convertor puts around its base layer. Holds less
    /// than 8 GiB.
    Ustar,
}

impl Tar {
    /// Where the content starts, in bytes.
    pub(crate) const fn content_at(self) -> usize {
        match self {
            Self::Pax => HEAD,
            Self::Ustar => BLOCK,
        }
    }

    /// The bytes in front of `content_size` bytes of content, for one file, `overlaybd.commit`.
    ///
    /// Each form is what the reference makes of it, blank-padded numbers and all, with the owner
    /// fixed, so that the bytes do not depend on the machine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] if the form cannot say so large a size.
    pub(crate) fn headers(self, content_size: u64) -> Result<Vec<u8>> {
        match self {
            Self::Pax => Ok(pax_headers(content_size)),
            Self::Ustar if content_size <= OCTAL_SIZE_MAX => Ok(ustar_header(content_size)),
            Self::Ustar => {
                let why = "a tar header without pax record holds less than 8 GiB";
                Err(Error::InvalidWrite { offset: 0, len: content_size, why })
            }
        }
    }
}

/// What follows `content_size` bytes of content: padding to a whole block, and two blank blocks.
pub(crate) fn end(content_size: u64) -> Vec<u8> {
    let padded = content_size.next_multiple_of(BLOCK as u64);
    let padding = usize::try_from(padded.saturating_sub(content_size)).unwrap_or_default();
    vec![0; padding.saturating_add(BLOCK.saturating_mul(2))]
}

fn pax_headers(content_size: u64) -> Vec<u8> {
    let record = pax_record(content_size);
    let mut pax = [0; BLOCK];
    put(&mut pax, 0, b"overlaybd.pax");
    put(&mut pax, SIZE.start, format!("{:>11o} ", record.len()).as_bytes());
    put(&mut pax, TYPE_FLAG, b"x");
    seal(&mut pax, |sum| format!("{sum:>6o} \0"));

    let mut file = [0; BLOCK];
    put(&mut file, 0, b"overlaybd.commit");
    put(&mut file, MODE_AT, b"100644 ");
    put(&mut file, UID_AT, b"     0 ");
    put(&mut file, GID_AT, b"     0 ");
    put(&mut file, SIZE.start, b"          0 ");
    put(&mut file, MTIME_AT, b"          0 ");
    put(&mut file, TYPE_FLAG, b"0");
    put(&mut file, UNAME_AT, b"root");
    put(&mut file, GNAME_AT, b"root");
    seal(&mut file, |sum| format!("{sum:>6o} \0"));

    let mut out = Vec::with_capacity(HEAD);
    out.extend(pax);
    out.extend(&record);
    out.resize(BLOCK.saturating_mul(2), 0);
    out.extend(file);
    out
}

fn ustar_header(content_size: u64) -> Vec<u8> {
    let mut file = [0; BLOCK];
    put(&mut file, 0, b"overlaybd.commit");
    put(&mut file, MODE_AT, b"0000444");
    put(&mut file, UID_AT, b"0000000");
    put(&mut file, GID_AT, b"0000000");
    put(&mut file, SIZE.start, format!("{content_size:011o}").as_bytes());
    put(&mut file, MTIME_AT, b"00000000000");
    put(&mut file, TYPE_FLAG, b"0");
    put(&mut file, DEVICE_MAJOR_AT, b"0000000");
    put(&mut file, DEVICE_MINOR_AT, b"0000000");
    seal(&mut file, |sum| format!("{sum:06o}\0 "));
    file.to_vec()
}

/// `"<length> size=<value>\n"`, where the length counts its own digits.
fn pax_record(content_size: u64) -> Vec<u8> {
    let rest = format!(" size={content_size}\n");
    let digits =
        (1..).find(|digits| rest.len().saturating_add(*digits).to_string().len() == *digits).unwrap_or(2);
    format!("{}{rest}", rest.len().saturating_add(digits)).into_bytes()
}

fn seal(header: &mut [u8; BLOCK], field: impl Fn(u64) -> String) {
    put(header, MAGIC.start, b"ustar");
    put(header, VERSION.start, b"00");
    let [sum, _] = checksums(header);
    put(header, CHECKSUM.start, field(sum).as_bytes());
}

fn put(header: &mut [u8; BLOCK], at: usize, field: &[u8]) {
    header.iter_mut().skip(at).zip(field).for_each(|(slot, &byte)| *slot = byte);
}

/// The largest number of eleven octal digits.
const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;
const MODE_AT: usize = 100;
const UID_AT: usize = 108;
const GID_AT: usize = 116;
const MTIME_AT: usize = 136;
const UNAME_AT: usize = 265;
const GNAME_AT: usize = 297;
const DEVICE_MAJOR_AT: usize = 329;
const DEVICE_MINOR_AT: usize = 337;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_counts_itself() {
        assert_eq!(pax_record(1), b"9 size=1\n");
        assert_eq!(pax_record(12), b"11 size=12\n");
        assert_eq!(pax_record(u64::MAX).len(), 29);
        assert!(pax_record(u64::MAX).starts_with(b"29 "));
    }

    #[test]
    fn a_size_that_a_header_cannot_say_needs_a_pax_record() {
        assert!(Tar::Ustar.headers(OCTAL_SIZE_MAX).is_ok());
        assert!(matches!(Tar::Ustar.headers(OCTAL_SIZE_MAX + 1), Err(Error::InvalidWrite { .. })));
        assert!(Tar::Pax.headers(u64::MAX).is_ok());
    }
}
