//! The header block of an entry.
//!
//! ```text
//!   0  name, 100    108  uid, 8     136  mtime, 12     157  link name, 100    345  prefix, 155 (ustar)
//! 100  mode, 8      116  gid, 8     148  checksum, 8   257  magic, 8          386  sparse map (GNU)
//!                   124  size, 12   156  type          329  devices, 8 + 8
//! ```

use std::ops::Range;

/// A header whose checksum is right.
#[derive(Clone)]
pub(super) struct HeaderBlock([u8; BLOCK]);

impl HeaderBlock {
    /// Takes the block; none if its checksum is wrong.
    pub(super) fn new(block: [u8; BLOCK]) -> Option<Self> {
        let header = Self(block);
        let bytes = || {
            header.0.iter().enumerate().map(|(at, &byte)| if CHECKSUM.contains(&at) { b' ' } else { byte })
        };
        let unsigned: i64 = bytes().map(i64::from).sum();
        // Old tars summed signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let stored = number(header.field(CHECKSUM))?;
        (stored == unsigned || stored == signed).then_some(header)
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.field(156..157).first().copied().unwrap_or_default()
    }

    /// The name, with the prefix of the ustar format.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(self.field(0..100));
        let prefix = if self.field(257..263) == b"ustar\0" { text(self.field(345..500)) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_name(&self) -> &[u8] {
        text(self.field(157..257))
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(self.field(100..108))
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(self.field(108..116))
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(self.field(116..124))
    }

    pub(super) fn size(&self) -> Option<i64> {
        number(self.field(124..136))
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(self.field(136..148))
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        Some((number(self.field(329..337))?, number(self.field(337..345))?))
    }

    /// The sparse map in the header: the bytes of four entries, whether more follow, and the size.
    pub(super) fn sparse(&self) -> (&[u8], bool, Option<i64>) {
        let goes_on = self.field(482..483).first().is_some_and(|&byte| byte != 0);
        (self.field(386..482), goes_on, number(self.field(483..495)))
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }
}

/// A numeric field: octal digits among blanks, or base-256, big end first in two's complement, if the
/// first bit is set. An empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            let inverted = if first & 0x40 != 0 { 0xff } else { 0 };
            let start = i64::from((first ^ inverted) & 0x7f);
            let number = rest.iter().try_fold(start, |number, byte| {
                number.checked_mul(256)?.checked_add(i64::from(byte ^ inverted))
            })?;
            Some(if inverted == 0 { number } else { !number })
        }
        _ => {
            let digits = text(field).trim_ascii();
            if digits.is_empty() {
                return Some(0);
            }
            i64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().filter(|&number| number >= 0)
        }
    }
}

/// A text field, up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Bytes of a block, the unit of a tar.
pub(super) const BLOCK: usize = 512;
const CHECKSUM: Range<usize> = 148..156;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"12\x003", Some(0o12)),
            (b"789\0", None),
            (b"-12\0", None),
            (b"\x80\0\0\0\0\x20\0\0", Some(1 << 21)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(8 << 30)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0", Some(-256)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }
}
