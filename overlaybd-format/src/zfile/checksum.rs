//! The checksum of ZFile: CRC-32C (Castagnoli) without the customary inversions.

/// The checksum of `bytes`, continued from `state`.
pub(crate) fn raw_crc32c(state: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!state, bytes)
}

/// The state that the checksum of a block starts from. Headers and jump tables start from 0.
pub(crate) const BLOCK_STATE: u32 = 100_007;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        assert_eq!(raw_crc32c(0, b"123456789"), 0x58E3_FA20);
        assert_eq!(raw_crc32c(BLOCK_STATE, b"123456789"), 0x3C9B_D4E0);
        assert_eq!(raw_crc32c(0, &[0; 512]), 0);
        assert_eq!(raw_crc32c(BLOCK_STATE, &[0; 512]), 0x2705_E0DB);
        assert_eq!(raw_crc32c(0, b"a"), 0x93AD_1061);
    }
}
