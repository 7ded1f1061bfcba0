//! What a client asks for once the negotiation is over.

/// One request, without the bytes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    /// Comes back with the answer.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl Request {
    /// Length of a request on the wire.
    pub(super) const SIZE: usize = 28;

    /// Reads a request; `None` if it does not start as one.
    pub(super) fn decode(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let [m0, m1, m2, m3, f0, f1, c0, c1, rest @ ..] = *bytes;
        let (cookie, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let len = rest.first_chunk()?;
        (u32::from_be_bytes([m0, m1, m2, m3]) == MAGIC).then_some(Self {
            flags: u16::from_be_bytes([f0, f1]),
            command: u16::from_be_bytes([c0, c1]),
            cookie: u64::from_be_bytes(*cookie),
            offset: u64::from_be_bytes(*offset),
            len: u32::from_be_bytes(*len),
        })
    }
}

const MAGIC: u32 = 0x2560_9513;

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISCONNECT: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const CACHE: u16 = 5;
pub(super) const WRITE_ZEROES: u16 = 6;
pub(super) const BLOCK_STATUS: u16 = 7;

/// The answer may wait until the medium has the bytes.
pub(super) const FLAG_FUA: u16 = 1 << 0;
/// Only the first run of a block status is wanted.
pub(super) const FLAG_REQ_ONE: u16 = 1 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian_and_in_order() {
        let mut bytes = [0; Request::SIZE];
        bytes[..8].copy_from_slice(&[0x25, 0x60, 0x95, 0x13, 0, 1, 0, 6]);
        bytes[15] = 7;
        bytes[22] = 2;
        bytes[27] = 9;
        let request = Request { flags: FLAG_FUA, command: WRITE_ZEROES, cookie: 7, offset: 512, len: 9 };
        assert_eq!(Request::decode(&bytes), Some(request));
        bytes[0] = 0;
        assert_eq!(Request::decode(&bytes), None);
    }
}
