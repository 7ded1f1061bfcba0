//! The frame around a deflate stream: the header and the trailer of a gzip member (RFC 1952).

use crc32fast::Hasher;

/// A member header, taken byte by byte because its names have no bound on their length.
#[derive(Clone, Default)]
pub(super) struct MemberHeader {
    part: Part,
    /// Flags of the parts that are still to come.
    flags: u8,
    crc: Hasher,
}

impl MemberHeader {
    /// Takes the next byte; true if it was the last one of the header.
    ///
    /// # Errors
    ///
    /// What is wrong with the byte.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, &'static str> {
        let part = match self.part {
            Part::Fixed(at) => {
                self.check_fixed(at, byte)?;
                if at < FIXED_LEN { Part::Fixed(at.saturating_add(1)) } else { self.next_part() }
            }
            Part::ExtraLength(None) => Part::ExtraLength(Some(byte)),
            Part::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.next_part(),
                len => Part::Extra(len),
            },
            Part::Extra(1) => self.next_part(),
            Part::Extra(left) => Part::Extra(left.saturating_sub(1)),
            Part::Text if byte != 0 => Part::Text,
            Part::Text => self.next_part(),
            Part::Crc(None) => Part::Crc(Some(byte)),
            Part::Crc(Some(low)) => {
                let [a, b, ..] = self.crc.clone().finalize().to_le_bytes();
                if [a, b] != [low, byte] {
                    return Err("the header does not match its checksum");
                }
                self.next_part()
            }
            Part::End => Part::End,
        };
        if !matches!(self.part, Part::Crc(_)) {
            self.crc.update(&[byte]);
        }
        self.part = part;
        Ok(matches!(self.part, Part::End))
    }

    fn check_fixed(&mut self, at: u8, byte: u8) -> Result<(), &'static str> {
        match at {
            0 if byte != 0x1f => Err("no gzip member starts here"),
            1 if byte != 0x8b => Err("no gzip member starts here"),
            2 if byte != DEFLATE => Err("a compression method other than deflate"),
            3 if byte & RESERVED != 0 => Err("reserved flags are set"),
            3 => {
                self.flags = byte;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn next_part(&mut self) -> Part {
        for (flag, part) in [
            (EXTRA, Part::ExtraLength(None)),
            (NAME, Part::Text),
            (COMMENT, Part::Text),
            (HEADER_CRC, Part::Crc(None)),
        ] {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return part;
            }
        }
        Part::End
    }
}

/// The part of a header that the next byte belongs to.
#[derive(Clone, Copy)]
enum Part {
    /// The ten bytes that every header has; the number of the next one.
    Fixed(u8),
    ExtraLength(Option<u8>),
    Extra(u16),
    /// A name or a comment, up to a NUL.
    Text,
    Crc(Option<u8>),
    End,
}

impl Default for Part {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// What a member says of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where it starts, in bytes of the gzip blob.
    pub(super) at: u64,
    /// CRC-32 of the content.
    pub(super) crc: u32,
    /// Length of the content, modulo 2^32.
    pub(super) len: u32,
}

impl Trailer {
    pub(super) fn decode(at: u64, [a, b, c, d, e, f, g, h]: [u8; TRAILER_LEN]) -> Self {
        Self { at, crc: u32::from_le_bytes([a, b, c, d]), len: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// Bytes of a trailer.
pub(super) const TRAILER_LEN: usize = 8;

/// The number of the last byte that every header has.
const FIXED_LEN: u8 = 9;
const DEFLATE: u8 = 8;
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the header at the front of `bytes`.
    fn header_len(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let mut header = MemberHeader::default();
        for (len, &byte) in (1..).zip(bytes) {
            if header.take(byte)? {
                return Ok(Some(len));
            }
        }
        Ok(None)
    }

    #[test]
    fn every_part_is_passed_over() {
        let fixed = |flags| [0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 2, 255].to_vec();
        let with = |flags, rest: &[u8]| [&fixed(flags), rest].concat();
        for (bytes, len) in [
            (with(0, b"body"), 10),
            (with(1, b"body"), 10),
            (with(NAME, b"name\0body"), 15),
            (with(EXTRA, b"\x03\0abcbody"), 15),
            (with(EXTRA, b"\0\0body"), 12),
            (with(EXTRA | NAME | COMMENT, b"\x01\0x\0comment\0body"), 22),
        ] {
            assert_eq!(header_len(&bytes), Ok(Some(len)), "{}", bytes.escape_ascii());
            assert_eq!(header_len(bytes[..len].split_last().unwrap().1), Ok(None));
        }
    }

    #[test]
    fn the_checksum_of_a_header_is_checked() {
        let mut bytes = vec![0x1f, 0x8b, 8, HEADER_CRC | NAME, 0, 0, 0, 0, 0, 3, b'n', 0];
        let crc = crc32fast::hash(&bytes).to_le_bytes();
        bytes.extend(&crc[..2]);
        assert_eq!(header_len(&bytes), Ok(Some(14)));
        bytes[10] ^= 1;
        assert!(header_len(&bytes).is_err());
    }

    #[test]
    fn what_is_no_header() {
        for bytes in [&b"\x1f\x8c"[..], b"BZh", b"\x1f\x8b\x07", b"\x1f\x8b\x08\x20"] {
            assert!(header_len(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
