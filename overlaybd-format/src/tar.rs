//! The tar wrapper that makes a layer blob an ordinary OCI layer.
//!
//! ```text
//! plain  0 header          │ 512  content, padded │ 1024 zeros
//! pax    0 pax header      │ 512  one pax record block │ 1024 header │ 1536 content, padded │ 1024 zeros
//! ```
//!
//! Only the first entry is looked at and only these two forms, as in the reference. A GNU header
//! (`"ustar  "`) is not taken for a wrapper.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod writer;

use std::ops::Range;

use crate::{Error, Result};

pub use writer::Tar;
pub(crate) use writer::end;

/// Where the content is in a blob of `size` bytes that starts with `head` (1536 bytes, or all of a
/// smaller blob). Without a wrapper that is the whole blob.
///
/// # Errors
///
/// [`Error::Broken`] if the wrapper promises more bytes than there are or its numbers are no numbers;
/// [`Error::Unsupported`] for another kind of first entry.
pub fn unwrap(head: &[u8], size: u64) -> Result<Range<u64>> {
    let Some(first) = head.first_chunk::<BLOCK>().filter(|block| is_header(block)) else {
        return Ok(0..size);
    };
    let (start, len) = match type_flag(first) {
        b'0' | 0 => (BLOCK as u64, size_field(first)?),
        b'x' => pax(head, first)?,
        other => return Err(Error::Unsupported { what: "tar entry type of a layer", value: other.into() }),
    };
    match start.checked_add(len) {
        Some(end) if end <= size => Ok(start..end),
        _ => Err(broken(0, format!("an entry of {len} bytes at {start} in a blob of {size} bytes"))),
    }
}

/// Bytes of a blob that [`unwrap`] looks at.
pub const HEAD: usize = BLOCK * 3;

fn pax(head: &[u8], first: &[u8; BLOCK]) -> Result<(u64, u64)> {
    let record_len = size_field(first)?;
    if record_len > BLOCK as u64 {
        return Err(Error::Unsupported { what: "size of a layer's pax header", value: record_len });
    }
    let [_, records, header] = head
        .first_chunk::<HEAD>()
        .map(|head| head.as_chunks::<BLOCK>().0)
        .and_then(|b| b.first_chunk::<3>())
        .ok_or_else(|| broken(0, "a pax header without a file behind it"))?;
    if !is_header(header) {
        return Err(broken(FILE_HEADER_AT, "no file header behind the pax header"));
    }
    let records = records.get(..usize::try_from(record_len).unwrap_or(BLOCK)).unwrap_or_default();
    let len = match pax_size(records) {
        Ok(Some(len)) if len > 0 => len,
        Ok(_) => size_field(header)?,
        Err(()) => return Err(broken(BLOCK as u64, "a pax record that does not parse")),
    };
    Ok((HEAD as u64, len))
}

/// The value of the `size` record among `"<length> <key>=<value>\n"` records.
fn pax_size(mut records: &[u8]) -> Result<Option<u64>, ()> {
    let mut size = None;
    while records.first().is_some_and(|&byte| byte != 0) {
        let space = records.iter().position(|&byte| byte == b' ').ok_or(())?;
        let (digits, _) = records.split_at_checked(space).ok_or(())?;
        let len = decimal(digits).and_then(|len| usize::try_from(len).ok()).ok_or(())?;
        let (record, rest) = records.split_at_checked(len).ok_or(())?;
        let pair =
            record.get(space.saturating_add(1)..).and_then(|pair| pair.strip_suffix(b"\n")).ok_or(())?;
        if let Some(value) = pair.strip_prefix(b"size=") {
            size = Some(decimal(value).ok_or(())?);
        }
        records = rest;
    }
    Ok(size)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a block is a POSIX header with a right checksum.
fn is_header(block: &[u8; BLOCK]) -> bool {
    let Some(magic) = block.get(MAGIC) else { return false };
    let Some(version) = block.get(VERSION) else { return false };
    magic == b"ustar"
        && version == b"00"
        && octal(block.get(CHECKSUM)).is_some_and(|sum| checksums(block).contains(&sum))
}

/// The sum of a header's bytes with the checksum field taken as blanks, over unsigned and, as old
/// tars did, over signed bytes.
fn checksums(block: &[u8; BLOCK]) -> [u64; 2] {
    let bytes =
        || block.iter().enumerate().map(|(at, &byte)| if CHECKSUM.contains(&at) { b' ' } else { byte });
    let unsigned = bytes().map(u64::from).sum();
    let signed = bytes().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    [unsigned, u64::try_from(signed).unwrap_or(unsigned)]
}

fn size_field(block: &[u8; BLOCK]) -> Result<u64> {
    octal(block.get(SIZE)).ok_or_else(|| broken(0, "a size field that is no octal number"))
}

fn type_flag(block: &[u8; BLOCK]) -> u8 {
    block.get(TYPE_FLAG).copied().unwrap_or_default()
}

/// An octal field, blanks and NULs around its digits; a blank field counts as 0.
fn octal(field: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(field?).ok()?;
    match text.trim_matches([' ', '\0']) {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

fn broken(at: u64, why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::broken("tar wrapper", at, why)
}

const BLOCK: usize = 512;
const FILE_HEADER_AT: u64 = 1024;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const TYPE_FLAG: usize = 156;
const MAGIC: Range<usize> = 257..262;
const VERSION: Range<usize> = 263..265;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_makes_is_recognised() {
        for (tar, start) in [(Tar::Pax, 1536), (Tar::Ustar, 512)] {
            let mut blob = tar.headers(1000).unwrap();
            blob.resize(start + 1000, 1);
            blob.extend(end(1000));
            assert_eq!(unwrap(&blob, blob.len() as u64).unwrap(), start as u64..start as u64 + 1000);
            assert!(
                matches!(unwrap(&blob, start as u64 + 999), Err(Error::Broken { .. })),
                "a truncated blob"
            );
            blob[148] ^= 1;
            assert_eq!(unwrap(&blob, 3000).unwrap(), 0..3000, "a wrong checksum is no wrapper");
        }
    }

    #[test]
    fn pax_sizes() {
        assert_eq!(pax_size(b"13 size=1000\n\0\0\0"), Ok(Some(1000)));
        assert_eq!(pax_size(b"9 path=a\n13 size=1000\n"), Ok(Some(1000)));
        assert_eq!(pax_size(b""), Ok(None));
        for bad in [
            &b"14 size=1000\n"[..],
            b"12 size=1000\n",
            b"13 size=-100\n",
            b"x",
            b"0 ",
            b"999999999999999999999 a=b\n",
        ] {
            assert_eq!(pax_size(bad), Err(()), "{}", bad.escape_ascii());
        }
    }
}
