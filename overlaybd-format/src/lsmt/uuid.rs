//! The identity of a layer.

use std::fmt;

/// The UUID in an LSMT header: sixteen bytes in the order of their text.
///
/// Advisory: the reference records parents but does not enforce them, and committed layers often
/// carry the nil UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// No identity: what a layer has whose writer was given none, and the parent of a bottom layer.
    pub const NIL: Self = Self([0; 16]);

    /// Takes the sixteen bytes in the order of their text.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes in the order of their text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses `8-4-4-4-12` hexadecimal digits of either case; anything else is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut digits = [0; 32];
        let mut used = digits.iter_mut();
        if text.len() != TEXT_LEN {
            return None;
        }
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'-' if DASHES.contains(&at) => {}
                _ if DASHES.contains(&at) => return None,
                _ => *used.next()? = u8::try_from(char::from(byte).to_digit(16)?).ok()?,
            }
        }
        let mut bytes = [0; 16];
        for (byte, &[high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = high << 4 | low;
        }
        Some(Self(bytes))
    }

    /// The UUID as the format stores it: 36 upper-case characters and a NUL.
    pub(crate) fn to_field(self) -> [u8; FIELD_LEN] {
        let mut field = [0; FIELD_LEN];
        for (slot, byte) in field.iter_mut().zip(self.to_string().bytes()) {
            *slot = byte;
        }
        field
    }

    /// Reads the stored form; text that is no UUID counts as [`Uuid::NIL`], as in the reference.
    pub(crate) fn from_field(field: [u8; FIELD_LEN]) -> Self {
        let text = field.first_chunk::<TEXT_LEN>();
        text.and_then(|text| Self::parse(text)).unwrap_or_default()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const TEXT_LEN: usize = 36;
pub(crate) const FIELD_LEN: usize = TEXT_LEN + 1;
const DASHES: [usize; 4] = [8, 13, 18, 23];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_have_the_same_order() {
        let uuid = Uuid::parse(b"f7f590d1-08c2-4454-8063-94e4467C56f9").unwrap();
        assert_eq!(uuid.as_bytes()[..6], [0xf7, 0xf5, 0x90, 0xd1, 0x08, 0xc2]);
        assert_eq!(uuid.to_string(), "F7F590D1-08C2-4454-8063-94E4467C56F9");
        assert_eq!(Uuid::from_field(uuid.to_field()), uuid);
    }

    #[test]
    fn other_text_is_no_uuid() {
        for text in
            ["", "not-a-uuid", "f7f590d1008c2-4454-8063-94e4467c56f9", "f7f590d1-08c2-4454-8063-94e4467c56fg"]
        {
            assert_eq!(Uuid::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Uuid::from_field([b'-'; FIELD_LEN]), Uuid::NIL);
    }
}
